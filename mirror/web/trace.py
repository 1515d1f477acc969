"""What became of one response, noted while it is on its way.

One mutable thing goes with each request through the door, so that the log, the counters and the code that
must not send a second head agree on what happened, whichever way the request ended.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class Trace:
    """The story of one response.

    *status* is 0 until the head goes out; *size* counts the bytes of the body that were handed to the
    kernel; *found* is how the answer was found (RFC 9211's words, or ``refused``, ``own``); *hub* on
    whose account it was; *keep* tells whether the connection may go on; *cut* is why the response was
    cut, empty when it was not.
    """

    method: str
    keep: bool
    path: str = "-"
    query: bool = False
    client: str = "-"
    hub: str = ""
    found: str = "refused"
    status: int = 0
    size: int = 0
    cut: str = ""

    @property
    def cache_status(self) -> str:
        """The ``Cache-Status`` of the response (RFC 9211)."""
        return _CACHE_STATUS.get(self.found) or f"modelmirror; detail={self.found}"


_CACHE_STATUS = {
    "hit": "modelmirror; hit",
    "stale": "modelmirror; fwd=stale",
    "miss": "modelmirror; fwd=miss",
    "collapsed": "modelmirror; fwd=miss; collapsed",
    "bypass": "modelmirror; fwd=bypass",
}
