"""HTTPS at the door: what is shown, what is refused, and a certificate that changes under connections."""

import asyncio
import logging
import os
import shutil
import socket
import ssl
import warnings
from pathlib import Path

import pytest

from mirror.clock import SystemClock
from mirror.errors import ConfigError
from mirror.web.tls import CHECK_EVERY, ServingTls
from tests.doubles.scripted_keeper import ScriptedBlob, ScriptedKeeper
from tests.house.certificates import Authority, Issued
from tests.web.door import LOOPS, door, run

NAME = "mirror.test"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority for the whole module."""
    return Authority(tmp_path_factory.mktemp("authority"))


class _Clock(SystemClock):
    """A clock that can be turned."""

    ahead = 0.0

    def monotonic(self) -> float:
        """Monotonic seconds, and what was added."""
        return super().monotonic() + self.ahead


def _put(issued: Issued, certificate: Path, key: Path) -> None:
    """Put a pair in place as people do: copied beside, then renamed."""
    for source, target in ((issued.certificate, certificate), (issued.key, key)):
        beside = target.with_suffix(".new")
        shutil.copy(source, beside)
        beside.replace(target)


async def _connect(
    url: str, authority: Authority
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    context = ssl.create_default_context(cafile=str(authority.file))
    port = int(url.rpartition(":")[2])
    return await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=NAME)


def _spoken(url: str, authority: Authority, version: ssl.TLSVersion) -> str | None:
    """Shake hands with a client that knows just one version."""
    context = ssl.create_default_context(cafile=str(authority.file))
    context.set_ciphers("ALL:@SECLEVEL=0")  # or this end would refuse by itself
    with warnings.catch_warnings():  # it is deprecated, which is the point
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    with (
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), 10) as raw,
        context.wrap_socket(raw, server_hostname=NAME) as safe,
    ):
        return safe.version()


async def _get(
    streams: tuple[asyncio.StreamReader, asyncio.StreamWriter], path: str, size: int
) -> bytes:
    reader, writer = streams
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {NAME}\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    return await reader.readexactly(size)


def _serial(streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> str:
    return str(streams[1].get_extra_info("peercert")["serialNumber"])


@pytest.mark.parametrize("loop", LOOPS)
def test_a_changed_certificate_is_shown_and_no_connection_dropped(
    loop: str, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A download that runs goes on through the change; the next connection sees the new certificate."""
    data = os.urandom(8 << 20)
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    _put(authority.issue(f"DNS:{NAME}"), certificate, key)

    async def main() -> None:
        keeper = ScriptedKeeper()
        keeper.serve("/blob", ScriptedBlob(tmp_path, data))
        async with door(keeper, tls=ServingTls(certificate, key, SystemClock())) as url:
            assert url.startswith("https://127.0.0.1:")
            early = await _connect(url, authority)
            reader, writer = early
            writer.write(f"GET /blob HTTP/1.1\r\nHost: {NAME}\r\n\r\n".encode())
            await reader.readuntil(b"\r\n\r\n")
            _put(authority.issue(f"DNS:{NAME}"), certificate, key)
            late = await _connect(url, authority)
            assert _serial(late) != _serial(early)
            assert await _get(late, "/blob", len(data)) == data
            assert await reader.readexactly(len(data)) == data
            assert await _get(early, "/blob", len(data)) == data  # and the connection lives on
            assert keeper.asked[0].base_url == f"https://{NAME}"
            for _, open_writer in (early, late):
                open_writer.close()

    with caplog.at_level(logging.INFO):
        run(loop, main())
    assert [r.getMessage() for r in caplog.records if "loaded anew" in r.getMessage()]


def test_a_pair_that_cannot_be_used_leaves_the_one_before(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Half a change, a broken file and a missing one: the old pair is shown, and each is said once."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    first, second = authority.issue(f"DNS:{NAME}"), authority.issue(f"DNS:{NAME}")
    _put(first, certificate, key)

    async def main() -> None:
        async with door(ScriptedKeeper(), tls=ServingTls(certificate, key, SystemClock())) as url:

            async def shown() -> str:
                streams = await _connect(url, authority)
                streams[1].close()
                return _serial(streams)

            old = await shown()
            shutil.copy(second.certificate, certificate)  # the key is still the first one's
            assert await shown() == old
            assert await shown() == old
            certificate.write_bytes(b"")
            assert await shown() == old
            certificate.unlink()
            assert await shown() == old
            _put(second, certificate, key)
            assert await shown() != old

    run("uvloop", main())
    said = [r.getMessage() for r in caplog.records if "was not changed" in r.getMessage()]
    assert len(said) == 3
    assert "does not belong" in said[0]
    assert "not a PEM file" in said[1]
    assert "cannot be read" in said[2]


def test_old_tls_is_refused(authority: Authority) -> None:
    """TLS 1.1 gets no handshake, 1.2 does."""
    made = authority.issue(f"DNS:{NAME}")

    async def main() -> None:
        tls = ServingTls(made.certificate, made.key, SystemClock())
        async with door(ScriptedKeeper(), tls=tls) as url:
            spoken = await asyncio.to_thread(_spoken, url, authority, ssl.TLSVersion.TLSv1_2)
            assert spoken == "TLSv1.2"
            with pytest.raises(ssl.SSLError, match=r"(?i)protocol.version|EOF"):
                await asyncio.to_thread(_spoken, url, authority, ssl.TLSVersion.TLSv1_1)

    run("uvloop", main())


def test_files_that_cannot_be_used_are_named(authority: Authority, tmp_path: Path) -> None:
    """Missing, mixed up, of another pair, behind a pass phrase: each is a sentence with the file."""
    made, other = authority.issue(), authority.issue()
    locked = authority.issue(pass_phrase="secret")
    missing, text = tmp_path / "missing.pem", tmp_path / "text.pem"
    text.write_text("not PEM")
    cases = [
        (missing, made.key, rf"certificate {missing} cannot be read: No such file"),
        (made.certificate, missing, rf"key {missing} cannot be read: No such file"),
        (text, made.key, rf"certificate {text} is not a PEM file"),
        (made.key, made.certificate, rf"certificate {made.key} is not a PEM file"),
        (made.certificate, other.key, "does not belong to the certificate"),
        (locked.certificate, locked.key, "has a pass phrase"),
    ]
    for certificate, key, words in cases:
        with pytest.raises(ConfigError, match=words):
            ServingTls(certificate, key, SystemClock())


@pytest.mark.parametrize(
    ("days", "said"),
    [(-1, "has expired"), (5, "expires in 4 days"), (30, "")],
    ids=["expired", "soon", "fine"],
)
def test_a_certificate_near_its_end_is_warned_of(
    authority: Authority, caplog: pytest.LogCaptureFixture, days: int, said: str
) -> None:
    """An expired certificate is shown all the same, with a warning, that comes again every day."""
    made = authority.issue(f"DNS:{NAME}", days=days)
    clock = _Clock()
    tls = ServingTls(made.certificate, made.key, clock)

    async def main() -> None:
        async with door(ScriptedKeeper(), tls=tls) as url:
            for ahead in (0.0, CHECK_EVERY, CHECK_EVERY):
                clock.ahead = ahead
                try:
                    streams = await _connect(url, authority)
                except ssl.SSLCertVerificationError:
                    assert days < 0
                else:
                    streams[1].close()

    run("uvloop", main())
    warned = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warned) == (2 if said else 0), warned
    assert all(said in line and str(made.certificate) in line for line in warned)
