"""The durable steps of the store, written down in the order they happen."""

import os
from pathlib import Path

import pytest


class Trace:
    """What is synced and renamed from now on; files go by the last part of their path at that time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: list[str] = []
        fsync, rename = os.fsync, os.rename

        def traced_fsync(fd: int) -> None:
            self.steps.append(f"sync {_name(fd)}")
            fsync(fd)

        def traced_rename(source: Path, final: Path) -> None:
            self.steps.append(f"rename {source.name} {final.name}")
            rename(source, final)

        monkeypatch.setattr(os, "fsync", traced_fsync)
        monkeypatch.setattr(os, "rename", traced_rename)


def _name(fd: int) -> str:
    try:
        return Path(f"/proc/self/fd/{fd}").readlink().name
    except FileNotFoundError:
        pytest.skip("the system does not tell the name of an open file")
