"""Requests that mean nothing: a 4xx with a sentence, and nothing on disk changes."""

import json
import socket
from contextlib import closing

import pytest

from tests.mirror.running import Running, files_below
from tests.origin import Origin

TARGETS = (
    "/../../etc/passwd",
    "/acme/tiny/resolve/main/../../../../etc/passwd",
    "/acme/tiny/resolve/main/..%2f..%2fetc%2fpasswd",
    "/acme/tiny/resolve/main/%2e%2e/%2e%2e/etc/passwd",
    "/acme/tiny/resolve/main/%252e%252e/passwd",
    "/acme/tiny/resolve/main/..%5c..%5cwindows",
    "/acme/tiny/resolve/main/a%00b",
    "/acme/tiny/resolve/main/%c0%ae%c0%ae/passwd",
    "/acme/tiny/resolve/main/%0d%0aX-Evil:%201",
    "/acme/tiny/resolve/ma%00in/config.json",
    "/acme/tiny/resolve/..%2f..%2fmain/config.json",
    "/acme%2ftiny%2f..%2fother/resolve/main/config.json",
    "/a c m e/tiny/resolve/main/config.json".replace(" ", "%20"),
    "/" + "x" * 200 + "/tiny/resolve/main/config.json",
    "/-/etc/passwd",
    "/-/cas/v2/reconstructions/zz",
    "/-/cas/xorbs/../../etc/passwd",
    "/api/models/../../etc/passwd",
    "/api/models/acme/tiny/tree/main/%2e%2e%2f%2e%2e",
    "//etc/passwd",
    "http://169.254.169.254/latest/meta-data",
    "/acme/tiny/resolve/main/" + "a" * 9000,
    "*",
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


def test_hostile_targets_get_a_sentence_and_change_nothing(mirror: Running, tiny: Origin) -> None:
    """Traversal in every encoding, NUL, foreign hosts: 4xx with a sentence, the store untouched."""
    assert mirror.ask("/acme/tiny/resolve/main/config.json").body == b"{}"
    mirror.settle()
    tiny.clear_log()
    before = [row for row in files_below(mirror.data) if "index" not in row[0]]

    for target in TARGETS:
        for method in ("GET", "HEAD"):
            request = f"{method} {target} HTTP/1.1\r\nHost: mirror\r\nConnection: close\r\n\r\n"
            status, body = _raw(mirror, request.encode())
            assert 400 <= status < 500, (method, target, status)
            if method == "GET":
                assert len(json.loads(body)["error"]) > 20, (target, body)
    assert [row for row in files_below(mirror.data) if "index" not in row[0]] == before
    assert [seen.path for seen in tiny.log if seen.status < 400] == []


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
