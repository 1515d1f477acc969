"""As a container runs it: no root, no capability, nothing writable but the data folder."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.house.checkout import ROOT
from tests.mirror.running import Running
from tests.origin import Origin

NOBODY = 10001
WEIGHTS = bytes(range(256)) * 8192

# A namespace of its own with everything read-only but $0, and then nobody in particular without a right.
_CONFINE = f"""
set -e
mount --make-rprivate /
mount --bind "$0" "$0"
mount -o remount,bind,ro /
exec setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups --no-new-privs \
    --bounding-set=-all --inh-caps=-all "$@"
"""


@pytest.fixture
def confined() -> Iterator[tuple[Path, tuple[str, ...]]]:
    """A data folder, and the program that confines a mirror to it."""
    if os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("setpriv"):
        pytest.skip("needs root, unshare and setpriv")
    folder = Path(f"/var/tmp/modelmirror-confined-{os.getpid()}")  # noqa: S108 -- no parent is closed
    folder.mkdir(mode=0o755)
    data = folder / "data"
    data.mkdir()
    os.chown(data, NOBODY, NOBODY)
    before = ("unshare", "--mount", "sh", "-c", _CONFINE, str(data))
    try:
        tried = subprocess.run(
            [*before, sys.executable, "-c", "import mirror.wiring"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if tried.returncode != 0:
            pytest.skip(f"no such confinement here: {tried.stderr.strip()[-200:]}")
        yield data, before
    finally:
        shutil.rmtree(folder)


def test_a_mirror_without_any_right_serves_and_stores(
    confined: tuple[Path, tuple[str, ...]], origin: Origin
) -> None:
    """Cold, warm and over a restart, with everything but its data folder read-only."""
    data, before = confined
    origin.add_repo("models", "acme/tiny", files={"model.safetensors": WEIGHTS})
    path = "/acme/tiny/resolve/main/model.safetensors"
    with Running(data, origin, before=before) as mirror:
        status = Path(f"/proc/{mirror.process.pid}/status").read_text()
        assert f"Uid:\t{NOBODY}\t{NOBODY}" in status
        assert "CapEff:\t0000000000000000" in status
        assert "CapBnd:\t0000000000000000" in status
        assert mirror.ask(path).body == WEIGHTS
        mirror.settle()
    with Running(data, origin, ("--offline",), before=before) as mirror:
        assert mirror.ask(path).body == WEIGHTS
        assert mirror.ask("/-/status").json()["store"]["bytes"] >= len(WEIGHTS)
    assert {file.stat().st_uid for file in data.rglob("*")} == {NOBODY}


def test_every_order_can_be_given_with_nothing_writable_but_the_data_folder(
    confined: tuple[Path, tuple[str, ...]], origin: Origin
) -> None:
    """As ``docker compose exec`` does, of a running mirror; and of a folder that none runs on."""
    data, before = confined
    origin.add_repo("models", "acme/tiny", files={"model.safetensors": WEIGHTS})

    def order(*words: str) -> str:
        done = subprocess.run(
            [*before, sys.executable, "-m", "mirror", *words],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "MODELMIRROR_DATA": str(data), "HOME": "/nonexistent"},
        )
        assert (done.returncode, done.stderr) == (0, ""), words
        return done.stdout

    with Running(data, origin, before=before) as mirror:
        assert mirror.ask("/acme/tiny/resolve/main/model.safetensors").body == WEIGHTS
        mirror.settle()
        outputs = [_all_orders(order)]
        assert mirror.ask("/acme/tiny/resolve/main/model.safetensors").body == WEIGHTS
        mirror.settle()
    outputs.append(_all_orders(order))
    for shown in outputs:
        assert "acme/tiny is removed: freed 2.0 MiB in 1 file." in shown
    assert {file.stat().st_uid for file in data.rglob("*")} == {NOBODY}


def _all_orders(order: Callable[..., str]) -> str:
    """Give each order once; the last removes the repo."""
    words = (
        "config check", "status", "ls", "ls acme/tiny", "ls acme/tiny@main", "du", "du --by project",
        "stats", "pin acme/tiny --for ops", "pin", "unpin acme/tiny", "grant acme/* everyone",
        "grant acme/* --remove", "gc --dry-run", "gc", "rm acme/tiny --dry-run", "rm acme/tiny",
    )  # fmt: skip
    return "".join(order(*line.split()) for line in words)
