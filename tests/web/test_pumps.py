"""Bodies from files: growing, interleaved, slow, broken; every byte, or a connection that says so."""

import asyncio
import hashlib
import logging
import os
from pathlib import Path

import pytest

from mirror.errors import DigestMismatchError, TruncatedBodyError
from mirror.messages import Answer
from mirror.web.pump import BUSY_BUDGET, IDLE_BUDGET, SLICE, Pumps
from tests.doubles.scripted_keeper import TAIL, ScriptedBlob, ScriptedKeeper
from tests.web.client import Client, Got, get
from tests.web.door import LOOPS, door, run, until

pytestmark = pytest.mark.parametrize("loop", LOOPS)

MIB = 1 << 20


def test_growing_blob_is_sent_as_it_comes(loop: str, tmp_path: Path) -> None:
    """Readers that join at any time get every byte of a blob that is still coming in."""
    data = os.urandom(5 * MIB + 123)

    async def main() -> None:
        keeper = ScriptedKeeper()
        blob = ScriptedBlob(tmp_path, data, here=0)
        keeper.serve("/blob", blob)
        async with door(keeper) as url:
            early = [asyncio.ensure_future(get(url, "/blob")) for _ in range(4)]
            await until(lambda: blob.waiting == 4)
            for here in (1, 10, 4097, MIB, 3 * MIB, 3 * MIB + 1):
                blob.grow(here)
                await until(lambda: blob.waiting == 4)
            late = asyncio.ensure_future(get(url, "/blob"))
            await until(lambda: blob.waiting == 5)
            blob.grow(len(data))
            await until(lambda: blob.waiting == 5)
            blob.verify()
            for got in await asyncio.gather(*early, late):
                assert (got.status, got.clean) == (200, True)
                assert hashlib.sha256(got.body).digest() == hashlib.sha256(data).digest()

    run(loop, main())


@pytest.mark.parametrize(
    ("asked", "start", "withheld"),
    [
        (None, 0, True),
        ("bytes=100-", 100, True),
        ("bytes=0-5,1000-", None, True),
        ("bytes=100-{last}", 100, False),
        ("bytes=-200000", -200000, False),
    ],
)
def test_tail_waits_for_the_digest(
    loop: str, asked: str | None, start: int | None, *, withheld: bool, tmp_path: Path
) -> None:
    """What promises the blob's end waits with its last 64 KiB; closed and suffix ranges do not."""
    data = os.urandom(MIB)

    async def main() -> None:
        keeper = ScriptedKeeper()
        blob = ScriptedBlob(tmp_path, data, here=len(data))
        blob.verified = False
        keeper.serve("/blob", blob)
        headers = [f"Range: {asked.format(last=len(data) - 1)}"] if asked else []
        async with door(keeper) as url, Client(url) as client:
            lines = ["GET /blob HTTP/1.1", "Host: m", *headers, "", ""]
            await client.send("\r\n".join(lines).encode())
            _, got = await client.head()
            length = int(got["content-length"])
            if withheld:
                end = length - TAIL
                if start is None:  # multipart: its last boundary follows the withheld bytes
                    end -= len(got["content-type"].partition("boundary=")[2]) + 8
                body = await client.reader.readexactly(end)
                await until(lambda: blob.waiting == 1)
                assert not client.reader._buffer  # type: ignore[attr-defined]
                blob.verify()
                body += await client.reader.readexactly(length - end)
            else:
                body = await client.reader.readexactly(length)
            if start is not None:
                assert body == data[start:]

    run(loop, main())


def test_strict_ranges_wait_too(loop: str, tmp_path: Path) -> None:
    """With strict, a closed range of the tail waits for the digest."""
    data = os.urandom(MIB)

    async def main() -> Got:
        keeper = ScriptedKeeper()
        blob = ScriptedBlob(tmp_path, data, here=len(data))
        blob.verified = False
        keeper.serve("/blob", blob)
        async with door(keeper, strict=True) as url:
            asked = asyncio.ensure_future(get(url, "/blob", f"Range: bytes={MIB - 10}-{MIB - 1}"))
            await until(lambda: blob.waiting == 1)
            assert not asked.done()
            blob.verify()
            return await asked

    assert run(loop, main()).body == data[-10:]


@pytest.mark.parametrize("arrived", [1, 100_000, MIB, 3 * MIB])
@pytest.mark.parametrize("kind", ["mismatch", "truncated"])
def test_broken_fill_cuts_the_response(
    loop: str, kind: str, arrived: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An error in mid-body ends the connection short of its Content-Length, for every reader."""
    caplog.set_level(logging.CRITICAL)
    data = os.urandom(3 * MIB)

    async def main() -> None:
        keeper = ScriptedKeeper()
        blob = ScriptedBlob(tmp_path, data, here=arrived)
        keeper.serve("/blob", blob)
        error = (
            DigestMismatchError("Not what it says.", expected=blob.digest, got=blob.digest)
            if kind == "mismatch"
            else TruncatedBodyError("Too short.", expected=len(data), got=arrived)
        )
        lines: list[str] = []
        async with door(keeper, access=lines.append) as url:
            asked = [asyncio.ensure_future(get(url, "/blob")) for _ in range(3)]
            await until(lambda: blob.waiting == 3)
            blob.fail(error)
            for got in await asyncio.gather(*asked):
                assert (got.status, got.clean) == (200, False)
                assert len(got.body) <= min(arrived, len(data) - TAIL)
                assert data.startswith(got.body)
        assert "".join(lines).count('cut="') == 3

    run(loop, main())


def test_file_shorter_than_its_size_cuts(
    loop: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that was truncated behind our back cuts the response instead of stopping it."""
    caplog.set_level(logging.CRITICAL)

    async def main() -> None:
        keeper = ScriptedKeeper()
        for size in (1000, MIB):
            blob = ScriptedBlob(tmp_path, os.urandom(size))
            keeper.serve("/blob", blob)
            os.truncate(blob.path, size // 2)
            async with door(keeper) as url:
                got = await get(url, "/blob")
                assert not (got.status == 200 and got.clean)

    run(loop, main())


def test_interleaved_segments_arrive_in_order(loop: str, tmp_path: Path) -> None:
    """Eight literal bytes before each 128 KiB of two blobs, whole and ranged, are put together rightly."""
    first, second = os.urandom(9 * MIB + 77), os.urandom(2 * MIB)

    async def main() -> None:
        keeper = ScriptedKeeper()
        one = ScriptedBlob(tmp_path, first, window=300_000)
        two = ScriptedBlob(tmp_path, second)
        keeper.serve("/x", one, two)
        body: list[object] = []
        plain = b""
        for blob in (one, two, one):
            for n, start in enumerate(range(0, len(blob.data), 128 << 10)):
                end = min(len(blob.data), start + (128 << 10))
                body += [b"%08d" % n, blob.span(start, end)]
                plain += b"%08d" % n + blob.data[start:end]
        keeper.scripts["/x"] = Answer(200, (), tuple(body), etag="t", ranges=True)  # type: ignore[arg-type]
        async with door(keeper) as url:
            got = await get(url, "/x")
            assert got.clean
            assert hashlib.sha256(got.body).digest() == hashlib.sha256(plain).digest()
            got = await get(url, "/x", "Range: bytes=131000-1500000")
            assert got.body == plain[131000:1500001]
            assert one.open == two.open == 0

    run(loop, main())


def test_one_blob_is_open_at_a_time(loop: str, tmp_path: Path) -> None:
    """An answer strung together from many blobs opens each when it is due and closes it after."""

    async def main() -> None:
        keeper = ScriptedKeeper()
        blobs = [ScriptedBlob(tmp_path, os.urandom(100_000)) for _ in range(50)]
        keeper.serve("/x", *blobs)
        most = 0
        follow = keeper.follow

        async def counted(*args: object) -> object:
            nonlocal most
            feed = await follow(*args)  # type: ignore[arg-type]
            most = max(most, keeper.open_feeds)
            return feed

        keeper.follow = counted  # type: ignore[method-assign,assignment]
        async with door(keeper) as url:
            got = await get(url, "/x")
        assert got.body == b"".join(blob.data for blob in blobs)
        assert most <= 2

    run(loop, main())


def test_literal_body_of_any_size_is_sent(loop: str) -> None:
    """A large listing goes out whole, also to a reader that takes it in small sips."""
    listing = os.urandom(7 * MIB)

    async def main() -> None:
        keeper = ScriptedKeeper()
        keeper.scripts["/tree"] = Answer(200, (), (listing[:100], listing[100:]))
        async with door(keeper) as url, Client(url, buffer=4096) as client:
            assert (await client.get("/tree")).body == listing

    run(loop, main())


def test_client_that_hangs_up_frees_everything(loop: str, tmp_path: Path) -> None:
    """Feeds, pumps and descriptors are gone as soon as their clients are, waiting or sending."""
    data = os.urandom(8 * MIB)

    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    async def main() -> None:
        keeper = ScriptedKeeper()
        hot = ScriptedBlob(tmp_path, data)
        cold = ScriptedBlob(tmp_path, data[::-1], here=1)
        keeper.serve("/hot", hot)
        keeper.serve("/cold", cold)
        async with door(keeper) as url:
            before = descriptors()
            clients = [Client(url, buffer=4096) for _ in range(20)]
            for n, client in enumerate(clients):
                await client.__aenter__()
                path = b"/hot" if n % 2 else b"/cold"
                await client.send(b"GET %b HTTP/1.1\r\nHost: m\r\n\r\n" % path)
                await client.head()
            assert keeper.open_feeds == 20
            for client in clients:
                client.writer.transport.abort()
            await until(lambda: keeper.open_feeds == 0)
            assert cold.waiting == 0
            await until(lambda: descriptors() <= before)

    run(loop, main())


def test_client_that_takes_nothing_is_cut(loop: str, tmp_path: Path) -> None:
    """After the stall limit a response is cut, by pump and by copy; one that waits for us is not."""
    data = os.urandom(32 * MIB)

    async def main() -> None:
        keeper = ScriptedKeeper()
        hot = ScriptedBlob(tmp_path, data)
        cold = ScriptedBlob(tmp_path, data[::-1], here=1)
        keeper.serve("/hot", hot)
        keeper.serve("/cold", cold)
        lines: list[str] = []
        async with (
            door(keeper, stall=0.2, access=lines.append) as url,
            Client(url, buffer=4096) as lazy,
            Client(url) as patient,
        ):
            await patient.send(b"GET /cold HTTP/1.1\r\nHost: m\r\n\r\n")
            await lazy.send(b"GET /hot HTTP/1.1\r\nHost: m\r\n\r\n")
            lazy.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await until(lambda: hot.open == 1)
            await until(lambda: hot.open == 0)
            assert cold.open == 1
            cold.grow(len(data))
            cold.verify()
            assert (await patient.response()).body == cold.data
        assert 'cut="the client takes nothing"' in "".join(lines)

    run(loop, main())


def test_slow_clients_do_not_cost_memory(loop: str, tmp_path: Path) -> None:
    """Two hundred clients in mid-download hold kernel buffers, not ours, and all get their bytes."""
    data = os.urandom(4 * MIB) * 4

    def rss() -> int:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE")

    async def main() -> None:
        keeper = ScriptedKeeper()
        blob = ScriptedBlob(tmp_path, data)
        keeper.serve("/blob", blob)
        async with door(keeper) as url:
            assert len((await get(url, "/blob")).body) == len(data)
            clients = [Client(url, buffer=4096) for _ in range(200)]
            before = rss()
            for client in clients:
                await client.__aenter__()
                await client.send(b"GET /blob HTTP/1.1\r\nHost: m\r\n\r\n")
            for client in clients:
                await client.head()
                await client.reader.readexactly(4096)
            await until(lambda: blob.open == 200)
            grown = rss() - before
            assert grown < 48 * MIB, f"{grown / MIB:.0f} MiB for 200 clients of both sides"
            for client in clients:
                client.writer.transport.abort()
            await until(lambda: blob.open == 0)

    run(loop, main())


def test_small_requests_are_answered_during_downloads(loop: str, tmp_path: Path) -> None:
    """While two downloads run, each small request waits few turns, and turns are short after the first."""
    data = bytes(64 * MIB)

    async def main() -> None:
        keeper = ScriptedKeeper()
        keeper.serve("/big", ScriptedBlob(tmp_path, data))
        keeper.serve("/small", ScriptedBlob(tmp_path, b"small"))
        async with door(keeper) as url:

            async def drink() -> int:
                total = 0
                async with Client(url) as client:
                    await client.send(b"GET /big HTTP/1.1\r\nHost: m\r\n\r\n")
                    await client.head()
                    while total < len(data):
                        total += len(await client.reader.read(MIB))
                return total

            downloads = [asyncio.ensure_future(drink()) for _ in range(2)]
            answered = 0
            async with Client(url) as client:
                while not all(download.done() for download in downloads):
                    assert (await client.get("/small")).body == b"small"
                    answered += 1
            assert [await download for download in downloads] == [len(data)] * 2
            # 128 MiB in turns of 4 MiB at most: were each small request made to wait for a whole
            # download, there would be two answers; were the budget never small, some thirty.
            assert answered > 2 * len(data) // IDLE_BUDGET

    run(loop, main())


def test_turn_shares_its_budget(loop: str) -> None:
    """The budget shrinks after a small request, and a crowd of pumps gets slices of it in turn."""

    async def main() -> None:
        pumps = Pumps(asyncio.get_running_loop())
        assert pumps.budget == IDLE_BUDGET
        pumps.note_small()
        assert pumps.budget == BUSY_BUDGET
        served: list[tuple[int, int, int]] = []

        class Ready:
            """A pump that can always send all it may."""

            queued = False
            watched = True
            state = None

            def __init__(self, name: int) -> None:
                self.name = name

            def step(self, allowance: int) -> int:
                served.append((self.name, pumps.turns, allowance))
                return allowance

        crowd = [Ready(n) for n in range(5)]
        for rounds in range(1, 6):
            pumps.note_small()
            for pump in crowd:
                pumps.queue(pump)  # type: ignore[arg-type]
            await until(lambda rounds=rounds: len(served) == 5 * rounds)  # type: ignore[misc]
        for turn in {turn for _, turn, _ in served}:
            assert sum(size for _, when, size in served if when == turn) <= BUSY_BUDGET
        assert min(size for _, _, size in served) == SLICE
        assert [name for name, _, _ in served] == [0, 1, 2, 3, 4] * 5

    run(loop, main())
