"""Filling the store for later: files are asked for as a client would ask, and nobody is sent their bytes.

Each path is a question to the keeper with the caller's own credential, so nothing more is given, fetched or
told than a GET would. What is told is one JSON object a line; ``docs/warm.md`` lists them.
"""

import asyncio
import base64
import json
import logging
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from mirror.cache.flights import Flights
from mirror.cache.keeper import Keeper
from mirror.credential import Credential
from mirror.digest import SOURCE, Digest
from mirror.errors import FOR_CALLERS, StoreError, StoreFullError, UpstreamUnavailableError
from mirror.messages import Answer, BlobRef, Relay, RequestHead, Span

# The version of the lines.
SCHEMA: Final = 1
# How many files come at once by default, and at most: the fills of a mirror are 64 at most.
AT_ONCE: Final = 8
MOST_AT_ONCE: Final = 32
# Seconds between two words of how far files are; an empty line after so many of them without any.
SAY_EVERY: Final = 1.0
_QUIET: Final = 10

_PREFIX: Final = "sha-256=:"
_FULL: Final = "The mirror has no room for this file."
_FAULT: Final = "The mirror failed on this file; its log says why."

_LOG: Final = logging.getLogger("modelmirror")


class Warm:
    """One call: *heads* are the questions, each a GET without conditions.

    With *look* nothing is fetched, and it is told what is here: each is asked for by HEAD.
    """

    def __init__(
        self,
        keeper: Keeper,
        heads: Sequence[RequestHead],
        *,
        look: bool = False,
        at_once: int = AT_ONCE,
    ) -> None:
        self._keeper = keeper
        self._heads = heads
        self._look = look
        self._at_once = max(1, min(at_once, MOST_AT_ONCE, len(heads)))
        self._lines: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._running: dict[str, tuple[int, int]] = {}
        self._told: dict[str, int] = {}

    async def lines(self) -> AsyncGenerator[bytes, None]:
        """Yield the lines; ends once every path is told, and gives everything up when it is closed."""
        yield _line({"event": "start", "schema": SCHEMA, "files": len(self._heads)})
        work: Flights[int, None] = Flights()
        rest = iter(self._heads)
        try:
            for number in range(self._at_once):
                work.launch(number, lambda: self._work(rest))
            left, quiet = len(self._heads), 0
            while left:
                batch = await self._next()
                left -= sum(event["event"] == "file" for event in batch)
                batch += self._progress()
                quiet = 0 if batch else quiet + 1
                if batch or quiet % _QUIET == 0:
                    yield b"".join(map(_line, batch)) or b"\n"
        finally:
            await work.close()
        yield _line({"event": "end"})

    async def _next(self) -> list[dict[str, Any]]:
        """What has happened, waited for a moment."""
        try:
            async with asyncio.timeout(SAY_EVERY):
                found = [await self._lines.get()]
        except TimeoutError:
            return []
        while not self._lines.empty():
            found.append(self._lines.get_nowait())
        return found

    def _progress(self) -> list[dict[str, Any]]:
        """How far the files are that have got further since this was told."""
        moved = {
            path: (done, size)
            for path, (done, size) in self._running.items()
            if done != self._told.get(path, 0)
        }
        self._told = {path: done for path, (done, _) in self._running.items()}
        return [
            {"event": "progress", "path": path, "bytes": done, "size": size}
            for path, (done, size) in moved.items()
        ]

    # ── one file ───────────────────────────────────────────────────────────────────────────────

    async def _work(self, rest: Iterator[RequestHead]) -> None:
        for head in rest:
            self._lines.put_nowait({"event": "file", "path": _said(head), **await self._one(head)})
            self._running.pop(_said(head), None)
            # What is here is answered without a wait: a thousand of them would hold up everybody else.
            await asyncio.sleep(0)

    async def _one(self, head: RequestHead) -> dict[str, Any]:
        try:
            found = await self._keeper.ask(
                replace(head, method="HEAD") if self._look else head, b""
            )
            if isinstance(found, Relay):
                await _let_go(found)
                return _failed(found.status, "This is passed through as it is, and never kept.")
            if found.status != 200:
                return _failed(found.status, _reason(found))
            if not self._look and found.found not in {"hit", "stale"}:
                await self._fill(head, found)
                return {"state": "fetched", **_facts(found)}
            blobs = any(isinstance(part, Span) for part in found.body)
            here = not blobs or found.found != "miss"
        except FOR_CALLERS as error:
            passing = isinstance(error, UpstreamUnavailableError)
            return _failed(503 if passing else 500, error.message, error.hint)
        except StoreFullError:
            return _failed(507, _FULL, "Raise its quota, or free room on its disk.")
        except Exception as error:  # noqa: BLE001 -- whatever it is, the other files go on
            _LOG.warning("%s could not be fetched for later: %s", _said(head), error)
            return _failed(500, _FAULT)
        return {"state": "stored" if here else "missing", **_facts(found)}

    async def _fill(self, head: RequestHead, answer: Answer) -> None:
        """Wait until every blob of *answer* is here whole."""
        size, before = answer.size, 0
        for part in answer.body:
            if isinstance(part, Span):
                await self._follow(_said(head), part.blob, answer.credential, before, size)
            before += len(part)

    async def _follow(
        self, path: str, blob: BlobRef, credential: Credential | None, before: int, size: int
    ) -> None:
        feed = await self._keeper.follow(blob, credential)
        try:
            at = 0
            while at < blob.size:
                at = feed.ready(at, whole=True)
                self._running[path] = (before + at, size)
                if at < blob.size:
                    await feed.more(at, whole=True)
        finally:
            feed.close()
        if not await self._keeper.landed(blob):
            raise StoreError("A file that has come whole is not in the store.")
        self._keeper.touch(blob.digest)


async def _let_go(relay: Relay) -> None:
    close = getattr(relay.chunks, "aclose", None)
    if close is not None:
        await close()


def _said(head: RequestHead) -> str:
    return f"{head.path}?{head.query}" if head.query else head.path


def _facts(answer: Answer) -> dict[str, Any]:
    """Size and digest, as far as an answer tells them."""
    match answer.body:
        case (Span(blob=blob),) if blob.digest.algorithm != SOURCE:
            digest: str | None = str(blob.digest)
        case _:
            digest = _told(answer)
    commit = next((value for name, value in answer.headers if name == "X-Repo-Commit"), None)
    return {"size": answer.size, "digest": digest, "commit": commit}


def _told(answer: Answer) -> str | None:
    """The digest in ``Repr-Digest`` (RFC 9530), which names the whole of what is sent."""
    for name, value in answer.headers:
        if name == "Repr-Digest" and value.startswith(_PREFIX):
            return str(Digest("sha256", base64.b64decode(value[len(_PREFIX) :].rstrip(":")).hex()))
    return None


def _failed(status: int, error: str, hint: str = "") -> dict[str, Any]:
    return {"state": "failed", "status": status, "error": error, "next": hint or None}


def _reason(answer: Answer) -> str:
    """Why something is refused, in the hub's own words."""
    for name, value in answer.headers:
        if name == "X-Error-Message":
            return value
    try:
        body = json.loads(b"".join(part for part in answer.body if isinstance(part, bytes)))
        return str(body["error"])
    except (ValueError, KeyError, TypeError):
        return f"It is refused with status {answer.status}."


def _line(event: dict[str, Any]) -> bytes:
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
