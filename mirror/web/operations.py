"""Our own pages: liveness, readiness, status, metrics, the hook, and the home page with what it needs.

Read only and aggregate: what the keeper reports names public repos alone. Everything of ours stands
under ``/-/``, where no repo can be, with two aliases that monitoring systems expect.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from mirror.cache.keeper import Keeper
from mirror.digest import sha256_of
from mirror.errors import MethodRefusedError
from mirror.messages import Answer, RequestHead
from mirror.web import probe
from mirror.web.home import render
from mirror.web.hook import HookPages
from mirror.web.refusals import refusal

# The page loads its own style and script and nothing else; it can be framed and posted nowhere.
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Of what is not a page nothing may be loaded, framed or run.
_DATA_POLICY: Final = "default-src 'none'; frame-ancestors 'none'; sandbox"
# The exposition format of Prometheus, version 0.0.4.
_METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_STATUS: Final = frozenset({"/-/status", "/health"})
_METRICS: Final = frozenset({"/-/metrics", "/metrics"})
_STATIC_TYPES: Final = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}


class Operations:
    """Answers the door's own paths.

    *metrics* renders the metrics, `None` when they are closed; *static* are the home page's files by
    name; *hook* are the pages of the client start-up hook.
    """

    def __init__(
        self,
        keeper: Keeper,
        *,
        metrics: Callable[[], bytes] | None,
        static: Mapping[str, bytes],
        hook: HookPages,
    ) -> None:
        self._keeper = keeper
        self._metrics = metrics
        self._hook = hook
        self._static = {f"/-/static/{name}": (name, data) for name, data in static.items()}
        self.stopping = False

    def answer(self, head: RequestHead) -> Answer | None:
        """Answer a request for one of our own pages, `None` for anything else.

        Raises `MethodRefusedError` for anything but GET and HEAD.
        """
        path = head.path
        page: Callable[[RequestHead], Answer]
        if path == "/":
            page = self._home
        elif path == "/-/live":
            page = self._live
        elif path == "/-/ready":
            page = self._ready
        elif path in _STATUS:
            page = self._status
        elif path in _METRICS:
            page = self._exposition
        elif path in self._static:
            page = self._file
        elif probe.nonce_of(path, head.query):
            page = self._probe
        elif self._hook.owns(path):
            page = self._hook.answer
        else:
            return None
        # Some clients ask for a file by POST.
        if head.method not in ({"GET", "HEAD", "POST"} if page == self._probe else {"GET", "HEAD"}):
            raise MethodRefusedError(f"{path} can only be read.")
        return page(head)

    def _home(self, head: RequestHead) -> Answer:
        return _own(
            render(self._keeper.report(), head.base_url),
            "text/html; charset=utf-8",
            ("Referrer-Policy", "no-referrer"),
            policy=CONTENT_SECURITY_POLICY,
        )

    def _live(self, _head: RequestHead) -> Answer:
        return _own(b"live\n", "text/plain; charset=utf-8")

    def _ready(self, _head: RequestHead) -> Answer:
        if self.stopping:
            return refusal(503, "The mirror is stopping.", [("Retry-After", "5")])
        return _own(b"ready\n", "text/plain; charset=utf-8")

    def _status(self, _head: RequestHead) -> Answer:
        report = json.dumps(self._keeper.report(), ensure_ascii=False, separators=(",", ":"))
        return _own(report.encode(), "application/json")

    def _exposition(self, _head: RequestHead) -> Answer:
        if self._metrics is None:
            return refusal(404, "Metrics are closed. The setting metrics opens them.")
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


def _own(body: bytes, kind: str, *headers: tuple[str, str], policy: str = _DATA_POLICY) -> Answer:
    fixed = (
        ("Content-Type", kind),
        ("Cache-Control", "no-store"),
        ("Content-Security-Policy", policy),
    )
    return Answer(200, (*fixed, *headers), (body,), found="own")
