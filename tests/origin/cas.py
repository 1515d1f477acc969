"""The Xet content store: reconstructions and xorbs, made up from the plain files.

A file is cut at 128 KiB into uncompressed chunks, 256 to a xorb, so that chunk ``i`` of a xorb
starts at ``i * (131072 + 8)`` and no xorb has to be stored. Downloaders check lengths, never
hashes, so any unique 64-hex name serves a xorb (xet-core ``xorb_chunk_format.rs`` and
``cas_types/mod.rs``).
"""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote

from tests.origin.access import Call, admit, commit_of
from tests.origin.content import Content
from tests.origin.ranges import parse_range
from tests.origin.repos import Repo
from tests.origin.wire import Reply, Request, Segment, json_reply, text_reply
from tests.origin.world import World

chunk_size = 128 << 10
chunks_per_xorb = 256
_header_size = 8
_xorb_size = chunk_size * chunks_per_xorb


@dataclass(frozen=True, slots=True)
class Term:
    """Chunks ``first`` to ``last`` (exclusive) of the xorb number ``number`` of a content."""

    number: int
    first: int
    last: int


def read_token(call: Call, revision: str) -> Reply:
    """Answer ``/xet-read-token/{revision}`` in JSON and in headers: clients differ."""
    admit(call)
    commit_of(call.repo, revision)
    expires = int(time.time() + call.world.xet_token_lifetime)
    token = call.world.signer.token(_subject(call.repo), expires)
    cas = call.world.cas_url
    headers = {
        "X-Xet-Access-Token": token,
        "X-Xet-Token-Expiration": str(expires),
        "X-Xet-Cas-Url": cas,
    }
    return json_reply({"casUrl": cas, "exp": expires, "accessToken": token}, headers)


def _subject(repo: Repo) -> str:
    return f"{repo.kind} {repo.ident}"


def xorb_name(content: Content, number: int) -> str:
    """Return the name of the xorb that holds chunks from ``number * 256`` on."""
    return hashlib.sha256(f"{content.sha256} {number}".encode()).hexdigest()


def serialized(content: Content, term: Term) -> Iterator[Segment]:
    """Return the chunks of a term, each behind its header: version 0, 24-bit lengths, scheme 0."""
    base = term.number * _xorb_size
    for index in range(term.first, term.last):
        start = base + index * chunk_size
        stop = min(start + chunk_size, content.size)
        length = (stop - start).to_bytes(3, "little")
        yield b"\0" + length + b"\0" + length
        yield from content.segments(start, stop)


def terms(content: Content, start: int, stop: int) -> list[Term]:
    """Return the terms that cover the half-open byte range ``start`` to ``stop``."""
    found = []
    for number in range(start // _xorb_size, (stop - 1) // _xorb_size + 1):
        base = number * _xorb_size
        first = max(0, (start - base) // chunk_size)
        end = min(stop, base + _xorb_size, content.size) - base
        found.append(Term(number, first, -(-end // chunk_size)))
    return found


class Cas:
    """The host that bearer tokens of ``/xet-read-token`` open."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def handle(self, request: Request) -> Reply:
        """Answer one request."""
        parts = unquote(request.path).strip("/").split("/")
        match parts:
            case ["v1" | "v2" as version, "reconstructions", name]:
                return self._reconstruction(request, version, name)
            case ["xorbs", "default", name]:
                return self._xorb(request, name)
            case ["v1", "telemetry"] if request.method == "POST":
                return json_reply({})
        return text_reply("Not Found", status=404)

    def _holder(self, request: Request, name: str) -> Content | Reply:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return text_reply("Unauthorized", status=401)
        valid = False
        for repo in self._world.shelf.everything():
            if self._world.signer.token_valid(token.strip(), _subject(repo)):
                valid = True
                if name in repo.xet_contents:
                    return repo.xet_contents[name]
        return (
            text_reply("Not Found", status=404) if valid else text_reply("Unauthorized", status=401)
        )

    def _reconstruction(self, request: Request, version: str, name: str) -> Reply:
        content = self._holder(request, name)
        if isinstance(content, Reply):
            return content
        start, stop = 0, content.size
        header = request.headers.get("range")
        if header is not None:
            ranges = parse_range(header, content.size)
            if ranges is None or len(ranges) != 1:
                return text_reply("Range Not Satisfiable", status=416)
            start, stop = ranges[0]
        if start >= stop:
            return json_reply({"offset_into_first_range": 0, "terms": [], _fetch_key(version): {}})
        found = terms(content, start, stop)
        offset = start - found[0].number * _xorb_size - found[0].first * chunk_size
        fetch: dict[str, object] = {}
        rows = []
        for term in found:
            base = term.number * _xorb_size
            end = min(base + term.last * chunk_size, content.size)
            xorb = xorb_name(content, term.number)
            chunks = {"start": term.first, "end": term.last}
            rows.append(
                {
                    "hash": xorb,
                    "unpacked_length": end - base - term.first * chunk_size,
                    "range": chunks,
                }
            )
            fetch[xorb] = [self._fetch(version, content, term, xorb)]
        return json_reply(
            {"offset_into_first_range": offset, "terms": rows, _fetch_key(version): fetch}
        )

    def _fetch(self, version: str, content: Content, term: Term, xorb: str) -> dict[str, object]:
        first = term.first * (chunk_size + _header_size)
        length = sum(len(part) if isinstance(part, bytes) else part.length
                     for part in serialized(content, term))  # fmt: skip
        span = {"start": first, "end": first + length - 1}
        query = {
            "X-Xet-Signed-Range": f"bytes={span['start']}-{span['end']}",
            "X-Xet-Content": f"{content.sha256}.{term.number}",
        }
        lifetime = self._world.signed_url_lifetime
        url = self._world.cas_url + self._world.signer.url(
            f"/xorbs/default/{xorb}", query, lifetime
        )
        chunks = {"start": term.first, "end": term.last}
        if version == "v1":
            return {"range": chunks, "url": url, "url_range": span}
        return {"url": url, "ranges": [{"chunks": chunks, "bytes": span}]}

    def _xorb(self, request: Request, name: str) -> Reply:
        wanted = request.headers.get("range", "")
        signed = self._world.signer.valid(request.path, request.query)
        if not signed or wanted != request.parameter("X-Xet-Signed-Range"):
            return text_reply("AccessDenied", status=403)
        sha256, _, number = request.parameter("X-Xet-Content").partition(".")
        content = self._world.shelf.content(sha256)
        if content is None or xorb_name(content, int(number)) != name:
            return text_reply("Not Found", status=404)
        base = int(number) * _xorb_size
        chunk_count = -(-min(content.size - base, _xorb_size) // chunk_size)
        total = min(content.size - base, _xorb_size) + chunk_count * _header_size
        first, last = (int(part) for part in wanted.removeprefix("bytes=").split("-"))
        step = chunk_size + _header_size
        term = Term(int(number), first // step, last // step + 1)
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Range": f"bytes {first}-{last}/{total}",
            "Accept-Ranges": "bytes",
            "ETag": f'"{name}"',
        }
        return Reply(206, headers, tuple(serialized(content, term)))


def _fetch_key(version: str) -> str:
    return "fetch_info" if version == "v1" else "xorbs"
