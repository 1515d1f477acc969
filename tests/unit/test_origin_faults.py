"""The scripted origin goes wrong exactly where it was told to, and books what it did."""

import hashlib
import http.client
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.origin import Fault, Origin, Sparse
from tests.origin.asking import Answer, ask

_size = 3_000_000
_data = bytes(range(256)) * (_size // 256) + bytes(_size % 256)


@pytest.fixture
def origin() -> Iterator[Origin]:
    """A hub with one file on its CDN."""
    with Origin() as running:
        running.add_repo("models", "acme/tiny", {"a.txt": b"text", "model.bin": _data})
        yield running


def _location(origin: Origin) -> str:
    url = ask(f"{origin.url}/acme/tiny/resolve/main/model.bin").location
    origin.clear_log()
    return url


def _read_until_broken(url: str) -> tuple[int, bytes, type[Exception] | None]:
    """Return the promised length, what came, and how it ended."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    got = bytearray()
    try:
        connection.request("GET", f"{parts.path}?{parts.query}")
        response = connection.getresponse()
        length = int(response.headers.get("Content-Length", "-1"))
        try:
            while block := response.read1(65536):
                got += block
        except (ConnectionError, http.client.HTTPException) as error:
            return length, bytes(got), type(error)
        return length, bytes(got), None
    finally:
        connection.close()


def test_flip_changes_one_byte_once(origin: Origin) -> None:
    """A flip spoils one byte of one answer; the next is sound."""
    url = _location(origin)
    armed = origin.fault(Fault(server="cdn", method="GET", path="/repos/", action="flip", at=0.6))
    spoiled = ask(url).body
    at = round(0.6 * _size)
    assert [n for n in range(_size) if spoiled[n] != _data[n]] == [at]
    assert ask(url).body == _data
    assert armed.hits == 1


def test_cut_and_rst_end_the_body_at_the_byte(origin: Origin) -> None:
    """The body ends at the byte asked for, politely or by a reset, and the log counts it."""
    url = _location(origin)
    for action in ("cut", "rst"):
        origin.fault(Fault(action=action, server="cdn", at=1_234_567))
        length, got, error = _read_until_broken(url)
        assert (length, got) == (_size, _data[:1_234_567])
        assert error is (ConnectionResetError if action == "rst" else None)
    assert [seen.bytes_sent for seen in origin.log] == [1_234_567, 1_234_567]
    assert ask(url).whole


def test_stall_holds_the_body_back_for_a_while(origin: Origin) -> None:
    """A stall with seconds goes on afterwards; the log shows what was sent meanwhile."""
    url = _location(origin)
    origin.fault(Fault(server="cdn", action="stall", at=0.5, seconds=0.4))
    started = time.monotonic()
    assert ask(url).body == _data
    assert time.monotonic() - started >= 0.4


def test_stall_for_ever_ends_with_the_client(origin: Origin) -> None:
    """A stall without seconds lasts until the client leaves, and does not hold up the log."""
    url = _location(origin)
    origin.fault(Fault(server="cdn", action="stall", at=1000))
    with pytest.raises(TimeoutError):
        ask(url, timeout=0.3)
    (seen,) = origin.log
    assert (seen.status, seen.bytes_sent) == (200, 1000)


def test_status_and_delay_happen_before_the_request_is_handled(origin: Origin) -> None:
    """A status replaces the answer with headers and body of choice; a delay comes first."""
    page = b"<html>log in</html>"
    origin.fault(Fault(action="delay", server="hub", seconds=0.3))
    origin.fault(
        Fault(action="status", path=r"a\.txt", status=429, headers={"Retry-After": "1"}, body=page)
    )
    url = f"{origin.url}/acme/tiny/resolve/main/a.txt"
    started = time.monotonic()
    answer = ask(url)
    assert time.monotonic() - started >= 0.3
    assert (answer.status, answer.headers["retry-after"], answer.body) == (429, "1", page)
    assert ask(url).status == 307


def test_lengths_can_lie_both_ways(origin: Origin) -> None:
    """A short Content-Length is followed by surplus bytes, a long one by an early end."""
    url = _location(origin)
    origin.fault(Fault(action="long-length", server="cdn", at=100))
    length, got, _ = _read_until_broken(url)
    assert (length, got) == (_size + 100, _data)
    origin.fault(Fault(action="short-length", server="cdn", at=100))
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10) as raw:
        raw.sendall(f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        everything = b""
        while block := raw.recv(1 << 20):
            everything += block
    head, _, body = everything.partition(b"\r\n\r\n")
    assert b"Content-Length: 100\r\n" in head
    assert body == _data


def test_drip_keeps_to_its_rate(origin: Origin) -> None:
    """A dripped body takes its size divided by the rate."""
    url = _location(origin)
    origin.fault(Fault(action="drip", server="cdn", rate=6_000_000))
    started = time.monotonic()
    assert ask(url).body == _data
    assert 0.45 <= time.monotonic() - started <= 5


def test_validators_and_ranges_can_lie(origin: Origin) -> None:
    """ETags can change or turn weak, ranges be ignored or mislabelled, headers be added."""
    url = _location(origin)
    part = {"Range": "bytes=10-19"}
    etag = ask(url, "HEAD").headers["etag"]
    for action in ("etag", "weak-etag", "no-range", "bad-range", "headers"):
        origin.fault(Fault(action=action, server="cdn", headers={"X-More": "1", "ETag": ""}))
    answers: dict[str, Answer] = {}
    # Changes of the head strike together; each is spent by the first request it fits.
    answers["first"] = ask(url, headers=part)
    answers["second"] = ask(url, headers=part)
    assert (answers["first"].status, len(answers["first"].body)) == (200, _size)
    assert answers["first"].headers["x-more"] == "1"
    assert "etag" not in answers["first"].headers
    assert answers["second"].headers["content-range"] == f"bytes 11-20/{_size}"
    assert answers["second"].body == _data[10:20]
    assert answers["second"].headers["etag"] == etag
    origin.fault(Fault(action="weak-etag", server="cdn"))
    assert ask(url, "HEAD").headers["etag"] == f"W/{etag}"
    origin.fault(Fault(action="etag", server="hub"))
    linked = ask(f"{origin.url}/acme/tiny/resolve/main/model.bin").headers["x-linked-etag"]
    sha256 = origin.repo("models", "acme/tiny").entry("model.bin").sha256
    assert linked == f'"{sha256[::-1]}"'


def test_chunked_bodies_can_be_sound_or_broken(origin: Origin) -> None:
    """``chunked`` hides the length; ``bad-chunk`` breaks the framing in the middle."""
    url = _location(origin)
    origin.fault(Fault(action="chunked", server="cdn"))
    answer = ask(url)
    assert answer.body == _data
    assert "content-length" not in answer.headers
    origin.fault(Fault(action="bad-chunk", server="cdn", at=0.5))
    length, got, error = _read_until_broken(url)
    assert length == -1
    assert got == _data[: len(got)]
    assert error is not None
    assert issubclass(error, http.client.HTTPException)


def test_faults_on_a_file_are_not_spent_on_the_redirect_to_it(origin: Origin) -> None:
    """A body fault waits for an answer that has a body to spoil."""
    origin.fault(Fault(path=r"a\.txt", action="flip", at=0))
    first = ask(f"{origin.url}/acme/tiny/resolve/main/a.txt")
    assert ask(first.location, "HEAD").status == 200
    assert ask(first.location).body == bytes([ord("t") ^ 0xFF]) + b"ext"
    assert ask(first.location).body == b"text"


def test_times_none_strikes_until_cleared(origin: Origin) -> None:
    """A fault without a count goes on until the faults are cleared."""
    armed = origin.fault(Fault(action="status", times=None))
    assert [ask(origin.url).status for _ in range(3)] == [503] * 3
    origin.clear_faults()
    assert ask(origin.url).status == 200
    assert armed.hits == 3
    with pytest.raises(ValueError, match="unknown fault"):
        Fault(action="explode")  # type: ignore[arg-type]


def test_the_log_has_each_request_once_and_whole(origin: Origin) -> None:
    """Requests of many clients at once are all there, with status, bytes and headers."""
    url = _location(origin)

    def work() -> None:
        for _ in range(5):
            ask(url, headers={"X-Mine": "yes", "Range": "bytes=0-99"})

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = origin.seen(server="cdn", method="GET", path=r"/repos/.*Signature=")
    assert len(found) == len(origin.log) == 40
    assert {(seen.status, seen.bytes_sent) for seen in found} == {(206, 100)}
    assert {seen.headers["x-mine"] for seen in found} == {"yes"}
    assert len({seen.client for seen in found}) == 40
    assert origin.seen(server="hub") == []
    origin.clear_log()
    assert origin.log == []


@pytest.mark.parametrize("reset", [False, True])
def test_stop_refuses_and_start_takes_the_same_ports(origin: Origin, *, reset: bool) -> None:
    """A stopped origin ends its connections and refuses new ones; started, it is where it was."""
    url = _location(origin)
    addresses = (origin.url, origin.cdn_url, origin.cas_url)
    origin.fault(Fault(action="stall", server="cdn", at=1000))
    outcome: list[tuple[int, bytes, type[Exception] | None]] = []
    reader = threading.Thread(target=lambda: outcome.append(_read_until_broken(url)))
    reader.start()
    while not (origin.log and origin.log[-1].bytes_sent == 1000):
        time.sleep(0.005)
    origin.stop(reset=reset)
    reader.join(10)
    assert outcome == [(_size, _data[:1000], ConnectionResetError if reset else None)]
    for address in addresses:
        with pytest.raises(ConnectionRefusedError):
            ask(address)
    origin.start()
    assert (origin.url, origin.cdn_url, origin.cas_url) == addresses
    assert ask(url).body == _data


def test_large_files_cost_no_memory_and_no_disk(origin: Origin, tmp_path: Path) -> None:
    """Sparse files and files given by path are served from where they lie."""
    path = tmp_path / "weights"
    path.write_bytes(_data)
    size = 5 << 30
    repo = origin.add_repo(
        "models",
        "acme/large",
        {
            "a.bin": path,
            "b.bin": Sparse(size, sha256="ab" * 32),
            "c.bin": Sparse(3 << 20, stamped=True),
            "d.bin": Sparse(40 << 20),
        },
    )
    assert repo.entry("a.bin").content.held == path
    assert repo.entry("b.bin").sha256 == "ab" * 32
    held = repo.entry("b.bin").content.held
    assert isinstance(held, Path)
    assert held.stat().st_size <= 16 << 20
    url = ask(f"{origin.url}/acme/large/resolve/main/b.bin").location
    end = ask(url, headers={"Range": "bytes=-10"})
    assert end.headers["content-range"] == f"bytes {size - 10}-{size - 1}/{size}"
    assert end.body == bytes(10)
    middle = ask(url, headers={"Range": f"bytes={1 << 24}-{3 << 24}"})
    assert middle.body == bytes((2 << 24) + 1)
    zeros = repo.entry("d.bin")
    assert zeros.sha256 == hashlib.sha256(bytes(40 << 20)).hexdigest()
    assert ask(ask(f"{origin.url}/acme/large/resolve/main/d.bin").location).body == zeros.data
    stamped = repo.entry("c.bin").data
    assert [int.from_bytes(stamped[n << 20 : (n << 20) + 8], "big") for n in range(3)] == [
        1,
        (1 << 20) + 1,
        (2 << 20) + 1,
    ]
