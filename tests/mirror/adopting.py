"""Adopting, as the tests do it: caches made by real clients, the command, and what it says."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.origin import Origin


@dataclass(frozen=True, slots=True)
class Done:
    """What a run of the command gave back."""

    code: int
    out: str
    err: str

    @property
    def report(self) -> Mapping[str, Any]:
        """The report of a run with ``--json``."""
        last: Mapping[str, Any] = json.loads(self.out.splitlines()[-1])
        assert last["event"] == "report", self.out + self.err
        return last

    def tally(self, cache: str) -> Mapping[str, int]:
        """How many files of *cache* had each outcome."""
        outcomes = self.report["caches"].get(cache, {})
        return {outcome: tally["files"] for outcome, tally in outcomes.items()}

    def why(self, ending: str) -> str:
        """What was said of the path that ends so."""
        found = [item["why"] for item in self.report["remarks"] if item["path"].endswith(ending)]
        assert found, self.report
        return " ".join(found)


def environment(settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment with no setting of a mirror but *settings*."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("MODELMIRROR_", "HF_"))}
    return {**plain, "MODELMIRROR_MIN_FREE": "1MiB", **(settings or {})}


def command(data: Path, *words: str) -> list[str]:
    """The command line that adopts into *data*."""
    return [sys.executable, "-m", "mirror", "adopt", "--data", str(data), *words]


def adopt(
    data: Path, *words: str, settings: Mapping[str, str] | None = None, as_json: bool = True
) -> Done:
    """Run ``modelmirror adopt``; offline unless *settings* say otherwise."""
    settings = {"MODELMIRROR_OFFLINE": "true"} if settings is None else settings
    done = subprocess.run(
        command(data, *words, *(["--json"] if as_json else [])),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment(settings),
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


def online(origin: Origin) -> dict[str, str]:
    """The settings of a mirror that asks *origin*."""
    return {
        "MODELMIRROR_HUGGINGFACE_UPSTREAMS": origin.url,
        "MODELMIRROR_REDIRECT_HOSTS": ",".join(origin.redirect_hosts),
    }


def client(url: str, cache: Path, code: str) -> str:
    """Run *code* with huggingface_hub on *cache*, pointed at *url*; returns what it prints."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"from huggingface_hub import *\nfrom huggingface_hub import errors\n{code}",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment(
            {
                "HF_ENDPOINT": url,
                "HF_HUB_CACHE": str(cache),
                "HF_HOME": str(cache.parent / "home"),
                "HF_HUB_DISABLE_XET": "1",
                "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            }
        ),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def tree(folder: Path) -> dict[str, tuple[object, ...]]:
    """Everything below *folder*: kind, mode, times, content; what a run must leave as it was."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = str(path.readlink()) if path.is_symlink() else ""
        data = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        key = str(path.relative_to(folder))
        found[key] = (status.st_mode, status.st_mtime_ns, status.st_size, content, data)
    return found


def contents(folder: Path) -> dict[str, bytes]:
    """The content of each file below *folder*, links followed."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
