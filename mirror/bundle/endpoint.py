"""A mirror as its clients see it: requests over HTTP, each on a connection that its thread keeps.

Nothing else of this package knows the wire. What a mirror cannot do for the moment is tried again; what it
refuses is told in its own words.
"""

import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final
from urllib.parse import urlsplit

from mirror import __version__
from mirror.errors import MirrorError, QuestionError
from mirror.redaction import one_line

# Seconds until an answer begins: a mirror takes archives whole before the first byte, and a try that was
# given up finds the work done.
TIMEOUT: Final = 300.0
CONNECT: Final = 10.0
# Documents are read whole; the largest file list seen, of 100 000 files, is 40 MB.
DOCUMENT_LIMIT: Final = 64 << 20
# Tries of one request, and seconds before the second and later ones.
TRIES: Final = 5
PAUSES: Final = (0.2, 1.0, 3.0, 8.0)
_LONGEST_PAUSE: Final = 30.0

_WHO: Final = 401
_TRY_AGAIN: Final = frozenset({429, 503, 504})
_PIECE: Final = 1 << 20
_SILENT: Final = "it gave no reason"


class AnswerRefusedError(MirrorError):
    """The mirror said no to a request; *status* is its HTTP status."""

    def __init__(self, message: str, *, status: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status


class UnreachableError(MirrorError):
    """No mirror answers."""


class BrokenError(UnreachableError):
    """The connection broke, or silence lasted too long: asking again may help."""


@dataclass(frozen=True, slots=True)
class Head:
    """The head of an answer; header names are in lower case."""

    status: int
    headers: Mapping[str, str]

    @property
    def size(self) -> int | None:
        """Bytes of its body."""
        text = self.headers.get("content-length", "")
        return int(text) if text.isdigit() else None

    @property
    def etag(self) -> str:
        """Its strong entity tag without the quotes, ``""`` where it has none."""
        tag = self.headers.get("etag", "")
        return tag[1:-1] if len(tag) > 2 and tag[0] == tag[-1] == '"' else ""


class Body:
    """A body as it comes."""

    def __init__(self, head: Head, response: http.client.HTTPResponse) -> None:
        self.head = head
        self._response = response

    def chunks(self) -> Iterator[bytes]:
        """Yield the body in pieces of at most 1 MiB; raises `BrokenError` where it ends too early."""
        promised, got = self.head.size, 0
        try:
            while chunk := self._response.read(_PIECE):
                got += len(chunk)
                yield chunk
        except (OSError, http.client.HTTPException) as error:
            raise BrokenError(f"The mirror broke off: {_reason(error)}.") from error
        if promised is not None and got != promised:
            raise BrokenError(f"The mirror broke off after {got} of {promised} bytes.")

    def lines(self) -> Iterator[Any]:
        """Yield each line as the JSON value that it is; raises `BrokenError` where that ends too early."""
        try:
            while line := self._response.readline():
                if line.strip():
                    yield json.loads(line)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise BrokenError(f"The mirror broke off: {_reason(error)}.") from error


class Endpoint:
    """The mirror at *url*.

    *token* looks up what is sent along where a repo may want it, and to a mirror that wants to know who asks
    for anything. *pause* waits for so many seconds. With *only_stored* the mirror asks nobody else. Raises
    `QuestionError` for an address that is none.
    """

    def __init__(
        self,
        url: str,
        token: Callable[[], str] = str,
        *,
        pause: Callable[[float], None] = time.sleep,
        only_stored: bool = False,
    ) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in {"http", "https"} or not parts.hostname or port == -1:
            raise QuestionError(
                f"{url!r} is no address of a mirror.", hint="Write it like http://mirror:8090."
            )
        self.url = url.rstrip("/")
        self._secure = parts.scheme == "https"
        self._address = (parts.hostname, port or (443 if self._secure else 80))
        self._base = parts.path.rstrip("/")
        self._token = cache(token)
        self._known = False
        self._pause = pause
        # RFC 9111 §5.2.1.7.
        self._always = {"Cache-Control": "only-if-cached"} if only_stored else {}
        self._kept = threading.local()
        self._all: set[http.client.HTTPConnection] = set()

    def close(self) -> None:
        """Let go of every connection, of whatever thread."""
        while self._all:
            self._all.pop().close()

    def introduce(self) -> bool:
        """Say from now on who asks, of anything; tells whether that is new, and there is something to say."""
        if self._known or not self._token():
            return False
        self._known = True
        return True

    def abort(self) -> None:
        """Break off every request that is under way, on whatever thread."""
        for connection in list(self._all):
            if (sock := connection.sock) is not None:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def document(self, target: str, *, restricted: bool = False) -> tuple[Head, bytes]:
        """Fetch a small body whole.

        Raises `AnswerRefusedError` for what the mirror refuses, and `MirrorError` where it cannot be asked
        or has more than a document may be long.
        """
        for last in self._tries():
            try:
                with self._ask("GET", target, {}, restricted=restricted) as body:
                    parts, size = [], 0
                    for chunk in body.chunks():
                        parts.append(chunk)
                        size += len(chunk)
                        if size > DOCUMENT_LIMIT:
                            raise MirrorError(f"{target} is longer than any document is.")
                    return body.head, b"".join(parts)
            except BrokenError:
                if last:
                    raise
        raise AssertionError

    def json(self, target: str, *, restricted: bool = False) -> tuple[Head, Any]:
        """Fetch a document and read it as JSON; raises as `document` does."""
        head, body = self.document(target, restricted=restricted)
        try:
            return head, json.loads(body)
        except ValueError as error:
            raise MirrorError(
                f"{self.url}{target} is no JSON.", hint="Is there a mirror at that address?"
            ) from error

    def head(self, target: str, *, restricted: bool = False) -> Head:
        """Ask for the head of a file; raises as `document` does."""
        for last in self._tries():
            try:
                with self._ask("HEAD", target, {}, restricted=restricted) as body:
                    return body.head
            except BrokenError:
                if last:
                    raise
        raise AssertionError

    @contextlib.contextmanager
    def file(
        self, target: str, *, start: int = 0, etag: str = "", restricted: bool = False
    ) -> Iterator[Body]:
        """Open a file, from *start* on where it still has *etag*: then the status is 206.

        One try. Raises `BrokenError` where another may help, else as `document` does.
        """
        headers = {"Range": f"bytes={start}-", "If-Range": f'"{etag}"'} if start and etag else {}
        with self._ask("GET", target, headers, restricted=restricted) as body:
            yield body

    @contextlib.contextmanager
    def lines(
        self, target: str, question: Mapping[str, Any], *, restricted: bool = False
    ) -> Iterator[Iterator[Any]]:
        """Post *question* as JSON and read what is answered to it, one JSON value a line, as it comes.

        One try. Raises as `file` does.
        """
        headers = {"Content-Type": "application/json"}
        posted = json.dumps(question).encode()
        with self._ask("POST", target, headers, restricted=restricted, posted=posted) as body:
            yield body.lines()

    # ── the wire ───────────────────────────────────────────────────────────────────────────────

    def _tries(self) -> Iterator[bool]:
        for number in range(TRIES):
            if number:
                self._pause(PAUSES[number - 1])
            yield number == TRIES - 1

    @contextlib.contextmanager
    def _ask(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        *,
        restricted: bool,
        posted: bytes | None = None,
    ) -> Iterator[Body]:
        known = restricted or self._known
        response = self._send(method, target, headers, restricted=known, posted=posted)
        if response.status == _WHO and not (restricted or self._known) and self._token():
            self._drop()
            self._known = True  # It has users of its own, and serves nothing to strangers.
            response = self._send(method, target, headers, restricted=True, posted=posted)
        head = Head(response.status, {name.lower(): text for name, text in response.getheaders()})
        whole = False
        try:
            if response.status in _TRY_AGAIN:
                self._wait_as_told(head)
                raise BrokenError(self._said(target, head, response))
            if response.status not in {200, 206}:
                raise self._refused(target, head, response)
            yield Body(head, response)
            whole = response.isclosed() or method == "HEAD"
        finally:
            if not whole:
                self._drop()  # What is left of the body would be taken for the next answer.

    def _send(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        *,
        restricted: bool,
        posted: bytes | None = None,
    ) -> http.client.HTTPResponse:
        sent = {
            "User-Agent": f"modelmirror/{__version__}",
            "Accept-Encoding": "identity",
            **self._always,
            **headers,
        }
        if restricted and (token := self._token()):
            sent["Authorization"] = f"Bearer {token}"
        fresh = getattr(self._kept, "connection", None) is None
        while True:
            try:
                connection = self._connection()
                connection.request(method, self._base + target, posted, headers=sent)
                return connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                self._drop()
                # A connection that was kept may have been closed meanwhile: that is no fault of anybody.
                if not fresh and not isinstance(error, TimeoutError):
                    fresh = True
                    continue
                raise self._unreachable(error) from error

    def _connection(self) -> http.client.HTTPConnection:
        kept: http.client.HTTPConnection | None = getattr(self._kept, "connection", None)
        if kept is not None:
            return kept
        host, port = self._address
        connection = (
            http.client.HTTPSConnection(host, port, timeout=CONNECT)
            if self._secure
            else http.client.HTTPConnection(host, port, timeout=CONNECT)
        )
        self._all.add(connection)
        connection.connect()
        assert connection.sock is not None  # noqa: S101 -- connected
        connection.sock.settimeout(TIMEOUT)
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._kept.connection = connection
        return connection

    def _drop(self) -> None:
        kept = getattr(self._kept, "connection", None)
        self._kept.connection = None
        if kept is not None:
            self._all.discard(kept)
            kept.close()

    def _wait_as_told(self, head: Head) -> None:
        told = head.headers.get("retry-after", "")
        if told.isdigit():
            self._pause(min(float(told), _LONGEST_PAUSE))

    def _unreachable(self, error: Exception) -> MirrorError:
        if isinstance(error, ssl.SSLCertVerificationError):
            return MirrorError(
                f"The certificate of {self.url} is not trusted: {error.verify_message}.",
                hint="Name a file with its authority in SSL_CERT_FILE.",
            )
        if isinstance(error, (ConnectionRefusedError, socket.gaierror)):
            return UnreachableError(
                f"No mirror answers at {self.url}: {_reason(error)}.",
                hint="Start it with `modelmirror serve`, or name another one with --endpoint.",
            )
        return BrokenError(f"{self.url} did not answer: {_reason(error)}.")

    def _refused(
        self, target: str, head: Head, response: http.client.HTTPResponse
    ) -> AnswerRefusedError:
        hints = {
            401: "Log in with `hf auth login`, or set HF_TOKEN to a token that may read it.",
            403: "Ask for access where it is published, then set HF_TOKEN to a token that has it.",
            404: "Is its name written as its publisher writes it?",
        }
        said = self._said(target, head, response)
        hint = hints.get(head.status, "")
        # The Hub says 401 of a name that nobody has, too, so as not to tell which names are taken.
        if head.status == _WHO and head.headers.get("x-error-code") == "RepoNotFound":
            hint = (
                "Either there is no such repo: is its name written as its publisher writes it? Or it is"
                " private: then log in with `hf auth login`, or set HF_TOKEN to a token that may read it."
            )
        if said.endswith(f"{_SILENT}.") and head.status != _WHO and "via" not in head.headers:
            hint = "Is there a mirror at that address?"
        if head.status in range(300, 400) and (there := _server(head.headers.get("location", ""))):
            hint = f"It leads to {there}: name that with --endpoint if the mirror is there."
        return AnswerRefusedError(said, status=head.status, hint=hint)

    def _said(self, target: str, head: Head, response: http.client.HTTPResponse) -> str:
        """What the mirror says, in its own words."""
        said = head.headers.get("x-error-message", "")
        if not said:
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
                body = json.loads(response.read(1 << 16))
                said = str(body.get("error", "")) if isinstance(body, dict) else ""
        said = one_line(" ".join(said.split()))[:1000] or _SILENT
        end = "" if said.endswith((".", "!", "?")) else "."
        return f"{self.url} answered {head.status} to {target}: {said}{end}"


def _server(location: str) -> str:
    """Whose address it is, without what may be signed or secret of it; ``""`` where it names nobody."""
    with contextlib.suppress(ValueError):
        parts = urlsplit(one_line(location))
        if parts.hostname:
            return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/"
    return ""


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
