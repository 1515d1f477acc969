"""Bodies by copy, which is how they go out over TLS: every byte, nobody kept waiting, nobody waited for."""

import asyncio
import os
import ssl
from pathlib import Path

import pytest

from mirror.clock import SystemClock
from mirror.web.copying import LARGE, TURN
from mirror.web.tls import ServingTls
from tests.doubles.scripted_keeper import ScriptedBlob, ScriptedKeeper
from tests.house.certificates import Authority
from tests.web.door import LOOPS, door, run, until

pytestmark = pytest.mark.parametrize("loop", LOOPS)

MIB = 1 << 20
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority for the whole module."""
    return Authority(tmp_path_factory.mktemp("authority"))


def _tls(authority: Authority) -> ServingTls:
    issued = authority.issue("IP:127.0.0.1")
    return ServingTls(issued.certificate, issued.key, SystemClock())


async def _ask(url: str, authority: Authority, path: str, *, limit: int = MIB) -> Streams:
    """Ask for *path* on a connection of its own; the head of the answer is read."""
    context = ssl.create_default_context(cafile=str(authority.file))
    port = int(url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, limit=limit)
    await _again(reader, writer, path)
    return reader, writer


async def _again(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> None:
    writer.write(f"GET {path} HTTP/1.1\r\nHost: m\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")


def test_bytes_that_are_read_bit_by_bit_arrive_whole(
    loop: str, authority: Authority, tmp_path: Path
) -> None:
    """A blob that the disk gives 300 000 bytes at a time, and one that is all here, arrive as they are."""
    first, second = os.urandom(7 * MIB + 77), os.urandom(9 * MIB + 5)

    async def main() -> None:
        keeper = ScriptedKeeper()
        keeper.serve(
            "/x",
            ScriptedBlob(tmp_path, first, window=300_000),
            ScriptedBlob(tmp_path, second),
        )
        async with door(keeper, tls=_tls(authority)) as url:
            reader, writer = await _ask(url, authority, "/x")
            assert await reader.readexactly(len(first) + len(second)) == first + second
            writer.transport.abort()

    run(loop, main())


def test_client_that_takes_everything_leaves_others_their_turn(
    loop: str, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop turns at least once per MiB, however fast a client is."""
    size = 32 * MIB

    async def main() -> None:
        keeper = ScriptedKeeper()
        keeper.serve("/big", ScriptedBlob(tmp_path, bytes(size)))
        # As with a client that has always taken everything by the time the next piece is there.
        monkeypatch.setattr("mirror.web.wire.Exchange.congested", False)
        sent, jumps = 0, [0]
        pread = os.pread

        def counted(fd: int, count: int, offset: int) -> bytes:
            nonlocal sent
            sent = offset + count
            return pread(fd, count, offset)

        async def watch() -> None:
            while sent < size:
                seen = sent
                await asyncio.sleep(0)
                jumps.append(sent - seen)

        monkeypatch.setattr("mirror.web.copying.os.pread", counted)
        async with door(keeper, tls=_tls(authority)) as url:
            others = asyncio.ensure_future(watch())
            reader, writer = await _ask(url, authority, "/big")
            assert await reader.readexactly(size) == bytes(size)
            await others
            assert 0 < max(jumps) <= TURN + LARGE
            writer.transport.abort()

    run(loop, main())


def test_client_that_takes_nothing_is_cut_and_named(
    loop: str, authority: Authority, tmp_path: Path
) -> None:
    """After the stall limit the response is cut, and the log says why; one that waits for us is not cut."""
    data = os.urandom(32 * MIB)

    async def main() -> None:
        keeper = ScriptedKeeper()
        hot, cold = ScriptedBlob(tmp_path, data), ScriptedBlob(tmp_path, data[: 2 * MIB], here=1)
        keeper.serve("/hot", hot)
        keeper.serve("/cold", cold)
        lines: list[str] = []
        async with door(
            keeper, tls=_tls(authority), stall=0.2, access=lines.append, prepared=0
        ) as url:
            patient, patients_wire = await _ask(url, authority, "/cold")
            lazy, lazys_wire = await _ask(url, authority, "/hot", limit=4096)
            lazys_wire.transport.pause_reading()  # type: ignore[attr-defined]
            await until(lambda: hot.open == 1)
            await until(lambda: hot.open == 0)
            assert cold.open == 1
            cold.grow(len(cold.data))
            cold.verify()
            assert await patient.readexactly(len(cold.data)) == cold.data
            del lazy
            lazys_wire.transport.abort()
            patients_wire.transport.abort()
        assert 'cut="the client takes nothing"' in "".join(lines)

    run(loop, main())
