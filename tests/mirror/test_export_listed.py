"""Caches are exported for the targets that a project's file lists, as `warm` and `check` read it."""

from pathlib import Path

from tests.mirror.exporting import World

LISTED = """\
[app]
targets = ["torch:plain.pth", { target = "acme/tiny", include = ["*.txt"] }]

[other]
targets = ["whisper:base"]
"""


def test_listed_targets_are_exported(site: World, tmp_path: Path) -> None:
    """Those of the groups that are named, with their globs, besides the targets that are named themselves."""
    listed = tmp_path / "models.toml"
    listed.write_text(LISTED)
    site.export(
        *("--file", str(listed), "--group", "app", "--set", "HF_HOME=/h"), "acme/tiny@main=/h/flat"
    )

    found = {path.name for path in (site.out / "hub").rglob("*") if path.is_symlink()}
    assert found == {"empty.txt"}
    assert (site.out / "flat" / "config.json").exists()
    names = {one["target"] for one in site.manifest()["targets"]}
    assert {"torch:plain.pth", "acme/tiny@main=/h/flat"} <= names
    assert "whisper:base" not in names


def test_listing_that_is_not_there_is_wrong_usage(site: World, tmp_path: Path) -> None:
    """A file that is missing, a group it does not have, and a group of no file are said."""
    listed = tmp_path / "models.toml"
    assert f"There is no {listed}" in site.export("--file", str(listed), code=2).err
    listed.write_text(LISTED)
    ran = site.export("--file", str(listed), "--group", "none", code=2)
    assert "no group 'none'" in ran.err
    assert "Groups are those of a file" in site.export("--group", "app", "acme/tiny", code=2).err
