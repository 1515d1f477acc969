"""Our own pages: liveness, readiness, status, metrics, the hook, the home page, a page of each public repo.

Read only: what the keeper reports and the shelf shows names public repos alone. Everything of ours stands
under ``/-/``, where no repo can be, with two aliases that monitoring systems expect.
"""

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from inspect import isawaitable
from typing import Final, TypeAlias, TypeVar
from urllib.parse import parse_qs, unquote

from mirror.cache.keeper import Keeper
from mirror.cache.shelf import Shelf
from mirror.clock import Clock
from mirror.credential import Credential
from mirror.digest import sha256_of
from mirror.errors import MethodRefusedError, MirrorError
from mirror.messages import Answer, RequestHead
from mirror.names import Repo
from mirror.web import home, probe, repopage
from mirror.web.health import Health
from mirror.web.hook import HookPages
from mirror.web.refusals import refusal

# The pages load their own style and script and nothing else, and ask nobody but the mirror; they can be
# framed nowhere.
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# Of what is not a page nothing may be loaded, framed or run.
_DATA_POLICY: Final = "default-src 'none'; frame-ancestors 'none'; sandbox"
# The exposition format of Prometheus, version 0.0.4.
_METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_HTML: Final = "text/html; charset=utf-8"

_REPO: Final = "/-/repo/"
_STATIC_TYPES: Final = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
# As much of a search or a path as the index is asked for.
_LONGEST: Final = 1024

# Pages and probes read the index in threads of their own: however many are asked for, they take no more of
# the machine than that, and keep nobody from what serves files.
READERS: Final = 2

_T = TypeVar("_T")
_Page: TypeAlias = Callable[[RequestHead], Answer | Awaitable[Answer]]


class Operations:
    """Answers the door's own paths.

    *shelf* shows what is stored, `None` to show no repos; *metrics* renders the metrics, `None` when they
    are closed; with *metrics_token* they are for whoever sends that; *static* are the pages' files by name;
    *hook* are the pages of the client start-up hook.
    """

    def __init__(
        self,
        keeper: Keeper,
        *,
        shelf: Shelf | None,
        clock: Clock,
        metrics: Callable[[], bytes] | None,
        metrics_token: str = "",
        static: Mapping[str, bytes],
        hook: HookPages,
    ) -> None:
        self._keeper = keeper
        self._shelf = shelf
        self._clock = clock
        self._metrics = metrics
        self._metrics_token = metrics_token
        self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="pages")
        self._health = Health(keeper, shelf, self._pool)
        self._hook = hook
        self._static = {f"/-/static/{name}": (name, data) for name, data in static.items()}
        self._pages: Mapping[str, _Page] = {
            "/": self._home,
            "/-/live": self._live,
            "/-/ready": self._ready,
            "/-/status": self._status,
            "/health": self._status,
            "/-/metrics": self._exposition,
            "/metrics": self._exposition,
            **dict.fromkeys(self._static, self._file),
        }
        self.stopping = False

    async def answer(self, head: RequestHead) -> Answer | None:
        """Answer a request for one of our own pages, `None` for anything else.

        Raises `MethodRefusedError` for anything but GET and HEAD.
        """
        page, methods = self._pages.get(head.path), {"GET", "HEAD"}
        if page is None:
            if probe.nonce_of(head.path, head.query):
                page, methods = (
                    self._probe,
                    {"GET", "HEAD", "POST"},
                )  # as some clients ask for a file
            elif head.path.startswith(_REPO):
                page = self._repo
            elif self._hook.owns(head.path):
                page = self._hook.answer
            else:
                return None
        if head.method not in methods:
            raise MethodRefusedError(f"{head.path} can only be read.")
        answer = page(head)
        return await answer if isawaitable(answer) else answer

    def close(self) -> None:
        """Answer no more pages."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _read(self, look: Callable[[], _T]) -> _T:
        """Read the index for a page, off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, look)

    async def _home(self, head: RequestHead) -> Answer:
        asked = _asked(head)
        search = asked.get("q", "").strip()
        after = Repo(asked["hub"], asked["after"]) if {"hub", "after"} <= asked.keys() else None
        stored = home.Stored(search=search, after=after)
        if self._shelf is not None:
            # What is wrong with the index, the page itself says.
            with suppress(MirrorError):
                stored = await self._read(partial(_stored, self._shelf, search, after))
        page = home.render(self._keeper.report(), stored, head.base_url, self._clock.wall())
        return _page(page)

    async def _repo(self, head: RequestHead) -> Answer:
        hub, _, name = head.path.removeprefix(_REPO).partition("/")
        leaf = None
        if self._shelf is not None and len(name) <= _LONGEST:
            asked = _asked(head)
            leaf = await self._read(
                partial(
                    self._shelf.repo,
                    Repo(unquote(hub), "/".join(unquote(word) for word in name.split("/"))),
                    asked.get("revision", ""),
                    asked.get("folder", "").strip("/"),
                    asked.get("after", ""),
                )
            )
        if leaf is None:
            return refusal(404, "No public repo or revision of that name is stored here.")
        return _page(repopage.render(leaf, head.base_url))

    def _live(self, _head: RequestHead) -> Answer:
        return _own(b"live\n", "text/plain; charset=utf-8")

    def _ready(self, _head: RequestHead) -> Answer:
        if self.stopping:
            return refusal(503, "The mirror is stopping.", [("Retry-After", "5")])
        return _own(b"ready\n", "text/plain; charset=utf-8")

    async def _status(self, head: RequestHead) -> Answer:
        status, said = await self._health.look(parse_qs(head.query, errors="replace"))
        report = json.dumps(said, ensure_ascii=False, separators=(",", ":"))
        return _own(report.encode("utf-8", "replace"), "application/json", status=status)

    def _exposition(self, head: RequestHead) -> Answer:
        if self._metrics is None:
            return refusal(404, "Metrics are closed. The setting metrics opens them.")
        if self._metrics_token and not _bears(head.credential, self._metrics_token):
            return refusal(
                401,
                "Metrics are for whoever sends the token of the setting metrics_token_file,"
                " as Authorization: Bearer.",
                [("WWW-Authenticate", 'Bearer realm="metrics"')],
            )
        return _own(self._metrics(), _METRICS_TYPE)

    def _probe(self, head: RequestHead) -> Answer:
        nonce = probe.nonce_of(head.path, head.query)
        assert nonce is not None  # noqa: S101 -- it was, when this page was chosen
        body = probe.body(nonce)
        page = _own(body, "application/json", ("X-Repo-Commit", probe.commit(nonce)))
        return replace(page, etag=sha256_of(body).hex, ranges=True)

    def _file(self, head: RequestHead) -> Answer:
        name, data = self._static[head.path]
        suffix = name[name.rindex(".") :]
        return _own(data, _STATIC_TYPES[suffix])


def _stored(shelf: Shelf, search: str, after: Repo | None) -> home.Stored:
    repos, more = shelf.repos(search, after)
    return home.Stored(repos, more, search, after, shelf.elsewhere())


def _bears(credential: Credential | None, token: str) -> bool:
    """Whether *token* was sent, told in a time that tells nothing of it (RFC 6750 §2.1)."""
    scheme, _, said = ("" if credential is None else credential.header).partition(" ")
    same = hmac.compare_digest(said.strip().encode("utf-8", "surrogateescape"), token.encode())
    return same and scheme.lower() == "bearer"


def _asked(head: RequestHead) -> Mapping[str, str]:
    """The fields of a query, the first of each name, none longer than anything that it could find."""
    fields = parse_qs(head.query, errors="replace")
    return {name: values[0][:_LONGEST] for name, values in fields.items()}


def _page(body: bytes) -> Answer:
    return _own(body, _HTML, ("Referrer-Policy", "no-referrer"), policy=CONTENT_SECURITY_POLICY)


def _own(
    body: bytes,
    kind: str,
    *headers: tuple[str, str],
    policy: str = _DATA_POLICY,
    status: int = 200,
) -> Answer:
    fixed = (
        ("Content-Type", kind),
        ("Cache-Control", "no-store"),
        ("Content-Security-Policy", policy),
    )
    return Answer(status, (*fixed, *headers), (body,), found="own")
