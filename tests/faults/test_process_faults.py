"""The index is lost, the process stops, runs twice, or lives in the wrong year."""

import asyncio
import os
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from mirror.digest import sha256_of
from mirror.messages import BlobRef, UpstreamRequest
from tests.doubles.scripted_upstream import Scripted
from tests.faults.clients import Download, download, together
from tests.faults.conftest import Torture
from tests.faults.site import ALICE, MIB, Site, noise, wait_for, while_running
from tests.faults.site import site as site_in
from tests.origin import Fault
from tests.unit.cache.filling import World, world

CONTENT = noise(3 * MIB + 17)
FILES = {"config.json": b'{"a": 1}', "model.bin": CONTENT, "notes.txt": b"notes"}


# ── F20 ─────────────────────────────────────────────────────────────────────────────────────────


async def _cancelled_leader(here: World, content: bytes, steps: int) -> None:
    """Cancel the first of three followers after *steps* turns of the loop; the others read on."""
    digest = sha256_of(content)
    request = UpstreamRequest("GET", "/file")
    here.upstream.answers["/file"] = Scripted(200, content, (("ETag", '"strong"'),))
    blob = BlobRef(digest, len(content), request, "huggingface", "acme/model")

    async def follow() -> bytes:
        await here.fills.begin(blob, None)
        feed = await here.fills.follow(blob, None)
        try:
            got = b""
            while len(got) < feed.size:
                end = feed.ready(len(got), whole=True)
                if end > len(got):
                    got += os.pread(feed.fileno(), end - len(got), len(got))
                else:
                    await feed.more(len(got), whole=True)
            return got
        finally:
            feed.close()

    loop = asyncio.get_running_loop()
    leader = loop.create_task(follow())
    followers = [loop.create_task(follow()) for _ in range(2)]
    for _ in range(steps):
        await asyncio.sleep(0)
    leader.cancel()
    async with asyncio.timeout(20):
        assert await asyncio.gather(*followers) == [content] * 2
        await asyncio.gather(leader, return_exceptions=True)
        await here.fills.settle()
    assert not here.fills.running()


def _cancel_at(folder: Path, steps: int) -> None:
    async def run() -> None:
        async with world(folder) as here:
            await _cancelled_leader(here, noise(120_000, seed=steps), steps)

    asyncio.run(run())


def test_f20_the_first_caller_is_cancelled(tmp_path: Path) -> None:
    """Whenever the caller that began a fill is cancelled, those who follow get the whole file."""
    for steps in range(40):
        _cancel_at(tmp_path / str(steps), steps)


@pytest.mark.torture
def test_f20_the_first_caller_is_cancelled_at_random(tmp_path: Path, torture: Torture) -> None:
    """The same at any of the first 400 turns, for as long as told."""
    for number in torture.rounds():
        _cancel_at(tmp_path / str(number), torture.chance.randrange(400))
        shutil.rmtree(tmp_path / str(number))


# ── F30 ─────────────────────────────────────────────────────────────────────────────────────────


def _lost(root: Path) -> None:
    for path in root.glob("index.sqlite3*"):
        path.unlink()


def _garbage(root: Path) -> None:
    _lost(root)
    (root / "index.sqlite3").write_bytes(noise(40_000))


def _torn(root: Path) -> None:
    """A page in the middle was never written."""
    path = root / "index.sqlite3"
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2 & ~4095)
        file.write(bytes(4096))


def _empty(root: Path) -> None:
    _lost(root)
    (root / "index.sqlite3").touch()


def _other_schema(number: int) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        with closing(sqlite3.connect(root / "index.sqlite3")) as index:
            index.execute(f"PRAGMA user_version = {number}")
            index.commit()

    return spoil


def _log_lost(root: Path) -> None:
    for path in root.glob("index.sqlite3-*"):
        path.unlink()


def _log_alone_lost(root: Path) -> None:
    (root / "index.sqlite3-wal").unlink(missing_ok=True)


def _log_cut(root: Path) -> None:
    log = root / "index.sqlite3-wal"
    if log.exists():
        os.truncate(log, log.stat().st_size // 3)


def _log_torn(root: Path) -> None:
    """Blocks in the middle were never written; the rest is there, and so is the length."""
    log = root / "index.sqlite3-wal"
    if log.exists():
        with log.open("r+b") as file:
            file.seek(log.stat().st_size // 3)
            file.write(bytes(4096))


def _memo_garbage(root: Path) -> None:
    for path in (root / "memo").iterdir():
        path.write_bytes(noise(5000))


@pytest.mark.parametrize("killed", [False, True], ids=["stopped", "killed"])
@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(_lost, id="lost"),
        pytest.param(_garbage, id="garbage"),
        pytest.param(_torn, id="torn"),
        pytest.param(_empty, id="empty"),
        pytest.param(_other_schema(1), id="older"),
        pytest.param(_other_schema(999_999), id="newer"),
        pytest.param(_memo_garbage, id="memo-garbage"),
    ],
)
def test_f30_the_index_is_spoiled(
    site: Site, spoil: Callable[[Path], None], *, killed: bool
) -> None:
    """Whatever happens to the index, a restart without upstream answers all that was here."""
    repo = site.origin.add_repo("models", "acme/model", files=dict(FILES), lfs=("*.bin",))
    for path, content in FILES.items():
        assert site.get(path=path).clean(content)
    site.mirror.settle()
    site.mirror.stop(signal.SIGKILL if killed else signal.SIGTERM)
    site.origin.stop()
    spoil(site.mirror.data / "v1")
    site.restart()

    for path, content in FILES.items():
        assert site.get(path=path).clean(content)
    tree = site.mirror.ask(f"/api/models/acme/model/tree/{repo.commit}?recursive=true")
    assert {item["path"] for item in tree.json()} >= set(FILES)
    if spoil is _torn:  # which is not noticed before something reads that page
        site.mend()


@pytest.mark.parametrize("killed", [False, True], ids=["stopped", "killed"])
@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(_log_lost, id="all"),
        pytest.param(_log_alone_lost, id="log"),
        pytest.param(_log_cut, id="cut"),
        pytest.param(_log_torn, id="torn"),
    ],
)
def test_f30_the_log_of_the_index_is_lost(
    site: Site, spoil: Callable[[Path], None], *, killed: bool
) -> None:
    """An index whose write-ahead log is gone or not whole is made again from what is stored."""
    test_f30_the_index_is_spoiled(site, spoil, killed=killed)


# ── F31, F32, F42 ───────────────────────────────────────────────────────────────────────────────


def _serve_again(data: Path) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "mirror", "serve", "--port", "0", "--data", str(data))
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_f31_two_processes_want_one_store(site: Site) -> None:
    """The second refuses in one sentence, and the first does not notice."""
    site.add(CONTENT)
    site.origin.fault(Fault(server="cdn", method="GET", action="drip", rate=2 * MIB))
    seconds: list[subprocess.CompletedProcess[str]] = []

    with while_running(lambda: seconds.append(_serve_again(site.mirror.data))):
        got = site.get()

    assert got.clean(CONTENT)
    assert seconds[0].returncode == 4
    assert str(site.mirror.process.pid) in seconds[0].stderr


def test_f32_a_stop_in_the_middle_of_a_fill(site: Site) -> None:
    """Told twice to stop, the mirror cuts its clients, keeps what came, and goes on from there."""
    content = noise(8 * MIB)
    site.add(content)
    site.origin.fault(Fault(server="cdn", method="GET", action="drip", rate=2 * MIB))
    cut: list[Download] = []

    with while_running(lambda: cut.extend(site.eight())):
        wait_for(lambda: any(seen.bytes_sent > 2 * MIB for seen in site.bodies()))
        site.mirror.process.send_signal(signal.SIGTERM)
        wait_for(lambda: "is stopping" in site.log())
        with pytest.raises(OSError), socket.create_connection(site.mirror.address, timeout=2):  # noqa: PT011
            pass
        assert site.mirror.stop(signal.SIGTERM) == 0

    assert len(cut) == 8
    assert not any(one.whole for one in cut)
    assert len(site.partials()) == 1
    site.origin.clear_log()
    site.restart()
    assert site.get().clean(content)
    begin = int(site.bodies()[0].headers["range"].removeprefix("bytes=").rstrip("-"))
    assert begin >= MIB


def test_f32_a_hangup_is_survived_by_the_store(site: Site) -> None:
    """A terminal that goes away loses nothing that was stored."""
    site.add(CONTENT)
    assert site.get().clean(CONTENT)
    site.mirror.settle()
    site.mirror.stop(signal.SIGHUP)
    site.origin.stop()
    site.restart()

    assert site.get().clean(CONTENT)


def test_f42_a_store_of_another_version_is_left_alone(tmp_path: Path) -> None:
    """A later format is refused, and not a file of it is touched."""
    later = tmp_path / "data" / "v2" / "blobs"
    later.mkdir(parents=True)
    (later / "x").write_bytes(b"later")

    done = _serve_again(tmp_path / "data")

    assert done.returncode == 4
    assert "v2" in done.stderr
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [
        "data", "data/v2", "data/v2/blobs", "data/v2/blobs/x",
    ]  # fmt: skip


# ── F33 ─────────────────────────────────────────────────────────────────────────────────────────


def _in_another_time(*how: str) -> tuple[str, ...]:
    """Run what follows by another wall clock; the monotonic one stays.

    The library is loaded without its wrapper, which would stay in between and swallow the signals.
    """
    for library in Path("/usr/lib").glob("*/faketime/libfaketime.so.1"):
        return ("env", f"LD_PRELOAD={library}", "DONT_FAKE_MONOTONIC=1", *how)
    pytest.skip("faketime is not installed")


@pytest.mark.parametrize("days", [400, -400])
def test_f33_the_wall_clock_is_wrong(site: Site, days: int) -> None:
    """400 days off nothing is lost, nothing is fresh for ever, and no audience is believed for ever."""
    before = _in_another_time(f"FAKETIME={days:+d}d")
    private = site.origin.add_repo(
        "models", "acme/private", files={"a.txt": b"secret"}, private=True, readers=(ALICE,)
    )
    alice = {"Authorization": f"Bearer {ALICE}"}
    site.add(CONTENT)
    assert site.get().clean(CONTENT)
    assert site.get("acme/private", "a.txt", headers=alice).body == b"secret"
    site.mirror.settle()
    site.restart(before=before)
    site.origin.clear_log()

    assert site.get().clean(CONTENT)
    assert site.origin.seen(server="hub", path="/api/models/acme/model") != []
    assert site.bodies() == []
    site.origin.clear_log()
    assert site.get().clean(CONTENT)
    assert site.origin.log == []  # within the lifetime, by the clock of this process
    site.origin.revoke(ALICE, private)
    site.origin.stop()
    site.restart(before=before)
    assert site.get().clean(CONTENT)
    assert site.get("acme/private", "a.txt", headers=alice).status in {401, 403, 501}


def test_f33_the_wall_clock_jumps(site: Site, tmp_path: Path) -> None:
    """Jumping by 400 days to and fro under way cuts no response and stops no fill."""
    stamp, following = tmp_path / "clock", tmp_path / "following"
    stamp.write_text("+0d\n")
    before = _in_another_time(f"FAKETIME_TIMESTAMP_FILE={stamp}", "FAKETIME_NO_CACHE=1")
    site.restart(before=before)
    others = [f"acme/other-{number}" for number in range(40)]
    for name in others:
        site.origin.add_repo("models", name, files={"a.txt": b"a"})
    content = noise(6 * MIB)
    site.add(content)
    site.origin.fault(Fault(server="cdn", method="GET", action="drip", rate=3 * MIB))
    done = threading.Event()

    def jump() -> None:
        shift = 0
        while not done.wait(0.02):
            shift = 400 if shift <= 0 else -400
            following.write_text(f"{shift:+d}d\n")
            following.replace(stamp)

    with while_running(jump):
        try:
            settled = [site.mirror.ask(f"/api/models/{name}/revision/main") for name in others]
            results = site.eight()
        finally:
            done.set()

    assert [answer.status for answer in settled] == [200] * 40
    # What was learned a moment ago is not taken for what an outage left over.
    assert not [seen for answer in settled if "stale" in (seen := answer.headers["cache-status"])]
    assert [one.clean(content) for one in results] == [True] * 8
    site.mirror.settle()
    assert len(site.blobs()) == 1


def test_f33_the_wall_clock_stands_still(site: Site, tmp_path: Path) -> None:
    """Set back again and again it keeps nobody admitted for longer than their word lasts."""
    stamp, following = tmp_path / "clock", tmp_path / "following"
    stamp.write_text("+0.0\n")
    before = _in_another_time(f"FAKETIME_TIMESTAMP_FILE={stamp}", "FAKETIME_NO_CACHE=1")
    site.restart({"MODELMIRROR_AUDIENCE_LIFETIME": "2s"}, before)
    private = site.origin.add_repo(
        "models", "acme/private", files={"a.txt": b"secret"}, private=True, readers=(ALICE,)
    )
    alice = {"Authorization": f"Bearer {ALICE}"}
    assert site.get("acme/private", "a.txt", headers=alice).body == b"secret"
    site.origin.revoke(ALICE, private)
    began, done = time.monotonic(), threading.Event()

    def hold() -> None:
        while not done.wait(0.02):
            following.write_text(f"{began - time.monotonic():.3f}\n")
            following.replace(stamp)  # for half a line would be taken for the right time

    with while_running(hold):
        try:
            wait_for(
                lambda: site.get("acme/private", "a.txt", headers=alice).status in {401, 403, 404}
            )
        finally:
            done.set()


# ── F43, F44 ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("left", [2, 10, 20, 40], ids="{}-MiB-left".format)
def test_f43_memory_runs_out(tmp_path: Path, left: int) -> None:
    """Without memory for more, nobody gets wrong bytes; with memory again all is well."""
    with site_in(tmp_path) as site:
        content = noise(16 * MIB)
        site.add(content)
        assert site.mirror.ask("/api/models/acme/model/revision/main").status == 200
        pid, unlimited = site.mirror.process.pid, resource.RLIM_INFINITY
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + left * MIB
        resource.prlimit(pid, resource.RLIMIT_AS, (limit, unlimited))

        results = together(16, lambda: download(site.url(), timeout=5))

        resource.prlimit(pid, resource.RLIMIT_AS, (unlimited, unlimited))
        assert all(one.harmless(content) for one in results)
        wait_for(lambda: download(site.url(), timeout=5).clean(content), patience=10)
        site.forgive_tracebacks()


@pytest.mark.parametrize("where", ["ask", "follow", "fetch"])
@pytest.mark.parametrize("kind", ["ZeroDivisionError", "MemoryError", "GeneratorExit"])
def test_f44_a_fault_in_the_program(tmp_path: Path, kind: str, where: str) -> None:
    """An error nobody thought of ends one request, or passes the file by; the next is served."""
    with site_in(tmp_path, program=("-m", "tests.faults.sabotage", kind)) as site:
        name = f"acme/model--{where}"
        site.add(CONTENT)
        site.add(noise(MIB, seed=44), name)
        for _ in range(2):
            got = site.get(name, timeout=5)
            # A download that fails inside the mirror goes through to its client, checked on the way.
            assert not (got.whole and got.status == 200) or where == "fetch"
            assert got.error != "TimeoutError"

        assert site.get().clean(CONTENT)
        site.forgive_tracebacks()
