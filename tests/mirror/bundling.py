"""Bundles, as the tests make and take them: keys, the two commands, and what they say."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.mirror.adopting import environment

OFFLINE = {"MODELMIRROR_OFFLINE": "true"}


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run of the command gave back."""

    code: int
    out: bytes
    err: str

    @property
    def report(self) -> Mapping[str, Any]:
        """The report of a run with ``--json``."""
        lines = (self.out.decode() or self.err).splitlines()
        last: Mapping[str, Any] = json.loads(lines[-1])
        assert last["event"] == "report", self
        return last


def modelmirror(
    *words: str | Path,
    settings: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    timeout: float = 120,
) -> Ran:
    """Run the command; offline unless *settings* say otherwise."""
    done = subprocess.run(
        [sys.executable, "-m", "mirror", *map(str, words)],
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        timeout=timeout,
        check=False,
        env=environment(OFFLINE if settings is None else settings),
    )
    err = done.stderr.decode()
    assert "Traceback" not in err, err
    return Ran(done.returncode, done.stdout, err)


@dataclass(frozen=True, slots=True)
class Key:
    """A key that signs bundles, and the file that believes it."""

    private: Path
    signers: Path


def make_key(folder: Path, name: str = "sender") -> Key:
    """Make a key named *name* in *folder*."""
    folder.mkdir(exist_ok=True)
    private = folder / name
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(private)],
        check=True,
        capture_output=True,
    )
    public = private.with_suffix(".pub").read_text().split()
    signers = folder / f"{name}.signers"
    signers.write_text(f"{name}@example.org {public[0]} {public[1]}\n")
    return Key(private, signers)


def flip(path: Path, at: int) -> None:
    """Turn one bit of a file."""
    fd = os.open(path, os.O_RDWR)
    byte = os.pread(fd, 1, at)[0]
    os.pwrite(fd, bytes([byte ^ 4]), at)
    os.close(fd)


def stored(data: Path) -> set[str]:
    """The names of all blobs, records and lines of the journal in a data folder: what a bundle may add to."""
    root = data / "v1"
    found = {path.name for path in root.glob("blobs/sha256/*/*")}
    found |= {path.name for path in root.glob("records/*/*")}
    return found | set((root / "journal.jsonl").read_text().splitlines())
