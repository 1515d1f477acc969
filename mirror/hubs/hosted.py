"""Files of hosts that have no API worth the name: an address, its head, its bytes.

A hub here says of each address what it is (`Route`); everything else is the same for all of them, and here.
The head of a file is asked for once and kept; of what moves it is asked for again when its lifetime is over,
and the version it tells of becomes a file of its own. No credential ever goes to such a host.
"""

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, TypeAlias
from urllib.parse import unquote

from mirror.digest import MD5, Check, Digest, sha256_of, source_of
from mirror.errors import (
    MethodRefusedError,
    MirrorError,
    OfflineError,
    UpstreamRefusedError,
    UpstreamUnreachableError,
)
from mirror.hubs.base import Facts
from mirror.hubs.plain import content_head, refuse
from mirror.messages import Answer, BlobRef, Derived, RequestHead, Response, Span, UpstreamRequest
from mirror.names import Artifact, Document, Fact, Need, Question, Reply

# A head that says what a file is for good.
FOR_EVER: Final = 100 * 365 * 86400.0
# The largest document that is kept whole: NLTK's index is 300 KB, a page of branches 60 KB.
DOCUMENT_LIMIT: Final = 16 << 20
# A host that ignores Range sends this much of a file before its head is given up.
_PROBE_LIMIT: Final = 1 << 20

_GENERIC: Final = "/-/host/"
_KEPT: Final = (
    "content-length", "content-range", "content-type", "content-md5", "etag", "last-modified",
    "x-goog-hash", "x-goog-stored-content-encoding",
)  # fmt: skip
# What a host answers that serves GET and not HEAD: a signed URL is good for one method alone.
_NO_HEAD: Final = frozenset({400, 403, 405, 501})


class Kind(StrEnum):
    """What may become of the content of an address."""

    PROVEN = "proven"
    """Its digest is published: it is that, or nothing."""
    PINNED = "pinned"
    """It has a version in its name and no digest: the first download is believed."""
    MOVING = "moving"
    """It changes: each version is recorded, and looked for again when its lifetime is over."""


@dataclass(frozen=True, slots=True)
class Place:
    """An address below a host: *path* still percent-encoded, beginning with ``/``; *query* raw."""

    host: str
    path: str
    query: str = ""

    @property
    def target(self) -> str:
        """Path and query."""
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def url(self) -> str:
        """The address as clients know it."""
        return f"https://{self.host}{self.target}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """What a hub says of one address.

    *target* is what upstream is asked for: a path on the hub's own upstreams, or an absolute URL on an
    allow-listed host. *digest* (where it is proven) and *checks* are what is published of the content. A
    *document* is small and kept whole. *probe* is the method that a head is asked for with: ``GET`` for
    what redirects to addresses that are signed for it. *transform* names what is made of the content
    before it is served.
    """

    target: str
    kind: Kind
    digest: Digest | None = None
    checks: tuple[Check, ...] = ()
    document: bool = False
    probe: str = "HEAD"
    transform: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedFile(Artifact):
    """A file at *place*, which is what *route* says."""

    place: Place
    route: Route


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedDocument(Document):
    """A small document at *place*, which is what *route* says."""

    place: Place
    route: Route


Router: TypeAlias = Callable[[Place], Route]
"""Says what a place is; raises `QuestionError` for what the hub does not serve."""

ShortForm: TypeAlias = Callable[[str, str], Place]
"""Reads what follows a short form's prefix, and the query, as a place."""


def _all(_place: Place) -> bool:
    """Every place of the hosts."""
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One hub.

    *name* stands in settings and counters. Of the *hosts* that it answers for, the first *upstreams* many
    are asked, in that order. *router* says what each place is.

    *takes* tells which places of shared hosts are its own. *short* are the forms that people can type, by
    what they begin with.
    """

    name: str
    hosts: tuple[str, ...]
    router: Router
    upstreams: int = 1
    takes: Callable[[Place], bool] = _all
    short: Mapping[str, ShortForm] = field(default_factory=dict)


class Hosted:
    """A `mirror.hubs.base.Hub` over one *family*.

    *ref_lifetime* is how long, in seconds, what moves is used without looking again.
    """

    def __init__(self, family: Family, ref_lifetime: float) -> None:
        self._family = family
        self._ref_lifetime = ref_lifetime

    @property
    def name(self) -> str:
        """The family's name."""
        return self._family.name

    def recognise(self, head: RequestHead, body: bytes) -> Question | None:
        """Say what a request for one of the family's places means."""
        del body
        place = self._place(head)
        if place is None:
            return None
        if head.method not in ("GET", "HEAD"):
            raise MethodRefusedError("Files of this host can only be read.")
        return self.question(place)

    def question(self, place: Place) -> Question:
        """Say what *place* is."""
        route = self._family.router(place)
        if route.document:
            return HostedDocument(place=place, route=route, anonymous=True)
        return HostedFile(place=place, route=route, anonymous=True, revision="", path=_file(place))

    def needs(self, question: Question, facts: Facts) -> Sequence[Need]:
        """Name the document, or the head of the file, while it is not known."""
        match question:
            case HostedDocument(route=route):
                return self._lacking(route, "GET", facts)
            case HostedFile(route=route):
                missing = self._lacking(route, route.probe, facts)
                if missing or route.probe == "GET":
                    return missing
                known = facts.reply(_key("HEAD", route))
                if known is not None and known.response.status in _NO_HEAD:
                    return self._lacking(replace(route, probe="GET"), "GET", facts)
                return []
            case _:
                raise TypeError(f"{self.name} asks no {type(question).__name__}")

    def absorb(
        self, question: Question, need: Need, response: Response, now: float
    ) -> Sequence[Fact]:
        """Keep a document whole, and of a file its head."""
        del question
        status = response.status
        asked = need.request.method
        if status >= 400 and not (asked == "HEAD" and status in _NO_HEAD):
            raise UpstreamRefusedError(
                f"{need.context['host']} answered {status} to {need.context['file']}.",
                status=status,
                headers={},
            )
        if status not in (200, 206) and status < 400:
            raise UpstreamUnreachableError(f"{need.context['host']} answered {status}.")
        whole = need.context["what"] == "document"
        headers = {name: response.headers[name] for name in _KEPT if name in response.headers}
        # Where it was found is not kept: the address may be signed.
        kept = Response(status, headers, response.body if whole else b"", response.base, "")
        return [Reply(need.key, kept, now, lifetime=float(need.context["lifetime"]), lasting=True)]

    def answer(self, question: Question, facts: Facts, base_url: str) -> Answer:
        """Answer with the document, or with the file that its head tells of."""
        del base_url
        match question:
            case HostedDocument(place=place, route=route):
                reply = _known(facts.reply(_key("GET", route)))
                return Answer(
                    200,
                    content_head(_file(place), reply.response.headers.get("content-type", "")),
                    (reply.response.body,) if reply.response.body else (),
                    etag=sha256_of(reply.response.body).hex,
                    ranges=True,
                )
            case HostedFile(place=place, route=route):
                return self.file(place, route, facts)
            case _:
                raise TypeError(f"{self.name} answers no {type(question).__name__}")

    def refuse(self, error: MirrorError) -> Answer:
        """Word an error for clients that know statuses and people who read bodies."""
        return refuse(error)

    # ── files ──────────────────────────────────────────────────────────────────────────────────

    def file(self, place: Place, route: Route, facts: Facts) -> Answer:
        """The file at *place* by its head, which is known."""
        probed = route if route.probe == "GET" else replace(route, probe="GET")
        reply = facts.reply(_key("HEAD", route)) if route.probe == "HEAD" else None
        if reply is None or reply.response.status in _NO_HEAD:
            reply = facts.reply(_key("GET", probed))
        known = _known(reply)
        headers = known.response.headers
        source = UpstreamRequest("GET", route.target)
        version = _version(known) if route.kind is Kind.MOVING else ""
        name = source_of(place.url, version) if version else source_of(place.url)
        digest = route.digest or name
        head = content_head(_file(place), headers.get("content-type", ""))
        if "last-modified" in headers:
            head = (*head, ("Last-Modified", headers["last-modified"]))
        size = _size(known.response)
        account = place.host
        if size is None:
            return Answer(200, head, ranges=True, derived=Derived(name, source, self.name, account))
        checks = (*route.checks, *_published(headers))
        blob = BlobRef(digest, size, source, self.name, account, checks)
        if route.transform:
            made = source_of(place.url, version, route.transform)
            derived = Derived(made, source, self.name, account, blob, route.transform)
            return Answer(200, head, ranges=True, derived=derived)
        body = (Span(blob, 0, size),) if size else ()
        return Answer(200, head, body, etag=digest.hex, ranges=True)

    # ── asking ─────────────────────────────────────────────────────────────────────────────────

    def _lacking(self, route: Route, method: str, facts: Facts) -> list[Need]:
        key = _key(method, route)
        if facts.reply(key) is not None:
            return []
        moving = route.kind is Kind.MOVING
        probing = method == "GET" and not route.document
        headers = (("Range", "bytes=0-0"),) if probing else ()
        context = {
            "what": "document" if route.document else "head",
            "lifetime": repr(self._ref_lifetime if moving else FOR_EVER),
            "host": self._family.hosts[0],
            "file": route.target.partition("?")[0],
        }
        limit = DOCUMENT_LIMIT if route.document else _PROBE_LIMIT
        return [
            Need(key, UpstreamRequest(method, route.target, headers), limit=limit, context=context)
        ]

    def _place(self, head: RequestHead) -> Place | None:
        path = head.path
        if path.startswith(_GENERIC):
            host, _, rest = path[len(_GENERIC) :].partition("/")
            place = Place(host.lower(), f"/{rest}", head.query)
            own = place.host in self._family.hosts and self._family.takes(place)
            return place if own else None
        for prefix, form in self._family.short.items():
            if path.startswith(prefix):
                return form(path[len(prefix) :], head.query)
        return None


def _key(method: str, route: Route) -> str:
    what = "PROBE" if method == "GET" and not route.document else method
    return f"{what} {route.target}"


def _known(reply: Reply | None) -> Reply:
    if reply is None:
        raise OfflineError(
            "This mirror has not seen that file yet, and upstream cannot be asked now.",
            hint="Fetch it once while upstream can be reached.",
        )
    return reply


def _file(place: Place) -> str:
    """The name of the file, as people read it."""
    return unquote(place.path.rstrip("/").rpartition("/")[2], errors="replace")


def _size(response: Response) -> int | None:
    """The length of the whole file in bytes; `None` where the host does not say."""
    if response.status == 206:
        total = response.headers.get("content-range", "").rpartition("/")[2]
    else:
        total = response.headers.get("content-length", "")
    return int(total) if total.isascii() and total.isdigit() else None


def _version(reply: Reply) -> str:
    """What tells this version of a moving file from others."""
    headers = reply.response.headers
    told = headers.get("etag") or headers.get("last-modified")
    return told or f"seen {reply.seen_at}"


def _published(headers: Mapping[str, str]) -> tuple[Check, ...]:
    """The MD5 that storage services tell of what they store (RFC 1864; Google's ``x-goog-hash``)."""
    if headers.get("x-goog-stored-content-encoding", "identity") != "identity":
        return ()  # It is of the bytes before they were unpacked.
    told = [headers.get("content-md5", "")]
    told += [
        part.strip().removeprefix("md5=")
        for part in headers.get("x-goog-hash", "").split(",")
        if part.strip().startswith("md5=")
    ]
    for text in filter(None, told):
        try:
            return (Check(MD5, base64.b64decode(text, validate=True).hex()),)
        except (binascii.Error, ValueError):
            continue
    return ()
