"""Counters and histograms of what happened, in the text format of Prometheus.

An observer like any other: the core hands it events and knows nothing of the library. Labels are few and
closed (hub, outcome, status class), never a repo's name: a name would make a series per repo, and private
names public. Children are looked up once and kept, which halves the cost of an event; what happens with
every request is counted in plain numbers, which costs a quarter of that again.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, Final, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from mirror.errors import MirrorError
from mirror.events import (
    ALARMS,
    Alarm,
    Asked,
    Event,
    Evicted,
    Fetched,
    FillEnded,
    FillStarted,
    Scrubbed,
    Served,
    ServedAlike,
)

_Child = TypeVar("_Child")

# From a header answered out of memory to the largest file over a slow line, in seconds.
_SERVED_BUCKETS: Final = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10, 60, 600, 3600)
_ASKED_BUCKETS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30)
_FILL_BUCKETS: Final = (0.1, 0.5, 2.5, 10, 60, 300, 1800, 7200)

# Hosts that have series of their own: the Hub and its CDN are a dozen. An upstream that redirects through
# ever new names of an allowed domain makes one more, called "other".
MAX_HOSTS: Final = 64


class Telemetry:
    """Observes events; `render` shows what they came to. Each instance has a registry of its own."""

    def __init__(self) -> None:
        # A `_created` series beside each counter doubles the page and tells nothing here.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        registry = self._registry = CollectorRegistry(auto_describe=False)
        self._requests = Counter(
            "modelmirror_requests",
            "Requests answered.",
            ("hub", "found", "status"),
            registry=registry,
        )
        self._request_seconds = _Durations(
            "modelmirror_request_duration_seconds",
            "From the request's head to the response's last byte.",
            "found",
            _SERVED_BUCKETS,
        )
        registry.register(self._request_seconds)
        self._sent = Counter(
            "modelmirror_sent_bytes",
            "Bytes of bodies sent to clients.",
            ("hub", "found"),
            registry=registry,
        )
        self._fills_started = Counter(
            "modelmirror_fills_started",
            "Cold blobs that began to come in.",
            ("hub",),
            registry=registry,
        )
        self._fills = Counter(
            "modelmirror_fills", "Fills that are over.", ("hub", "outcome"), registry=registry
        )
        self._fill_seconds = Histogram(
            "modelmirror_fill_duration_seconds",
            "How long fills took.",
            ("hub",),
            buckets=_FILL_BUCKETS,
            registry=registry,
        )
        self._received = Counter(
            "modelmirror_received_bytes",
            "Bytes of content fetched from upstream.",
            ("hub",),
            registry=registry,
        )
        self._asked = Counter(
            "modelmirror_upstream_requests",
            "Metadata requests to upstream; status 0 where no answer came.",
            ("hub", "host", "status"),
            registry=registry,
        )
        self._asked_seconds = Histogram(
            "modelmirror_upstream_request_duration_seconds",
            "How long upstream took to answer.",
            ("hub",),
            buckets=_ASKED_BUCKETS,
            registry=registry,
        )
        self._evicted = Counter(
            "modelmirror_evicted_blobs", "Blobs removed to make room.", registry=registry
        )
        self._evicted_bytes = Counter(
            "modelmirror_evicted_bytes", "Bytes removed to make room.", registry=registry
        )
        self._scrubbed = Counter(
            "modelmirror_scrubbed_bytes", "Stored bytes read again.", registry=registry
        )
        self._damaged = Counter(
            "modelmirror_scrub_damaged_blobs",
            "Blobs that the scrub found damaged.",
            registry=registry,
        )
        self._alarms = Counter(
            "modelmirror_alarms", "What an operator must see.", ("kind",), registry=registry
        )
        for kind in ALARMS:
            self._alarms.labels(kind)
        self._served: dict[tuple[str, str, int], tuple[Counter, Counter]] = {}
        self._hosts: set[str] = set()
        self._children: dict[tuple[object, ...], object] = {}

    def __call__(self, event: Event) -> None:
        """Count one event."""
        match event:
            case Served(hub, found, status, sent, seconds):
                self._count(hub, found, status, 1, sent)
                self._request_seconds.observe(found, seconds)
            case ServedAlike(hub, found, status, number, sent):
                self._count(hub, found, status, number, sent)
                self._request_seconds.observe(found, 0.0, number)
            case Asked(hub, host, status, seconds):
                self._child(self._asked.labels, hub, self._host(host), str(status)).inc()
                self._child(self._asked_seconds.labels, hub).observe(seconds)
            case FillStarted(hub, _):
                self._child(self._fills_started.labels, hub).inc()
            case FillEnded(hub, outcome, _, seconds, received):
                self._child(self._fills.labels, hub, outcome).inc()
                self._child(self._fill_seconds.labels, hub).observe(seconds)
                self._child(self._received.labels, hub).inc(received)
            case Fetched(hub, size):
                self._child(self._received.labels, hub).inc(size)
            case Evicted(blobs, size):
                self._evicted.inc(blobs)
                self._evicted_bytes.inc(size)
            case Scrubbed(size, damaged):
                self._scrubbed.inc(size)
                self._damaged.inc(damaged)
            case Alarm(kind, _):
                self._child(self._alarms.labels, kind).inc()

    def _count(self, hub: str, found: str, status: int, number: int, sent: int) -> None:
        """Count *number* requests, for which *sent* bytes of bodies went out in all."""
        key = (hub, found, status)
        children = self._served.get(key)
        if children is None:
            hub, result = hub or "none", f"{status // 100}xx" if status else "cut"
            children = self._served[key] = (
                self._requests.labels(hub, found, result),
                self._sent.labels(hub, found),
            )
        requests, counter = children
        requests.inc(number)
        if sent:
            counter.inc(sent)

    def gauge(self, name: str, what: str, measure: Callable[[], float]) -> None:
        """Show the number that *measure* gives whenever the metrics are read; *what* says what it counts."""
        Gauge(f"modelmirror_{name}", what, registry=self._registry).set_function(measure)

    def watch(self, report: Callable[[], Mapping[str, Any]], tasks: Callable[[], int]) -> None:
        """Show what *report*, the keeper's, says now, and what the process takes, whenever they are read.

        *tasks* tells how many of the event loop's have not ended.
        """
        self.gauge(
            "tasks", "Asyncio tasks that have not ended; one that never is is a leak.", tasks
        )
        self._registry.register(_State(report))
        ProcessCollector(registry=self._registry)

    def render(self) -> bytes:
        """The exposition, version 0.0.4."""
        return generate_latest(self._registry)

    def _host(self, host: str) -> str:
        if len(self._hosts) < MAX_HOSTS:
            self._hosts.add(host)
        return host if host in self._hosts else "other"

    def _child(self, labels: Callable[..., _Child], *values: str) -> _Child:
        key = (labels, *values)
        found = self._children.get(key)
        if found is None:
            found = self._children[key] = labels(*values)
        return found  # type: ignore[return-value]


class _Durations(Collector):
    """A histogram of seconds by one label, which takes any number of equal observations at once.

    The library's takes one at a time, in four locked steps. Told and read on the event loop alone.
    """

    def __init__(self, name: str, what: str, label: str, bounds: Sequence[float]) -> None:
        self._name, self._what, self._label, self._bounds = name, what, label, bounds
        self._numbers: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}

    def observe(self, value: str, seconds: float, times: int = 1) -> None:
        """Note *times* observations of *seconds* under the label's *value*."""
        numbers = self._numbers.get(value)
        if numbers is None:
            numbers = self._numbers[value] = [0] * (len(self._bounds) + 1)
            self._sums[value] = 0.0
        numbers[bisect_left(self._bounds, seconds)] += times
        self._sums[value] += seconds * times

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Show it as the library shows its own."""
        family = HistogramMetricFamily(self._name, self._what, labels=[self._label])
        names = [*map(floatToGoString, self._bounds), "+Inf"]
        for value, numbers in self._numbers.items():
            buckets = list(zip(names, map(float, accumulate(numbers)), strict=True))
            family.add_metric([value], buckets, self._sums[value])
        yield family


class _State(Collector):
    """The gauges: what the keeper reports, asked for anew at each reading."""

    def __init__(self, report: Callable[[], Mapping[str, Any]]) -> None:
        self._report = report

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Name nothing beforehand: a report may not be had yet."""
        return iter(())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Read the report; when there is none, say that alone."""
        try:
            report = self._report()
        except (MirrorError, OSError):
            yield _gauge("healthy", _HEALTHY, 0)
            return
        store = report["store"]
        yield _gauge("healthy", _HEALTHY, report["status"] == "healthy")
        yield _gauge("offline", "Whether the mirror is offline by setting.", report["offline_mode"])
        yield _gauge(
            "build_info", "Always 1; the version is the label.", 1, version=report["version"]
        )
        yield _gauge("stored_bytes", "Bytes of the blobs that are stored.", store["bytes"])
        yield _gauge("stored_blobs", "Blobs that are stored.", store["blobs"])
        for name, what in (("quota", _QUOTA), ("free", _FREE)):
            if store[name] is not None:
                yield _gauge(f"{name}_bytes", what, store[name])
        yield _gauge("fills_running", "Cold blobs that come in now.", report["filling"])
        yield _table(
            "repos_cached",
            "Public repos of which something is stored.",
            ("hub", "kind"),
            {
                (hub, kind): repos
                for hub, kinds in report["cached"].items()
                for kind, repos in kinds.items()
            },
        )
        hubs = dict.fromkeys(report["upstreams"], 1) | dict.fromkeys(report["down"], 0)
        up: dict[tuple[str, ...], float] = {(hub,): state for hub, state in hubs.items()}
        yield _table(
            "upstream_up", "Whether upstream answered when it was last asked.", ("hub",), up
        )


_HEALTHY: Final = "Whether nothing is wrong; /health says what is."
_QUOTA: Final = "The most bytes that may be stored; absent without a quota."
_FREE: Final = "Bytes that could be stored now without making room."


def _gauge(name: str, what: str, value: float, **labels: str) -> GaugeMetricFamily:
    return _table(name, what, tuple(labels), {tuple(labels.values()): value})


def _table(
    name: str, what: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], float]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"modelmirror_{name}", what, labels=labels)
    for key, value in values.items():
        family.add_metric(key, float(value))
    return family
