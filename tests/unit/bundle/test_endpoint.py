"""A mirror as an export sees it: what is tried again, what is told, and what is sent."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mirror.bundle.endpoint import AnswerRefusedError, BrokenError, Endpoint, UnreachableError
from mirror.errors import MirrorError, QuestionError

Reply = tuple[int, Mapping[str, str], bytes]


class Script:
    """A server that gives *replies* in order, the last one for ever; *seen* are the requests."""

    def __init__(self) -> None:
        self.replies: Sequence[Reply] = ()
        self.endpoints: list[Endpoint] = []
        self.seen: list[tuple[str, str, Mapping[str, str]]] = []
        script = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                script.seen.append((self.command, self.path, dict(self.headers.items())))
                number = min(len(script.seen), len(script.replies)) - 1
                status, headers, body = script.replies[number]
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)
                if int(headers.get("Content-Length", 0)) > len(body):
                    self.close_connection = True

            do_HEAD = do_GET  # noqa: N815 -- a name that http.server looks for

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def script() -> Iterator[Script]:
    """A scripted server."""
    script = Script()
    thread = threading.Thread(target=script.server.serve_forever, args=(0.05,))
    thread.start()
    yield script
    for endpoint in script.endpoints:
        endpoint.close()
    script.server.shutdown()
    thread.join()
    script.server.server_close()


def at(script: Script, token: str = "", base: str = "") -> tuple[Endpoint, list[float]]:
    """An endpoint, and the pauses that it made."""
    pauses: list[float] = []
    endpoint = Endpoint(script.url + base, lambda: token, pause=pauses.append)
    script.endpoints.append(endpoint)
    return endpoint, pauses


def test_what_a_mirror_cannot_do_now_is_tried_again(script: Script) -> None:
    """After a while, or after as long as it says."""
    script.replies = [
        (503, {"Retry-After": "7"}, b""),
        (200, {"Content-Length": "9"}, b"half"),
        (200, {}, b'{"a": 1}'),
    ]
    endpoint, pauses = at(script)
    assert endpoint.json("/x")[1] == {"a": 1}
    assert pauses[0] == 7
    assert len(script.seen) == 3


def test_a_mirror_that_stays_broken_is_given_up(script: Script) -> None:
    """With its status and its own sentence."""
    script.replies = [(503, {}, b'{"error": "The mirror is  stopping."}')]
    endpoint, pauses = at(script)
    with pytest.raises(BrokenError, match="answered 503 to /x: The mirror is stopping"):
        endpoint.document("/x")
    assert len(pauses) == 4


@pytest.mark.parametrize(
    ("status", "headers", "body", "said"),
    [
        (501, {"X-Error-Message": "Not here."}, b"", "Not here"),
        (404, {}, b'{"error": "Repository not found"}', "Repository not found"),
        (401, {}, b"<html>", "HF_TOKEN"),
        (404, {}, b'{"error": "Not found"}', "Not found. Is its name written"),
        (404, {}, b"<html>", "it gave no reason. Is there a mirror at that address?"),
        (404, {"Via": "1.1 modelmirror"}, b"", "it gave no reason. Is its name written"),
        (301, {"Location": "https://mirror.example/"}, b"", "leads to https://mirror.example/"),
        (302, {"Location": "https://a:b@cdn/x?Signature=s"}, b"", "leads to https://cdn/: name"),
        (302, {"Location": "https://[cdn/"}, b"", "it gave no reason. Is there a mirror"),
        (502, {}, b"", "it gave no reason"),
        (502, {"X-Error-Message": "a\x1b[31mb"}, b"", "a\\u001b[31mb"),
        (502, {}, b'{"error": "a\\u001b[31mb\\u009bc"}', "a\\u001b[31mb\\u009bc"),
    ],
)
def test_a_refusal_is_told_in_the_mirrors_words(
    script: Script, status: int, headers: Mapping[str, str], body: bytes, said: str
) -> None:
    """Once, and the next request on the same connection is none the worse."""
    script.replies = [(status, headers, body), (200, {}, b"fine")]
    endpoint, _ = at(script)
    with pytest.raises(AnswerRefusedError) as refused:
        endpoint.document("/x")
    assert said in str(refused.value)
    assert refused.value.status == status
    assert endpoint.document("/y")[1] == b"fine"


def test_a_token_goes_where_it_may_be_wanted(script: Script) -> None:
    """And nowhere else; the base of the address comes before each target."""
    script.replies = [(200, {}, b"{}")]
    endpoint, _ = at(script, "secret", "/mirror/")
    endpoint.json("/a", restricted=True)
    endpoint.json("/b")
    (_, first, told), (_, second, silent) = script.seen
    assert (first, second) == ("/mirror/a", "/mirror/b")
    assert told["Authorization"] == "Bearer secret"
    assert "Authorization" not in silent
    assert told["Accept-Encoding"] == "identity"


def test_a_mirror_that_wants_to_know_who_asks_is_told(script: Script) -> None:
    """Once it has said so, from the first word on."""
    script.replies = [(401, {}, b"{}"), (200, {}, b"{}")]
    endpoint, _ = at(script, "secret")
    endpoint.json("/a")
    endpoint.json("/b")
    sent = [headers.get("Authorization") for _, _, headers in script.seen]
    assert sent == [None, "Bearer secret", "Bearer secret"]


def test_what_is_no_mirror_is_said(script: Script) -> None:
    """A page where JSON should be, nobody at the address, an address that is none."""
    script.replies = [(200, {}, b"<html>")]
    endpoint, _ = at(script)
    with pytest.raises(MirrorError, match="is no JSON"):
        endpoint.json("/x")
    with pytest.raises(UnreachableError, match="No mirror answers"):
        Endpoint("http://127.0.0.1:1").document("/x")
    for wrong in ("mirror:8090", "ftp://mirror", "http://", "http://mirror:port"):
        with pytest.raises(QuestionError):
            Endpoint(wrong)


def test_a_file_that_changed_comes_from_its_start(script: Script) -> None:
    """A range is asked for under the condition that the tag is the same."""
    script.replies = [(200, {"ETag": '"new"'}, b"whole")]
    endpoint, _ = at(script)
    with endpoint.file("/x", start=3, etag="old") as body:
        assert (body.head.status, body.head.etag, body.head.size) == (200, "new", 5)
        assert b"".join(body.chunks()) == b"whole"
    (_, _, headers), *_ = script.seen
    assert (headers["Range"], headers["If-Range"]) == ("bytes=3-", '"old"')
