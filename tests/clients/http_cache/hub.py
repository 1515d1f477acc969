"""A test hub without a grammar: every GET below /test/ is a reply of upstream, kept as HTTP lets it be kept.

What is measured with it is the mirror's engine and its door, not a caching policy that is ever used: real
hubs have lifetimes of their own and ask for no general freshness. So it is simple: a reply that says how
long it is fresh, and nothing that would need a second thought, is kept; everything else is asked for anew.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

from mirror.errors import MirrorError, OfflineError, UpstreamRefusedError
from mirror.hubs.base import Facts
from mirror.messages import Answer, RequestHead, Response, UpstreamRequest
from mirror.names import Document, Fact, Need, Question, Reply

# Hop by hop (RFC 9110 §7.6.1), or written by the door.
_NOT_PASSED: Final = frozenset({
    "connection", "keep-alive", "proxy-authenticate", "proxy-authentication-info", "proxy-authorization",
    "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
    "content-length", "date", "via", "accept-ranges", "content-range",
})  # fmt: skip
# Conditions and ranges are applied here; upstream is asked for the whole.
_NOT_ASKED: Final = frozenset(
    [
        "host",
        "expect",
        "if-match",
        "if-none-match",
        "if-modified-since",
        "if-unmodified-since",
        "if-range",
        "range",
    ]
)
_UNDERSTOOD: Final = frozenset({200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501})
_DIRECTIVE: Final = re.compile(r'([\w-]+)(?:=(?:"([^"]*)"|([^\s,;"]*)))?', re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Document):
    """One URL; *shared* tells whether a kept reply will do, *credential* whether one is shown."""

    request: UpstreamRequest
    shared: bool
    credential: bool

    @property
    def key(self) -> str:
        """What the reply is kept under."""
        return f"{self.request.method} {self.request.target}{'' if self.shared else ' anew'}"


class GenericHub:
    """Recognises /test/ and passes what upstream says of it."""

    name = "generic"

    def recognise(self, head: RequestHead, body: bytes) -> Question | None:
        """Any read below /test/."""
        if not head.path.startswith("/test/"):
            return None
        listed = {name.strip().lower() for name in head.headers.get("connection", "").split(",")}
        headers = tuple(
            (name, value)
            for name, value in head.headers.items()
            if name not in _NOT_PASSED | _NOT_ASKED | listed
        )
        wishes = _directives(head.headers.get("cache-control", ""))
        anew = {"no-cache", "no-store", "max-age", "min-fresh"} & wishes.keys()
        pragma = "no-cache" in head.headers.get("pragma", "") and not wishes
        target = f"{head.path}?{head.query}" if head.query else head.path
        return Page(
            request=UpstreamRequest(head.method, target, headers, body),
            shared=head.method == "GET" and not anew and not pragma,
            credential=head.credential is not None,
        )

    def needs(self, question: Question, facts: Facts) -> Sequence[Need]:
        """The page, unless it is known."""
        assert isinstance(question, Page)
        if facts.reply(question.key) is not None:
            return ()
        return (Need(question.key, question.request, as_caller=True),)

    def absorb(
        self, question: Question, need: Need, response: Response, now: float
    ) -> Sequence[Fact]:
        """Keep a reply as long as it says."""
        assert isinstance(question, Page)
        lifetime = _lifetime(response, credential=question.credential) if question.shared else 0.0
        return (Reply(need.key, response, now, lifetime, private=question.credential),)

    def answer(self, question: Question, facts: Facts, base_url: str) -> Answer:
        """What upstream said, and how long ago."""
        del base_url
        assert isinstance(question, Page)
        reply = facts.reply(question.key)
        if reply is None:
            raise OfflineError("Upstream cannot be asked.")
        listed = {
            n.strip().lower() for n in reply.response.headers.get("connection", "").split(",")
        }
        kept = [
            (name, value)
            for name, value in reply.response.headers.items()
            if name not in _NOT_PASSED | listed | {"age", "etag"}
        ]
        age = int(_seconds(reply.response.headers.get("age")) + facts.now - reply.seen_at)
        if reply.lifetime or "age" in reply.response.headers:
            kept.append(("Age", str(max(0, age))))
        tag = reply.response.headers.get("etag", "")
        strong = re.fullmatch(r'"([\x21\x23-\x7e]+)"', tag)
        if tag and (strong is None or reply.response.status != 200):
            kept.append(("ETag", tag))
        etag = strong[1] if strong is not None and reply.response.status == 200 else None
        body = (reply.response.body,) if reply.response.body else ()
        return Answer(
            reply.response.status, tuple(kept), body, etag, ranges=reply.response.status == 200
        )

    def refuse(self, error: MirrorError) -> Answer:
        """The error's sentence."""
        status = error.status if isinstance(error, UpstreamRefusedError) else 504
        return Answer(status, (("Content-Type", "text/plain"),), (str(error).encode(),))


def _directives(text: str) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for name, quoted, plain in _DIRECTIVE.findall(text):
        found.setdefault(name.lower(), quoted or plain)
    return found


def _lifetime(response: Response, *, credential: bool) -> float:
    """How long a shared cache may use *response* (RFC 9111 §3, §4.2.1), in seconds; 0 for not at all."""
    headers = response.headers
    said = _directives(headers.get("cache-control", ""))
    if {"no-store", "no-cache", "private"} & said.keys() or "vary" in headers:
        return 0.0
    if credential or response.status not in _UNDERSTOOD:
        return 0.0
    if not headers.get("age", "0").isdigit():
        return 0.0  # Older than one can tell.
    if "s-maxage" in said:
        fresh = _seconds(said["s-maxage"])
    elif "max-age" in said:
        fresh = _seconds(said["max-age"])
    else:
        fresh = _until(headers)
    return max(0.0, fresh - _seconds(headers.get("age")))


def _seconds(text: str | None) -> float:
    return (
        float(min(int(text[:12]), 1 << 31)) if text and text.isascii() and text.isdigit() else 0.0
    )


def _until(headers: Mapping[str, str]) -> float:
    try:
        ends = parsedate_to_datetime(headers.get("expires", ""))
        return (ends - parsedate_to_datetime(headers.get("date", ""))).total_seconds()
    except (ValueError, TypeError, IndexError):
        return 0.0
