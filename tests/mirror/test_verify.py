"""Checking a whole store as its keeper does: what is damaged is found, named, mended, and fetched again."""

import http.client
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.mirror.running import Running
from tests.origin import Origin
from tests.unit.store.kit import flip

MIB = 1 << 20
FILES = {
    "config.json": b'{"model_type": "tiny"}',
    "notes.txt": random.Random(1).randbytes(70_000),
    "model.bin": random.Random(2).randbytes(3 * MIB + 17),
    "more.bin": random.Random(3).randbytes(MIB),
}


def verify(data: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run ``modelmirror verify`` on a folder."""
    return subprocess.run(
        [sys.executable, "-m", "mirror", "verify", *flags, str(data)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={k: v for k, v in os.environ.items() if not k.startswith("MODELMIRROR_")},
    )


def events(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    """The JSON events of a check; nothing else may be on standard output."""
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def stored(mirror: Running, origin: Origin) -> Running:
    """A mirror that was stopped after it had fetched a repo."""
    origin.add_repo("models", "acme/tiny", files=dict(FILES), lfs=("*.bin",))
    for name, content in FILES.items():
        assert mirror.ask(f"/acme/tiny/resolve/main/{name}").body == content
    mirror.settle()
    assert mirror.stop() == 0
    return mirror


def _blobs(data: Path) -> list[Path]:
    return sorted(
        path
        for path in (data / "v1" / "blobs").rglob("*")
        if path.is_file() and path.stat().st_size
    )


def test_verify_finds_a_sound_store_fine(stored: Running) -> None:
    """A store that was left in good order has nothing to be told of, with and without reading it."""
    for flags in ((), ("--data",), ("--data", "--subset", "50%"), ("--data", "--subset", "1/1")):
        done = verify(stored.data, "--json", *flags)
        assert done.returncode == 0, done.stdout + done.stderr
        told = events(done)
        assert [event for event in told if event["event"] in {"finding", "lost"}] == []
        assert told[-1]["result"] == "fine"
        assert told[-1]["blobs"] == len(_blobs(stored.data)) + 1  # and the empty one


def test_verify_finds_every_flipped_bit(stored: Running) -> None:
    """A bit in any stored file is found by reading it again, and the file is named."""
    draw = random.Random(5)
    for path in _blobs(stored.data):
        offset = draw.randrange(path.stat().st_size)
        flip(path, offset)
        done = verify(stored.data, "--data", "--json")
        flip(path, offset)
        found = [event for event in events(done) if event["event"] == "finding"]
        assert done.returncode == 1
        assert [(event["kind"], Path(event["what"]).name) for event in found] == [
            ("blob-data", path.name)
        ]
        lost = [event for event in events(done) if event["event"] == "lost"]
        assert len(lost) == 1
        assert lost[0]["path"] in {*FILES, ".gitattributes"}
    assert verify(stored.data, "--data").returncode == 0


def test_verify_repairs_and_the_mirror_fetches_again(stored: Running, origin: Origin) -> None:
    """What is bad is set aside and named; the second check is fine; the file comes again, once."""
    bad = max(_blobs(stored.data), key=lambda path: path.stat().st_size)
    flip(bad, 2 * MIB + 5)

    first = verify(stored.data, "--data", "--repair")
    second = verify(stored.data, "--data")

    assert first.returncode == 1
    assert "model.bin" in first.stdout
    assert "piece" in first.stdout
    assert (stored.data / "v1" / "quarantine" / bad.name).exists()
    assert second.returncode == 0, second.stdout
    origin.clear_log()
    stored.start()
    for name, content in FILES.items():
        assert stored.ask(f"/acme/tiny/resolve/main/{name}").body == content
    assert len(origin.seen(server="cdn", method="GET", path=".*")) == 1


def test_verify_says_what_it_says_to_people(stored: Running) -> None:
    """Plain lines without a terminal: what was checked, the verdict, and what to do."""
    fine = verify(stored.data, "--data")
    flip(_blobs(stored.data)[0], 3)
    bad = verify(stored.data, "--data")

    assert fine.stdout.splitlines()[0] == f"Checking {stored.data}."
    assert fine.stdout.splitlines()[-1].startswith("fine: ")
    assert "damage: blobs/sha256/" in bad.stdout
    assert "--repair" in bad.stdout.splitlines()[-1]


def test_verify_refuses_a_store_in_use(mirror: Running) -> None:
    """With a server on the folder it says so, and what to do, and that nothing was checked."""
    done = verify(mirror.data, "--data")

    assert done.returncode == 3
    assert str(mirror.process.pid) in done.stderr
    assert "scrub" in done.stderr
    assert done.stdout == ""
    assert mirror.ask("/-/live").status == 200


def test_verify_cannot_check_what_is_not_there(tmp_path: Path) -> None:
    """A folder without a store is named, and left as it was."""
    done = verify(tmp_path / "none", "--json")

    assert done.returncode == 3
    assert events(done)[-1]["result"] == "unchecked"
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("flags", [("--subset", "5%"), ("--data", "--subset", "9/7")])
def test_verify_refuses_a_subset_that_means_nothing(tmp_path: Path, flags: tuple[str, ...]) -> None:
    """A subset without reading, or of a form that is none, is a usage error."""
    assert verify(tmp_path, *flags).returncode == 2


def _delete(index: Path) -> None:
    for file in index.parent.glob(f"{index.name}*"):
        file.unlink()


def _corrupt(index: Path) -> None:
    index.write_bytes(b"not a database at all" * 1000)


def _scramble(index: Path) -> None:
    data = bytearray(index.read_bytes())
    data[4096:] = random.Random(1).randbytes(len(data) - 4096)
    index.write_bytes(data)


def _age(index: Path) -> None:
    data = bytearray(index.read_bytes())
    data[60:64] = (7).to_bytes(4, "big")  # the user version of an SQLite file
    index.write_bytes(data)


@pytest.mark.parametrize("harm", [_delete, _corrupt, _scramble, _age])
@pytest.mark.parametrize("by", ["start", "command"])
def test_an_index_that_is_lost_is_made_again(
    stored: Running, origin: Origin, harm: Callable[[Path], None], by: str
) -> None:
    """Deleted, overwritten, damaged or of another version: everything is answered offline as before."""
    origin.stop()
    harm(stored.data / "v1" / "index.sqlite3")
    if by == "command" or harm is _scramble:
        assert verify(stored.data, "--rebuild-index").returncode == 0
        assert verify(stored.data).returncode == 0
    stored.start()

    for name, content in FILES.items():
        assert stored.ask(f"/acme/tiny/resolve/main/{name}").body == content
    tree = stored.ask("/api/models/acme/tiny/tree/main?recursive=true").json()
    assert {item["path"] for item in tree} >= set(FILES)
    assert stored.ask("/acme/tiny/resolve/main/none.txt", method="HEAD").status == 404
    assert stored.ask("/-/status").json()["store"]["blobs"] == len(_blobs(stored.data)) + 1


def test_verify_finds_a_damaged_index(stored: Running) -> None:
    """An index whose pages are wrong is damage, and mended by making it again."""
    _scramble(stored.data / "v1" / "index.sqlite3")

    found = verify(stored.data)
    mended = verify(stored.data, "--repair")

    assert (found.returncode, mended.returncode) == (1, 1)
    assert "index.sqlite3" in found.stdout
    assert verify(stored.data).returncode == 0


def test_verify_finds_what_else_can_rot(stored: Running) -> None:
    """A blob cut short, a folder in a blob's place, torn sums, a bad record, a bad line: all in one go."""
    root = stored.data / "v1"
    big, half, *_ = sorted(_blobs(stored.data), key=lambda path: -path.stat().st_size)
    half.chmod(0o600)
    half.unlink()
    half.mkdir()
    sums = root / "sums" / big.name[:2] / big.name
    sums.chmod(0o600)
    sums.write_bytes(sums.read_bytes()[:-3])
    record = next(root.glob("records/??/*.json"))
    record.write_bytes(record.read_bytes()[:-40])
    journal = root / "journal.jsonl"
    journal.write_bytes(b"\0\0\0\n" + journal.read_bytes())

    found = {event["kind"] for event in events(verify(stored.data, "--json")) if "kind" in event}
    mended = verify(stored.data, "--repair", "--json")
    after = verify(stored.data, "--data", "--json")

    assert {"blob-kind", "sums", "record", "journal"} <= found
    assert mended.returncode == 1
    assert events(mended)[-1]["mended"] >= 4
    assert after.returncode == 0, after.stdout
    assert (root / "quarantine" / record.name).exists()
    assert (root / "quarantine" / "journal.jsonl").exists()
    stored.start()
    for name, content in FILES.items():
        assert stored.ask(f"/acme/tiny/resolve/main/{name}").body == content


@pytest.mark.slow
def test_a_hundred_flipped_bits_are_found_and_never_sent(stored: Running, origin: Origin) -> None:
    """Whatever bit of a stored file flips at rest, a read notices it and the right bytes come."""
    draw = random.Random(11)
    content, path = FILES["model.bin"], "/acme/tiny/resolve/main/model.bin"
    stored.start()
    for _ in range(100):
        file = max(_blobs(stored.data), key=lambda path: path.stat().st_size)
        flip(file, draw.randrange(file.stat().st_size), quietly=False)
        try:
            got = stored.ask(path)
        except (http.client.HTTPException, ConnectionError):
            pass  # cut where the damage begins
        else:
            assert got.status >= 500 or got.body == content
        assert stored.ask(path).body == content
        stored.settle()
    assert len(origin.seen(server="cdn", method="GET", path=".*")) == 102
    assert stored.stop() == 0
    assert verify(stored.data, "--data").returncode == 0


def test_a_running_mirror_finds_rot_by_itself(stored: Running, origin: Origin) -> None:
    """The scrub finds a flipped bit that nobody asked for, tells of it, and the file comes again."""
    bad = max(_blobs(stored.data), key=lambda path: path.stat().st_size)
    flip(bad, MIB)
    stored.settings = {"MODELMIRROR_SCRUB_PERIOD": "1s"}
    stored.start()
    stored.wait_for(lambda: not bad.exists())

    assert (stored.data / "v1" / "quarantine" / bad.name).exists()
    assert b'modelmirror_alarms_total{kind="corrupt"} 1.0' in stored.ask("/-/metrics").body
    origin.clear_log()
    assert stored.ask("/acme/tiny/resolve/main/model.bin").body == FILES["model.bin"]
    stored.settle()
    assert stored.stop() == 0
    assert verify(stored.data, "--data").returncode == 0
    assert (stored.data / "v1" / "scrub.json").exists()
