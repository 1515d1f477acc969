"""Files of hosts that have no API worth the name: an address, its head, its bytes.

A hub here says of each address what it is (`Route`); everything else is the same for all of them, and here.
The head of a file is asked for once and kept; of what moves it is asked for again when its lifetime is over,
and the version it tells of becomes a file of its own. A document beside the file may tell its digest. No
credential ever goes to such a host.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final
from urllib.parse import unquote, urlsplit

from mirror.digest import SHA256, repr_digest, sha256_of, source_of
from mirror.errors import (
    MethodRefusedError,
    MirrorError,
    OfflineError,
    UpstreamRefusedError,
    UpstreamUnreachableError,
)
from mirror.hubs.base import Facts
from mirror.hubs.heads import published, size_of, version_of
from mirror.hubs.places import (
    Aside,
    Family,
    HostedDocument,
    HostedFile,
    Kind,
    Place,
    Route,
    Told,
)
from mirror.hubs.plain import content_head, header_text, refuse, staleness
from mirror.messages import Answer, BlobRef, Derived, RequestHead, Response, Span, UpstreamRequest
from mirror.names import Fact, Need, Question, Reply

# A head that says what a file is for good.
FOR_EVER: Final = 100 * 365 * 86400.0
# The largest document that is kept whole: NLTK's index is 300 KB, a page of branches 60 KB.
DOCUMENT_LIMIT: Final = 16 << 20
# How long, in seconds, a document that says nothing of a file, or cannot be had, is not asked for again.
NO_WORD: Final = 3600.0

_GENERIC: Final = "/-/host/"
_KEPT: Final = (
    "content-disposition", "content-length", "content-range", "content-type", "content-md5", "etag",
    "last-modified", "link", "x-goog-hash", "x-goog-stored-content-encoding",
)  # fmt: skip
# What a host answers that serves GET and not HEAD: a signed URL is good for one method alone.
_NO_HEAD: Final = frozenset({400, 403, 405, 501})


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
        title = f"{place.host}{place.path}"  # a query may be signed
        if route.document:
            return HostedDocument(place=place, route=route, anonymous=True, title=title)
        return HostedFile(
            place=place, route=route, anonymous=True, title=title, revision="", path=_file(place)
        )

    def needs(self, question: Question, facts: Facts) -> Sequence[Need]:
        """Name the document, or the head of the file, while it is not known."""
        match question:
            case HostedDocument(route=route):
                return self._lacking(route, _asking(route), facts)
            case HostedFile(route=route):
                if self._head(route, facts) is not None:
                    return self._lacking_aside(route, facts)
                refused = facts.reply(_no(self._key("HEAD", route))) is not None
                return self._lacking(route, "GET" if refused else route.probe, facts)
            case _:
                raise TypeError(f"{self.name} asks no {type(question).__name__}")

    def absorb(
        self, question: Question, need: Need, response: Response, now: float
    ) -> Sequence[Fact]:
        """Keep a document whole, and of a file its head."""
        status, what, key = response.status, need.context["what"], need.key
        lifetime = float(need.context["lifetime"])
        if what == "aside" and isinstance(question, HostedFile):
            if status != 200 and not need.optional:
                raise _refused(need.context["host"], need.context["file"], status)
            if question.route.kind is not Kind.MOVING:
                told = _read(question.route, response) if status == 200 else None
                lifetime = NO_WORD if told is None else FOR_EVER
        elif what == "presence" and status == 404:
            pass  # That is the answer.
        elif what == "head" and need.request.method == "HEAD" and status in _NO_HEAD:
            key = _no(key)  # What was known before is good as long as nothing newer is.
        elif status >= 400:
            raise _refused(need.context["host"], need.context["file"], status)
        elif status not in (200, 206) and status < 400:
            raise UpstreamUnreachableError(f"{need.context['host']} answered {status}.")
        whole = status == 200 and what in ("document", "aside")
        headers = {name: response.headers[name] for name in _KEPT if name in response.headers}
        # Where it was found is not kept: the address may be signed.
        kept = Response(status, headers, response.body if whole else b"", response.base, "")
        return [Reply(key, kept, now, lifetime=lifetime, lasting=True)]

    def answer(self, question: Question, facts: Facts, base_url: str) -> Answer:
        """Answer with the document, or with the file that its head tells of."""
        match question:
            case HostedDocument(place=place, route=route):
                return self._document(place, route, facts, base_url)
            case HostedFile(place=place, route=route):
                return self.file(place, route, facts)
            case _:
                raise TypeError(f"{self.name} answers no {type(question).__name__}")

    def refuse(self, error: MirrorError) -> Answer:
        """Word an error for clients that know statuses and people who read bodies."""
        return refuse(error)

    # ── documents and files ────────────────────────────────────────────────────────────────────

    def _document(self, place: Place, route: Route, facts: Facts, base_url: str) -> Answer:
        reply = _known(facts.reply(self._key(_asking(route), route)))
        headers, body = reply.response.headers, reply.response.body
        if reply.response.status == 404:
            return self.refuse(_refused(place.host, place.path, 404))
        head = content_head(_file(place), headers.get("content-type", ""))
        head = (*head, *_staleness(route, reply, facts))
        if "link" in headers:
            links = headers["link"].replace("<https://", f"<{base_url}{_GENERIC}")
            head = (*head, ("Link", header_text(links)))
        return Answer(200, head, (body,) if body else (), etag=sha256_of(body).hex, ranges=True)

    def file(self, place: Place, route: Route, facts: Facts) -> Answer:
        """The file at *place* by its head, which is known."""
        known = _known(self._head(route, facts))
        headers, size = known.response.headers, size_of(known.response)
        head = content_head(_file(place), headers.get("content-type", ""))
        if "last-modified" in headers:
            head = (*head, ("Last-Modified", headers["last-modified"]))
        head = (*head, *_staleness(route, known, facts))
        told = self._told(route, facts, size)
        if told.sources:
            size = told.size
        else:
            told = replace(
                told, sources=(route.target,), checks=(*told.checks, *published(known.response))
            )
        first, *others = told.sources
        source = UpstreamRequest("GET", first, others=tuple(others))
        url = self._url(route)
        version = (version_of(known),) if route.kind is Kind.MOVING else ()
        digest, checks = told.digest or route.digest, (*route.checks, *told.checks)
        wanted = Derived(
            source_of(url, *version), source, self.name, place.host,
            expected=digest, checks=checks, regenerated=route.collect,
        )  # fmt: skip
        collected = size is None or route.collect
        if collected and not route.transform:
            return Answer(200, head, ranges=True, derived=wanted)
        blob = BlobRef(
            digest or wanted.name, size or 0, source, self.name, place.host, checks=checks
        )
        if route.transform:
            made = source_of(url, *version, route.transform)
            made_of = wanted if collected else blob
            wanted = Derived(made, source, self.name, place.host, made_of, route.transform)
            return Answer(200, head, ranges=True, derived=wanted)
        if "x-goog-hash" in headers and published(known.response):  # kagglehub compares it.
            head = (*head, ("X-Goog-Hash", header_text(headers["x-goog-hash"])))
        if blob.digest.algorithm == SHA256:
            head = (*head, repr_digest(blob.digest))
        body = (Span(blob, 0, size),) if size else ()
        return Answer(200, head, body, etag=blob.digest.hex, ranges=True)

    def _head(self, route: Route, facts: Facts) -> Reply | None:
        """The newest head of the file, however it was asked for."""
        heads = [facts.reply(self._key(method, route)) for method in ("HEAD", "GET")]
        return max((head for head in heads if head), key=lambda head: head.seen_at, default=None)

    def _told(self, route: Route, facts: Facts, size: int | None) -> Told:
        """What is told of the file, which has *size* by its own head."""
        aside = route.aside
        reply = None
        if aside is not None and _short_enough(aside, size):
            reply = _beside(aside, facts)
        told = _read(route, reply.response) if reply is not None else None
        if told is None:
            return Told()
        # A size that is not the head's: one of the two was seen before the file changed, one after.
        return told if told.sources or told.size in (None, size) else Told()

    # ── asking ─────────────────────────────────────────────────────────────────────────────────

    def _lacking(self, route: Route, method: str, facts: Facts) -> list[Need]:
        key = self._key(method, route)
        if facts.reply(key) is not None:
            return []
        probing = method == "GET" and not route.document
        told = {
            "Range": "bytes=0-0" if probing else "",
            "Accept": route.accept,
            "Content-Type": "application/json" if route.post else "",
        }
        headers = tuple((name, value) for name, value in told.items() if value)
        what = "head" if not route.document else "presence" if route.presence else "document"
        limit = (
            DOCUMENT_LIMIT if route.document else 0
        )  # A host may send all where a byte was asked for.
        request = UpstreamRequest(method, route.target, headers, route.post)
        return [Need(key, request, limit=limit, context=self._context(route, route.target, what))]

    def _lacking_aside(self, route: Route, facts: Facts) -> list[Need]:
        """The document beside a file whose head is known."""
        aside = route.aside
        if aside is None or _beside(aside, facts) is not None:
            return []
        if facts.offline and not aside.needed:
            return []  # Without it the file may still be here, under the name of its source.
        if not _short_enough(aside, size_of(_known(self._head(route, facts)).response)):
            return []
        return [self.aside_need(route, aside)]

    def aside_need(self, route: Route, aside: Aside) -> Need:
        """The request for the document *aside* of a file that is *route*."""
        request = UpstreamRequest("GET", aside.target)
        context = self._context(route, aside.target, "aside")
        optional = not aside.needed
        return Need(aside.key, request, limit=DOCUMENT_LIMIT, optional=optional, context=context)

    def _context(self, route: Route, target: str, what: str) -> dict[str, str]:
        parts = urlsplit(target)
        return {
            "what": what,
            "lifetime": repr(self._ref_lifetime if route.kind is Kind.MOVING else FOR_EVER),
            "host": parts.hostname or self._family.hosts[0],
            "file": parts.path,
        }

    def _key(self, method: str, route: Route) -> str:
        """What an answer is kept under: every family has files at the same paths as others."""
        what = "PROBE" if method == "GET" and not route.document else method
        body = f" {sha256_of(route.post).hex}" if route.post else ""
        return f"{what} {self._url(route)}{body}"

    def _url(self, route: Route) -> str:
        """Where the content is, whichever of the family's upstreams it comes from."""
        target = route.target
        return target if "://" in target else f"https://{self._family.hosts[0]}{target}"

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


def _asking(route: Route) -> str:
    """The method that a document is asked for with."""
    return "HEAD" if route.presence else "POST" if route.post else "GET"


def _no(key: str) -> str:
    """What it is kept under that a host does not answer this."""
    return f"NO {key}"


def _short_enough(aside: Aside, size: int | None) -> bool:
    return aside.below is None or (size is not None and size < aside.below)


def _read(route: Route, response: Response) -> Told | None:
    """What the document beside a file says of it."""
    if route.aside is None or response.status != 200:
        return None
    return route.aside.read(route.aside.file, response.body)


def _refused(host: str, path: str, status: int) -> UpstreamRefusedError:
    said = f"{host} answered {status} to {path}."
    return UpstreamRefusedError(said, status=status, headers={})


def _beside(aside: Aside, facts: Facts) -> Reply | None:
    """What is known of the document beside a file: because of one, or because it was asked for itself."""
    return facts.reply(aside.key) or facts.reply(f"GET {aside.target}")


def _staleness(route: Route, reply: Reply, facts: Facts) -> tuple[tuple[str, str], ...]:
    """How old what moves is, where upstream cannot say whether it is so still."""
    if route.kind is not Kind.MOVING or not facts.offline:
        return ()
    return staleness(facts.now - reply.seen_at)


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
