"""What happened, for whoever wants to count it.

The core never imports a metrics library: it hands one of these values to an `Observer`, and telemetry,
the log and the tests each make of it what they need. No event holds a credential or a signed URL.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias


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
class Evicted:
    """Room was made: *blobs* went, and *size* bytes in all."""

    blobs: int
    size: int


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """Stored pieces were read again and compared: *size* bytes, *damaged* blobs among them."""

    size: int
    damaged: int


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something an operator must see: *kind* is a short constant, *detail* a sentence without secrets."""

    kind: str
    detail: str


Event: TypeAlias = Asked | FillStarted | FillEnded | Fetched | Served | Evicted | Scrubbed | Alarm
Observer: TypeAlias = Callable[[Event], None]
