"""Requests that mean nothing: a 4xx with a sentence, and nothing on disk changes."""

import contextlib
import json
import re
import socket
from contextlib import closing
from pathlib import Path

import pytest

from tests.mirror.running import Running, files_below
from tests.origin import Origin
from tests.web.hostile import FRAMINGS, ODD_NAMES, TARGETS

SHAPES = (
    "/{}",
    "/{}/tiny/resolve/main/config.json",
    "/acme/{}/resolve/main/config.json",
    "/acme/tiny/resolve/{}/config.json",
    "/acme/tiny/resolve/main/{}",
    "/acme/tiny/resolve/main/sub/{}/config.json",
    "/api/models/acme/tiny/tree/main/{}",
    "/v2/acme/tiny/blobs/{}",
)
OURS = (
    "/acme/tiny/resolve/..%2f..%2fmain/config.json",
    "/acme%2ftiny%2f..%2fother/resolve/main/config.json",
    "/-/etc/passwd",
    "/-/cas/v2/reconstructions/zz",
    "/-/cas/xorbs/../../etc/passwd",
    "/-/static/..%2fhome.css",
    "/-/static/home.py",
    "/api/models/acme/tiny/tree/main/%2e%2e%2f%2e%2e",
)
# Names that mean something to us get an answer of ours, and names with a dot may be branches or files.
ODD = tuple(shape.format(name) for name in ODD_NAMES for shape in SHAPES)
# All that may stand in a data folder: names of ours, digests, and random ones.
STORED = re.compile(
    r"v1/(?:(?:blobs|sums)/sha256/[0-9a-f]{2}/[0-9a-f]{64}|records/[0-9a-f]{2}/[0-9a-f]{64}\.json"
    r"|journal\.jsonl|index\.sqlite3(?:-[a-z]+)?|memo/.*|secret|lock|running|scrub\.json"
    r"|[a-z-]+(?:\.[a-z0-9]+)?)"
)
METHODS = (
    ("POST", "/acme/tiny/resolve/main/config.json"),
    ("PUT", "/acme/tiny/resolve/main/config.json"),
    ("DELETE", "/api/models/acme/tiny"),
    ("POST", "/api/repos/create"),
    ("POST", "/api/models/acme/tiny/commit/main"),
    ("POST", "/api/models/acme/tiny/preupload/main"),
    ("POST", "/acme/tiny.git/git-receive-pack"),
    ("POST", "/"),
    ("POST", "/-/status"),
    ("DELETE", "/-/live"),
    ("TRACE", "/acme/tiny/resolve/main/config.json"),
    ("PATCH", "/acme/tiny/resolve/main/config.json"),
)


@pytest.fixture
def tiny(origin: Origin) -> Origin:
    """One small public repo."""
    origin.add_repo("models", "acme/tiny", files={"config.json": b"{}"})
    return origin


def _raw(mirror: Running, request: bytes) -> tuple[int, bytes]:
    """Send bytes as they are and read the answer until the server closes or it is whole."""
    with closing(socket.create_connection(mirror.address, timeout=10)) as wire:
        wire.sendall(request)
        answer = b""
        while chunk := wire.recv(65536):
            answer += chunk
            head, separator, body = answer.partition(b"\r\n\r\n")
            if separator:
                length = [
                    int(line.split(b":")[1])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length:")
                ]
                if length and len(body) >= length[0]:
                    break
    status = int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/") else 0
    return status, answer.partition(b"\r\n\r\n")[2]


def _tree(folder: Path) -> list[str]:
    """Every name below *folder* but those of the data folder, which has its own audit."""
    return sorted(
        str(path.relative_to(folder)) for path in folder.rglob("*") if "data" not in path.parts
    )


def test_hostile_targets_get_a_sentence_and_change_nothing(
    mirror: Running, tiny: Origin, tmp_path: Path
) -> None:
    """Traversal in every encoding, NUL, foreign hosts, devices: 4xx with a sentence, no file anywhere."""
    assert mirror.ask("/acme/tiny/resolve/main/config.json").body == b"{}"
    mirror.settle()
    tiny.clear_log()
    inside = [row[0] for row in files_below(mirror.data / "v1" / "blobs")]
    outside = _tree(tmp_path), sorted(path.name for path in Path().iterdir())

    assert len({*TARGETS, *OURS}) >= 150
    for target in (*TARGETS, *OURS, *ODD):
        request = f"GET {target} HTTP/1.1\r\nHost: mirror\r\nConnection: close\r\n\r\n"
        status, body = _raw(mirror, request.encode())
        assert 400 <= status < 500, (target, status)
        assert len(json.loads(body)["error"]) > 15, (target, body)
    for target in TARGETS:
        request = f"HEAD {target} HTTP/1.1\r\nHost: mirror\r\nConnection: close\r\n\r\n"
        assert 400 <= _raw(mirror, request.encode())[0] < 500, target

    assert [row[0] for row in files_below(mirror.data / "v1" / "blobs")] == inside
    assert (_tree(tmp_path), sorted(path.name for path in Path().iterdir())) == outside
    for name, _ in files_below(mirror.data):
        assert STORED.fullmatch(name), name
    assert [seen.path for seen in tiny.log if "passwd" in seen.path or "evil" in seen.path] == []


def test_ambiguous_framing_is_refused_by_the_whole_mirror(mirror: Running, tiny: Origin) -> None:
    """Every probe is a 4xx that ends the connection; nothing of it, or behind it, reaches upstream."""
    behind = b"GET /acme/tiny/resolve/main/config.json HTTP/1.1\r\nHost: mirror\r\n\r\n"
    for name, request in FRAMINGS.items():
        with closing(socket.create_connection(mirror.address, timeout=10)) as wire:
            answer = b""
            with contextlib.suppress(ConnectionError):
                wire.sendall(request + behind)
                while chunk := wire.recv(65536):
                    answer += chunk
        assert re.match(rb"HTTP/1\.1 4[0-9][0-9] ", answer), name
        assert answer.count(b"HTTP/1.1 ") == 1, name
        assert b"\r\nConnection: close\r\n" in answer, name
    assert tiny.log == []


def test_writes_are_refused_with_a_sentence(mirror: Running, tiny: Origin) -> None:
    """No method that would change something has any effect, here or upstream."""
    for method, path in METHODS:
        head = "Host: mirror\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        request = f"{method} {path} HTTP/1.1\r\n{head}"
        status, body = _raw(mirror, request.encode())
        assert 400 <= status < 500, (method, path, status)
        assert len(json.loads(body)["error"]) > 15, (method, path, body)
    assert tiny.log == []


def test_absurd_ranges_are_ignored_or_unsatisfiable(mirror: Running, tiny: Origin) -> None:
    """Ranges that mean nothing give the whole file; ranges beyond it give 416 with its size."""
    path = "/acme/tiny/resolve/main/config.json"
    for value in (
        "bytes=z",
        "lines=0-1",
        "bytes=1-0",
        "bytes=",
        "bytes=0-0," * 40,
        "bytes=" + "9" * 300 + "-",
    ):
        got = mirror.ask(path, headers={"Range": value})
        assert (got.status, got.body) == (200, b"{}"), value
    for value in ("bytes=2-", "bytes=99999-", "bytes=-0"):
        got = mirror.ask(path, headers={"Range": value})
        assert (got.status, got.headers["content-range"]) == (416, "bytes */2"), value
    assert tiny.log != []


def test_headers_and_bodies_beyond_their_bounds_are_refused(mirror: Running, tiny: Origin) -> None:
    """A 64 KiB header, a thousand headers, a large body: 4xx, and the next request is served."""
    host = b"GET /acme/tiny/resolve/main/config.json HTTP/1.1\r\nHost: mirror\r\n"
    for request in (
        host + b"X-Long: " + b"a" * 65536 + b"\r\n\r\n",
        host + b"".join(b"X-%d: 1\r\n" % n for n in range(1000)) + b"\r\n",
        host + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        host + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        b"GET /acme/tiny/resolve/main/config.json HTTP/1.1\r\n\r\n",
    ):
        status, _ = _raw(mirror, request)
        assert 400 <= status < 500, request[:120]
    big = mirror.ask("/api/models/acme/tiny/paths-info/main", method="POST", body=b"x" * (2 << 20))
    assert big.status == 413
    assert mirror.ask("/acme/tiny/resolve/main/config.json").body == b"{}"
    assert tiny.log != []
