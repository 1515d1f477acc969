"""What is measured, and what it must come to: the table that every run is held against.

Each row has a *floor* that must hold and a *goal* that is aimed for. The marks G1 to G20 name the rows on
the command line (``--only G1,G6``) and in the page; the rows S1 to S3 say what a large index costs.
"""

from dataclasses import dataclass
from typing import Final, Literal

Better = Literal["less", "more"]
# ratio: the mirror's over the baseline's; added: the mirror's less the baseline's; plain: the mirror's.
How = Literal["ratio", "added", "plain"]


@dataclass(frozen=True, slots=True)
class Goal:
    """One row: *key* for programs, *mark* and *name* for people, what is compared and with which limits.

    *unit* is that of the samples, *baseline* what stands beside the mirror. *floor* and *goal* are limits of
    the figure that *how* makes of a pair of samples, on the side that *better* says.
    """

    key: str
    mark: str
    name: str
    unit: str
    how: How
    better: Better
    floor: float
    goal: float
    baseline: str = ""

    def meets(self, figure: float, limit: float) -> bool:
        """Whether *figure* is on the right side of *limit*, or on it."""
        return figure <= limit if self.better == "less" else figure >= limit

    @property
    def figure_unit(self) -> str:
        """The unit of the figure: that of the samples, or ``x`` for a ratio."""
        return "x" if self.how == "ratio" else self.unit


_NGINX: Final = "nginx, sendfile"
_STATIC: Final = "nginx, static"
_DIRECT: Final = "straight from upstream"

GOALS: Final = (
    Goal("hot-1-cpu", "G1", "hot GET, 1 client: CPU", "s/GiB", "ratio", "less", 1.20, 1.08, _NGINX),
    Goal("hot-4-cpu", "G1", "hot GET, 4 clients: CPU", "s/GiB", "ratio", "less", 1.12, 1.05, _NGINX),
    Goal("hot-16-cpu", "G2", "hot GET, 16 ranges: CPU", "s/GiB", "ratio", "less", 1.25, 1.10, _NGINX),
    Goal("hot-1-rate", "G3", "hot GET, 1 client: rate", "GiB/s", "ratio", "more", 0.95, 1.0, _NGINX),
    Goal("hot-4-rate", "G3", "hot GET, 4 clients: rate", "GiB/s", "ratio", "more", 0.95, 1.0, _NGINX),
    Goal("hot-16-rate", "G3", "hot GET, 16 ranges: rate", "GiB/s", "ratio", "more", 0.95, 1.0, _NGINX),
    Goal("beside-p99", "G4", "HEAD beside 2 downloads: 99th percentile", "ms", "plain", "less", 10, 5, _NGINX),
    Goal("tls-cpu", "G5", "hot GET over TLS: CPU", "s/GiB", "ratio", "less", 1.0, 0.80, "nginx, TLS"),
    Goal("head-rate", "G6", "HEAD of a stored file: rate", "1/s", "ratio", "more", 1.0, 3.0, "bare aiohttp handler"),
    Goal("json-rate", "G8", "2 KB of JSON: rate", "1/s", "ratio", "more", 0.35, 1.0, _STATIC),
    Goal("tree-cpu", "G9", "500 KB of a tree: CPU", "us", "ratio", "less", 1.6, 1.25, _STATIC),
    Goal("cold-1-time", "G10", "cold, 1 client: time", "s", "ratio", "less", 1.03, 1.01, _DIRECT),
    Goal("cold-1-first", "G10", "cold, 1 client: first byte", "ms", "added", "less", 15, 5, _DIRECT),
    Goal("cold-8-time", "G11", "cold, 8 clients: time", "s", "ratio", "less", 1.05, 1.02, _DIRECT),
    Goal("cold-8-bytes", "G11", "cold, 8 clients: upstream bytes", "x size", "plain", "less", 1.0, 1.0),
    Goal("cold-8-first", "G11", "cold, 8 clients: worst first byte", "ms", "added", "less", 50, 10, _DIRECT),
    Goal("fill-cpu", "G12", "fill with sha256: CPU", "s/GiB", "ratio", "less", 1.05, 0.75, "curl, openssl sha256"),
    Goal("fill-tls-cpu", "G12", "fill over TLS: CPU", "s/GiB", "ratio", "less", 1.25, 0.9, "curl, openssl sha256"),
    Goal("ranged-rate", "G13", "16 upstream connections of 30 MB/s: rate", "MB/s", "ratio", "more", 12, 15, "one connection"),
    Goal("slow-200", "G14", "200 slow clients: memory", "MiB", "plain", "less", 20, 5, _NGINX),
    Goal("cold-memory", "G14", "8 clients of a cold 4 GiB file: memory", "MiB", "plain", "less", 20, 10),
    Goal("slow-1000", "G14", "1000 slow clients: memory", "MiB", "plain", "less", 64, 24, _NGINX),
    Goal("verify-rate", "G15", "verify, one core: rate", "GiB/s", "ratio", "more", 0.95, 1.05, "openssl dgst -sha256"),
    Goal("verify-cores", "G15", "verify, two cores: rate", "GiB/s", "ratio", "more", 1.7, 1.85, "verify, one core"),
    Goal("adopt-time", "G16", "adopt of a file: time", "s/GiB", "ratio", "less", 1.35, 1.05, "openssl dgst -sha256"),
    Goal("links-time", "G17", "client cache by hard links: time", "ms/file", "plain", "less", 1.0, 0.1),
    Goal("export-cpu", "G18", "export of a bundle: CPU", "s/GiB", "ratio", "less", 1.0, 0.8, "GNU tar"),
    Goal("version-time", "G19", "modelmirror --version: time", "s", "plain", "less", 0.15, 0.06),
    Goal("ready-time", "G19", "serve until it listens: time", "s", "plain", "less", 0.5, 0.3, "bare aiohttp handler"),
    Goal("idle-memory", "G19", "idle memory (PSS)", "MiB", "plain", "less", 60, 40, "bare aiohttp handler"),
    Goal("snapshot-cpu", "G20", "snapshot_download of 100 files: CPU", "ms", "ratio", "less", 4, 1.5, _STATIC),
    Goal("scale-head", "S1", "HEAD in a repo of 100 000 files: CPU", "us", "ratio", "less", 1.25, 1.1, "repo of 10 files"),
    Goal("scale-page", "S2", "page of 1000 of 100 000 files: CPU", "us", "ratio", "less", 1.25, 1.1, "repo of 1000 files"),
    Goal("scale-ready", "S3", "serve with 1 million entries: time", "s", "ratio", "less", 1.25, 1.1, "empty data folder"),
)  # fmt: skip

BY_KEY: Final = {goal.key: goal for goal in GOALS}
MARKS: Final = tuple(dict.fromkeys(goal.mark for goal in GOALS))


def chosen(words: str) -> frozenset[str]:
    """The marks in a list like ``G1,G6``; raises `ValueError` naming the first that is none."""
    marks = frozenset(word.strip().upper() for word in words.split(",") if word.strip())
    for mark in sorted(marks):
        if mark not in MARKS:
            raise ValueError(f"no row is called {mark}; there are {', '.join(MARKS)}")
    if not marks:
        raise ValueError("no row is named")
    return marks
