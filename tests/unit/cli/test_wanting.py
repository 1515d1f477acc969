"""The flags that `warm` and `check` share."""

from pathlib import Path

from mirror.cli.wanting import Where


def test_where_is_written_as_it_was_said() -> None:
    """So that the command which mends something finds the same mirror, by the same settings."""
    assert Where(None, None, None).words == []
    said = Where("http://mirror:8090", Path("/data"), Path("house.toml")).words
    assert said == ["--endpoint", "http://mirror:8090", "--data", "/data", "--config", "house.toml"]
