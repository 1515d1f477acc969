"""One client's four visits: cold, warm, and twice into an empty cache that the mirror alone fills.

The third visit is made while upstream is away, the fourth to a mirror that runs with ``--offline``
beside an upstream that is there; of that one no packet may leave. Both meet a mirror that was restarted
in between and whose branches are no longer fresh, for that is how an outage is met in practice: what
counts is what is on disk.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.clients.client import Report
from tests.clients.mirror_process import running_mirror
from tests.mirror.leaving import NotTraceableError, sent, traced
from tests.origin import Origin
from tests.origin.log import Seen

PHASES = ("cold", "warm", "offline", "sealed")

#: Those in which upstream is not asked.
AWAY = ("offline", "sealed")

#: Runs a client: the phase, an own home folder and the base URL in; what it reports out.
Visit = Callable[[str, Path, str], Report]


@dataclasses.dataclass(frozen=True, slots=True)
class Journey:
    """What a client reported on each visit, and what upstream saw of it.

    Attributes:
        reports: By phase.
        seen: Requests that reached the origin, by phase; empty while it was away.
        direct: Whether the client asked the origin itself, to try the scenario without a mirror.
    """

    reports: Mapping[str, Report]
    seen: Mapping[str, tuple[Seen, ...]]
    direct: bool

    def met_upstream(self) -> list[Seen]:
        """List what reached upstream on the visits that it was there for."""
        return [*self.seen["cold"], *self.seen["warm"]]

    def outcome(self, phase: str, case: str) -> Any:
        """Give what a case came to; see `tests.clients.client.Outcome`."""
        return self.reports[phase][case]


def travel(
    origin: Origin,
    folder: Path,
    visit: Visit,
    *,
    direct: bool = False,
    settings: Mapping[str, str] | None = None,
) -> Journey:
    """Make the four visits, each cold start with a mirror of its own.

    Args:
        origin: The upstream; it is up again when this returns.
        folder: Holds the mirror's data and the client's homes.
        visit: Runs the client once.
        direct: Leave the mirror and all visits but the first two out.
        settings: More of the mirror's environment.

    Raises:
        AssertionError: The mirror never asked upstream, or did so with ``--offline``.
    """
    reports: dict[str, Report] = {}
    seen: dict[str, tuple[Seen, ...]] = {}

    def go(phase: str, home: str, endpoint: str) -> None:
        origin.clear_log()
        reports[phase] = visit(phase, folder / home, endpoint)
        seen[phase] = tuple(origin.log)

    if direct:
        for phase in ("cold", "warm"):
            go(phase, "home", origin.url)
        return Journey(reports, seen, direct)
    with running_mirror(origin, folder / "mirror", settings=settings) as mirror:
        for phase in ("cold", "warm"):
            go(phase, "home", mirror.url)
    assert seen["cold"], "the cold visit never made the mirror ask upstream"
    origin.stop()
    try:
        with running_mirror(
            origin,
            folder / "mirror",
            ref_lifetime="1s",
            settings=settings,
        ) as mirror:
            go("offline", "empty home", mirror.url)
    finally:
        origin.start()
    _visit_sealed(origin, folder, lambda url: go("sealed", "another empty home", url), settings)
    assert seen["sealed"] == (), "upstream was asked with --offline"
    return Journey(reports, seen, direct)


def _visit_sealed(
    origin: Origin,
    folder: Path,
    visit: Callable[[str], None],
    settings: Mapping[str, str] | None,
) -> None:
    """Visit a mirror that runs with ``--offline``, and see by a trace that nothing left it.

    Where processes cannot be traced, the log of the origin alone has to tell.
    """
    report = folder / "trace"
    try:
        before = traced(report)
    except NotTraceableError:
        before = ()
    with running_mirror(
        origin,
        folder / "mirror",
        ref_lifetime="1s",
        settings={**(settings or {}), "MODELMIRROR_OFFLINE": "true"},
        before=before,
    ) as mirror:
        visit(mirror.url)
    if before:
        assert sent(report, mirror.process.pid) == []


def past_the_mirror(seen: Iterable[Seen]) -> list[str]:
    """List the requests that a client sent upstream itself instead of the mirror.

    They are told apart by `Via`, which the mirror adds to all that it asks; the `User-Agent` of git
    is passed on, for upstream answers git otherwise than browsers.
    """
    return [
        f"{one.method} {one.server} {one.path} from {one.headers.get('user-agent')!r}"
        for one in seen
        if "modelmirror" not in one.headers.get("via", "")
    ]
