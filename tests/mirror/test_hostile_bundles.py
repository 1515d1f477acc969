"""Bundles that are damaged, made up, or interrupted: refused whole, with the store as it was."""

import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mirror.bundle import bundletar
from mirror.bundle.bundlemanifest import Manifest, Member
from mirror.store.layout import Layout
from mirror.upkeep.reach import order
from tests.mirror.adopting import client, contents, environment
from tests.mirror.bundling import OFFLINE, modelmirror, stored
from tests.mirror.running import Running
from tests.origin import Origin

FILES = {
    "config.json": b'{"a": 1}',
    "model.safetensors": os.urandom(1_300_000),
    "other.bin": os.urandom(300_000),
}


@pytest.fixture
def bundle(origin: Origin, tmp_path: Path) -> Path:
    """A bundle of one repo."""
    origin.add_repo("models", "acme/tiny", FILES)
    data = tmp_path / "online"
    with Running(data, origin) as mirror:
        client(mirror.url, tmp_path / "client", "snapshot_download('acme/tiny')")
        mirror.settle()
    path = tmp_path / "bundle.tar"
    assert modelmirror("export", path, "acme/tiny", "--data", data).code == 0
    return path


class Receiver:
    """A running mirror that is told to import."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.before = stored(data)

    def take(self, *paths: Path) -> Mapping[str, Any]:
        """Have it import; returns how that ended."""
        control = Layout(self.data).control
        arguments = {"paths": [str(path) for path in paths], "unsigned": True}
        job = order(control, "bundle-import", arguments)
        while True:
            state = order(control, "bundle-look", job or {})
            assert state is not None
            if state["over"]:
                return state
            time.sleep(0.002)

    def refuses(self, data: bytes, path: Path) -> str:
        """Have it import *data*, which must change nothing; returns what it says."""
        path.write_bytes(data)
        state = self.take(path)
        assert state["report"] is None, state
        assert stored(self.data) == self.before
        said = state["failed"]["error"]
        assert "Please report" not in state["failed"]["hint"], said
        return str(said)


@pytest.fixture
def receiver(origin: Origin, tmp_path: Path) -> Iterator[Receiver]:
    """An empty mirror."""
    data = tmp_path / "offline"
    with Running(data, origin, flags=("--offline",)):
        yield Receiver(data)


def test_a_bundle_cut_anywhere_is_refused_and_then_completed(
    tmp_path: Path, bundle: Path, receiver: Receiver
) -> None:
    """Truncated at each hundredth; whole it is taken, with what was verified before."""
    data = bundle.read_bytes()
    for part in range(100):
        said = receiver.refuses(data[: len(data) * part // 100], tmp_path / "cut.tar")
        assert "refused" in said
    assert receiver.take(bundle)["report"]["taken"]["files"] >= 3


def test_a_flipped_bit_anywhere_is_refused(
    tmp_path: Path, bundle: Path, receiver: Receiver
) -> None:
    """In the manifest it may name another series, which nobody signed; everywhere else it is found."""
    data, dice = bundle.read_bytes(), random.Random(38)
    first = int(data[124:135], 8)
    start = 512 + first
    places = [dice.randrange(start, len(data)) for _ in range(150)]
    places += [dice.randrange(512) for _ in range(20)]
    for place in places:
        wrong = bytearray(data)
        wrong[place] ^= 1 << dice.randrange(8)
        receiver.refuses(bytes(wrong), tmp_path / "flipped.tar")
        # Else what was verified is not read again, and may be anything there.
        shutil.rmtree(receiver.data / "v1" / "incoming", ignore_errors=True)


def _members(data: bytes) -> list[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        found = []
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            found.append((member.name, file.read()))
    return found


def _tar(
    members: Sequence[tuple[tarfile.TarInfo, bytes]], form: int = tarfile.USTAR_FORMAT
) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for info, data in members:
            info.mode = 0o644
            tar.addfile(info, io.BytesIO(data) if info.isreg() else None)
    return out.getvalue()


def _info(
    name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, link
    return info


def _kind(kind: bytes, link: str = "/etc/passwd") -> Callable[[list[Any]], None]:
    def change(members: list[Any]) -> None:
        name = members[-1][0].name
        members[-1] = (_info(name, 0, kind, link), b"")

    return change


def _renamed(name: str) -> Callable[[list[Any]], None]:
    def change(members: list[Any]) -> None:
        data = members[-1][1]
        members[-1] = (_info(name, len(data)), data)

    return change


def _swapped(members: list[Any]) -> None:
    members[-1], members[-2] = members[-2], members[-1]


def _twice(members: list[Any]) -> None:
    members.append(members[-1])


def _without(members: list[Any]) -> None:
    del members[-2]


def _extra(members: list[Any]) -> None:
    members.append((_info("blobs/sha256/00/" + "0" * 64, 3), b"abc"))


def _bomb(members: list[Any]) -> None:
    members[-1] = (_info(members[-1][0].name, 50_000_000), bytes(50_000_000))


HOSTILE = {
    "symlink": _kind(tarfile.SYMTYPE),
    "hardlink": _kind(tarfile.LNKTYPE),
    "character device": _kind(tarfile.CHRTYPE),
    "block device": _kind(tarfile.BLKTYPE),
    "fifo": _kind(tarfile.FIFOTYPE),
    "folder": _kind(tarfile.DIRTYPE),
    "sparse": _kind(tarfile.GNUTYPE_SPARSE),
    "contiguous": _kind(tarfile.CONTTYPE),
    "absolute": _renamed("/etc/cron.d/x"),
    "parent": _renamed("blobs/sha256/../../../../x"),
    "upper case": _renamed("BLOBS/x"),
    "swapped": _swapped,
    "twice": _twice,
    "without": _without,
    "extra": _extra,
    "bomb": _bomb,
}


@pytest.mark.parametrize("trick", HOSTILE)
def test_a_member_that_the_manifest_does_not_tell_of_is_refused(
    tmp_path: Path, bundle: Path, receiver: Receiver, trick: str
) -> None:
    """Links, devices, other names, other orders, other numbers: by one comparison."""
    members = [(_info(name, len(data)), data) for name, data in _members(bundle.read_bytes())]
    HOSTILE[trick](members)
    receiver.refuses(_tar(members), tmp_path / "hostile.tar")
    assert not list(tmp_path.glob("**/cron.d"))


def test_extended_headers_are_refused(tmp_path: Path, bundle: Path, receiver: Receiver) -> None:
    """What a pax or GNU header says of the next member is never looked at."""
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        members = [(_info(name, len(data)), data) for name, data in _members(bundle.read_bytes())]
        members[-1][0].pax_headers = {"path": "elsewhere", "size": "3"}
        if form == tarfile.GNU_FORMAT:
            members[-1][0].name += "x" * 200
        receiver.refuses(_tar(members, form), tmp_path / "hostile.tar")


def test_an_import_killed_anywhere_is_finished_or_was_nothing(
    origin: Origin, tmp_path: Path, bundle: Path
) -> None:
    """Kill -9 at random: nothing can be seen, or all of it; the next try ends it."""
    dice, seen = random.Random(39), set()
    for turn in range(8):
        data = tmp_path / f"killed-{turn}"
        words = ["import", str(bundle), "--data", str(data), "--allow-unsigned"]
        process = subprocess.Popen(
            [sys.executable, "-m", "mirror", *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment(OFFLINE),
        )
        incoming = data / "v1" / "incoming"
        while not incoming.exists() and process.poll() is None:
            time.sleep(0.0005)
        time.sleep(dice.random() * 0.06)
        process.send_signal(signal.SIGKILL)
        process.wait()
        with Running(data, origin, flags=("--offline",)) as mirror:
            answers = {mirror.ask(f"/acme/tiny/resolve/main/{name}").status for name in FILES}
            assert answers in ({200}, {501})
            seen |= answers
        assert modelmirror(*words).code == 0
        with Running(data, origin, flags=("--offline",)) as mirror:
            cache = tmp_path / f"cache-{turn}"
            client(mirror.url, cache, "snapshot_download('acme/tiny')")
            (snapshot,) = cache.glob("models--acme--tiny/snapshots/*")
            assert contents(snapshot) == FILES
        assert not list(incoming.iterdir())
    assert seen


KILLED = """
import os
import mirror.bundle.bundlepublish as publishing
import mirror.bundle.bundlestage as staging
owner = {"remove": staging.Stage}.get(STEP, publishing)
real = getattr(owner, STEP)
def once(*words):
    BEFORE and os._exit(9)
    real(*words)
    os._exit(9)
setattr(owner, STEP, once)
from mirror.cli import main
main()
"""


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize(
    "step", ["_blobs", "_links", "_records", "_aliases", "_undecided", "remove"]
)
def test_what_was_whole_when_the_crash_came_is_there_after_the_next_start(
    origin: Origin, tmp_path: Path, bundle: Path, step: str, *, before: bool
) -> None:
    """Killed at each step of the publishing: the start ends it before anybody is served."""
    data = tmp_path / "offline"
    program = KILLED.replace("STEP", repr(step)).replace("BEFORE", str(before))
    words = ["import", str(bundle), "--data", str(data), "--allow-unsigned"]
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        capture_output=True,
        check=False,
        env=environment(OFFLINE),
    )
    assert done.returncode == 9, done.stderr
    with Running(data, origin, flags=("--offline",)) as mirror:
        for name, content in FILES.items():
            assert mirror.ask(f"/acme/tiny/resolve/main/{name}").body == content
        assert not list((data / "v1" / "incoming").iterdir())
        assert "Traceback" not in mirror.log.read_text()


def test_a_bundle_that_does_not_fit_is_refused_before_it_is_taken(
    origin: Origin, tmp_path: Path, bundle: Path
) -> None:
    """With how much is missing; and what was taken counts as used, once."""
    data = tmp_path / "offline"
    with Running(data, origin, flags=("--offline", "--quota", "1MB")):
        receiver = Receiver(data)
        assert "There is no room" in receiver.refuses(bundle.read_bytes(), bundle)
        assert not list((data / "v1" / "incoming").glob("*/" + "?" * 64))
    with Running(data, origin, flags=("--offline", "--quota", "2MB")) as mirror:
        assert Receiver(data).take(bundle)["report"]
        size = sum(path.stat().st_size for path in data.glob("v1/blobs/sha256/*/*"))
        free = mirror.ask("/-/status").json()["store"]["free"]
        assert abs(2_000_000 - size - free) < 20_000
        assert Receiver(data).take(bundle)["report"]["taken"]["files"] == 0


def _rebuilt(data: bytes, change: Callable[[dict[str, bytes], Manifest], Manifest]) -> bytes:
    """The bundle with its small members and its manifest changed, and every digest in it right."""
    members = dict(_members(data))
    manifest = change(members, Manifest.decode(members["manifest.json"]))
    out = bytearray()
    listed = [("manifest.json", manifest.encode())]
    listed += [(name, members[name]) for name, _ in manifest.members()]
    for name, content in listed:
        out += bundletar.header(name, len(content)) + content
        out += bytes(bundletar.padding(len(content)))
    return bytes(out) + bundletar.END


def _with_line(line: bytes) -> Callable[[dict[str, bytes], Manifest], Manifest]:
    def change(members: dict[str, bytes], manifest: Manifest) -> Manifest:
        members["journal.jsonl"] += line + b"\n"
        return replace(manifest, journal=Member.of(members["journal.jsonl"]))

    return change


def _with_record(old: bytes, new: bytes) -> Callable[[dict[str, bytes], Manifest], Manifest]:
    def change(members: dict[str, bytes], manifest: Manifest) -> Manifest:
        records = []
        for member in manifest.records:
            data = members[member.record].replace(old, new)
            records.append(Member.of(data))
            members[records[-1].record] = data
        assert tuple(records) != manifest.records
        return replace(manifest, records=tuple(records))

    return change


def _without_repos(_members: dict[str, bytes], manifest: Manifest) -> Manifest:
    return replace(manifest, repos=())


SHA = b"sha256:" + b"a" * 64
LIES = {
    "a grant": _with_line(
        b'{"note": {"kind": "grant", "subject": "*", "value": {"readers": ["everyone"]}}}'
    ),
    "a pin": _with_line(b'{"note": {"kind": "pin", "subject": "x", "value": {}}}'),
    "a serial": _with_line(b'{"note": {"kind": "bundle", "subject": "x", "value": {"serial": 9}}}'),
    "an audience": _with_line(
        b'{"visibility": {"hub": "huggingface", "repo": "models/a/b", "private": false,'
        b' "gated": false, "seen_at": 1}}'
    ),
    "a sha256 of another name": _with_line(b'{"link": ["' + SHA + b'", "' + SHA + b'"]}'),
    "a name of another repo": _with_line(
        b'{"alias": {"hub": "huggingface", "name": "models/acme/tiny", "to_hub": "huggingface",'
        b' "repo": "models/acme/evil", "id": "1", "seen_at": 9}}'
    ),
    "no line": _with_line(b"{"),
    "a hub that is not known": _with_record(b'"hub":"huggingface"', b'"hub":"elsewhere"'),
    "another repo": _with_record(b"models/acme/tiny", b"models/acme/evil"),
    "no record": _with_record(b'"form":1', b'"form":7'),
    "repos that are not told of": _without_repos,
}


@pytest.mark.parametrize("lie", LIES)
def test_a_bundle_brings_nothing_that_is_the_operators_own_word(
    tmp_path: Path, bundle: Path, receiver: Receiver, lie: str
) -> None:
    """Grants, pins, serials and audiences in the journal; records of what the manifest does not name."""
    data = bundle.read_bytes()
    assert _rebuilt(data, lambda _, manifest: manifest) == data
    said = receiver.refuses(_rebuilt(data, LIES[lie]), tmp_path / "lie.tar")
    assert "no bundle may bring" in said or "records/" in said


def test_a_git_name_is_held_against_the_bytes(
    tmp_path: Path, bundle: Path, receiver: Receiver
) -> None:
    """A link from a git sha1 to other content would be served for every file of that name."""

    def change(members: dict[str, bytes], manifest: Manifest) -> Manifest:
        journal = members["journal.jsonl"]
        links = [json.loads(line) for line in journal.splitlines() if b'"link"' in line]
        name = next(link["link"][0] for link in links if link["link"][0].startswith("git-sha1:"))
        members["journal.jsonl"] = journal.replace(name.encode(), b"git-sha1:" + b"0" * 40)
        return replace(manifest, journal=Member.of(members["journal.jsonl"]))

    said = receiver.refuses(_rebuilt(bundle.read_bytes(), change), tmp_path / "lie.tar")
    assert "as its journal says" in said
