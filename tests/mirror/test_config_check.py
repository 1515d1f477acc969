"""`modelmirror config check`: what a start would refuse is told before it, and nothing is written."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def _check(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mirror", "config", "check", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={k: v for k, v in os.environ.items() if not k.startswith("MODELMIRROR_")} | environment,
    )


def test_config_check_takes_what_a_start_would(tmp_path: Path) -> None:
    """The defaults and a folder that is yet to be made; nothing is made."""
    done = _check("--data", str(tmp_path / "new" / "data"))
    assert (done.returncode, done.stdout) == (0, "The settings can be used.\n"), done.stderr
    assert list(tmp_path.iterdir()) == []
    done = _check("--json", "--data", str(tmp_path))
    assert json.loads(done.stdout) == {"errors": []}


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("MODELMIRROR_QUOTA", "much", "quota"),
        ("MODELMIRROR_ACCESS_USERS", "/nonexistent/users.toml", "/nonexistent/users.toml"),
        ("MODELMIRROR_TLS_CERT", "/nonexistent/cert.pem", "tls.key"),
        ("MODELMIRROR_UPSTREAM_CA", "/nonexistent/ca.pem", "/nonexistent/ca.pem"),
        ("MODELMIRROR_METRICS", "token", "metrics_token_file"),
        ("MODELMIRROR_METRICS_TOKEN_FILE", "/dev/null", "metrics = token"),
    ],
)
def test_config_check_tells_what_is_wrong(
    tmp_path: Path, variable: str, value: str, sentence: str
) -> None:
    """A value, or a file that one names: exit code 2, with the setting."""
    done = _check("--data", str(tmp_path), **{variable: value})
    assert done.returncode == 2, done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_config_check_tells_of_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    """Of another version, or no folder: exit code 4."""
    (tmp_path / "v9").mkdir()
    done = _check("--data", str(tmp_path))
    assert done.returncode == 4
    assert "v9" in done.stderr
    file = tmp_path / "file"
    file.touch()
    done = _check("--data", str(file / "data"), "--json")
    assert done.returncode == 4
    (error,) = json.loads(done.stdout)["errors"]
    assert "--data" in error


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_there_for_each_shell(shell: str) -> None:
    """What docs/operating.md has people run prints a script, and completes verbs."""
    run = [str(Path(sys.executable).with_name("modelmirror"))]
    source = subprocess.run(
        run,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "_MODELMIRROR_COMPLETE": f"{shell}_source"},
    )
    assert source.returncode == 0, source.stderr
    assert f"_MODELMIRROR_COMPLETE={shell}_complete" in source.stdout
    words = {"COMP_WORDS": "modelmirror s", "COMP_CWORD": "1" if shell != "fish" else "s"}
    done = subprocess.run(
        run,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **words, "_MODELMIRROR_COMPLETE": f"{shell}_complete"},
    )
    assert {"serve", "status", "stats"} <= set(done.stdout.replace(",", "\n").split())
