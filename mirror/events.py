"""What happened, for whoever wants to count it.

The core never imports a metrics library: it hands one of these values to an `Observer`, and telemetry,
the log and the tests each make of it what they need. No event holds a credential or a signed URL.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias


@dataclass(frozen=True, slots=True)
class Asked:
    """Upstream was asked for metadata: *host*, *status* (0 when no answer came), *seconds*."""

    hub: str
    host: str
    status: int
    seconds: float


@dataclass(frozen=True, slots=True)
class FillStarted:
    """A cold blob of *size* bytes began to come in."""

    hub: str
    size: int


@dataclass(frozen=True, slots=True)
class FillEnded:
    """A fill is over with *received* bytes there, for which *fetched* came this time: *outcome* says how.

    ``stored``, ``kept`` (only parts were wanted), ``mismatch``, ``broken`` or ``full``.
    """

    hub: str
    outcome: str
    received: int
    seconds: float
    fetched: int


@dataclass(frozen=True, slots=True)
class Fetched:
    """*size* bytes of content came from upstream, and not by a fill: a body without a length."""

    hub: str
    size: int


@dataclass(frozen=True, slots=True)
class Served:
    """One request was answered: *found* is a Cache-Status word (RFC 9211) or ``bypass``."""

    hub: str
    found: str
    status: int
    sent: int
    seconds: float


@dataclass(frozen=True, slots=True)
class ServedAlike:
    """So many *requests* were answered out of memory, each within a moment; *sent* is of all together."""

    hub: str
    found: str
    status: int
    requests: int
    sent: int


@dataclass(frozen=True, slots=True)
class Evicted:
    """Room was made: *blobs* went, and *size* bytes in all."""

    blobs: int
    size: int


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """Stored pieces were read again and compared: *size* bytes, *damaged* blobs among them."""

    size: int
    damaged: int


# Every kind of alarm, with what it tells: counters of all of them are there from the start, for one that
# begins at its first alarm never seems to grow.
ALARMS: Final[Mapping[str, str]] = {
    "bundle": "What a crash had cut short of an import could not be finished.",
    "corrupt": "A stored piece was not what it had been, and was set aside.",
    "corrupt-blob": "A stored blob could not be read as it should be.",
    "damaged": "A record, the journal or the index had something that cannot be read.",
    "digest-mismatch": "Upstream sent other bytes than it publishes, or than it sent before.",
    "evict-failed": "A blob that had to go could not be removed.",
    "index-held": "The disk takes nothing of the index, or takes it again.",
    "publish-failed": "A verified download could not be put into the store.",
    "serving-through": "Files cannot be stored and go through without being kept.",
    "size-mismatch": "A file that is known has another length upstream.",
    "takeover": "A name at upstream is another repo than it was.",
    "upkeep-failed": "A job of the house could not do its work.",
    "upstream-down": "A hub's upstreams do not answer.",
    "upstream-up": "A hub's upstreams answer again.",
}


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something an operator must see: *kind* is one of `ALARMS`, *detail* a sentence without secrets."""

    kind: str
    detail: str


Event: TypeAlias = (
    Asked | FillStarted | FillEnded | Fetched | Served | ServedAlike | Evicted | Scrubbed | Alarm
)
Observer: TypeAlias = Callable[[Event], None]
