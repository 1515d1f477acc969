"""Having a mirror fetch what targets need, without bringing any of it here.

What is here already is found first, of which upstream is not asked; then how much is missing, and whether
there is room; then the mirror fetches that (``POST /-/warm``), and says how far it is.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from mirror.bundle.endpoint import PAUSES, BrokenError, Endpoint
from mirror.bundle.needs import Goal, Need, goal_of
from mirror.bundle.outcome import Outcome, Voice, Wanted
from mirror.digest import Digest
from mirror.errors import MirrorError, StoreFullError
from mirror.units import format_size

PATH: Final = "/-/warm"
# How many targets are asked about at once.
_AT_ONCE: Final = 8
# Bytes of paths in one request: a body has at most 1 MiB.
_MOST_PATHS: Final = 512 << 10
_WHO: Final = 401
# What asking again may mend, and how often that is tried.
_PASSING: Final = frozenset({429, 502, 503, 504})
_ROUNDS: Final = 3


class WarmVoice(Voice, Protocol):
    """How it is told; called from one thread."""

    def room(self, missing: int, unknown: int, free: int) -> None:
        """So many bytes are missing, besides *unknown* files of no known size, and so many are *free*."""
        ...

    def came(self, need: Need, done: int, size: int) -> None:
        """*done* bytes of a file of *size* have come."""
        ...

    def stored(self, need: Need, size: int) -> None:
        """A file is in the store."""
        ...

    def refused(self, need: Need, error: MirrorError) -> None:
        """A file will not come."""
        ...


@dataclass(frozen=True, slots=True)
class Seen:
    """What the mirror says of a file: *state* is ``stored``, ``missing``, ``fetched`` or ``failed``.

    A *status* of HTTP goes with an *error*, and what to do *next*; *size* and *digest* are `None` where they
    are not known.
    """

    state: str
    size: int | None = None
    digest: Digest | None = None
    status: int = 0
    error: str = ""
    next: str = ""

    @property
    def here(self) -> bool:
        """Whether it is in the store."""
        return self.state in {"stored", "fetched"}

    @classmethod
    def read(cls, line: Mapping[str, Any]) -> "Seen":
        """Read a line of the mirror."""
        digest = line.get("digest")
        return cls(
            state=str(line["state"]),
            size=line.get("size"),
            digest=Digest.parse(digest) if digest else None,
            status=int(line.get("status") or 0),
            error=str(line.get("error") or ""),
            next=str(line.get("next") or ""),
        )


def goals(
    wanted: Sequence[Wanted], endpoint: Endpoint
) -> tuple[list[Goal], list[tuple[Wanted, MirrorError]]]:
    """What each of *wanted* needs, and why that cannot be told of others."""

    def one(target: Wanted) -> Goal | MirrorError:
        try:
            return goal_of(target, endpoint)
        except MirrorError as error:
            return error

    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="plan") as pool:
        found = list(zip(wanted, pool.map(one, wanted), strict=True))
    good = [goal for _, goal in found if isinstance(goal, Goal)]
    return good, [(target, bad) for target, bad in found if isinstance(bad, MirrorError)]


def look(endpoint: Endpoint, needs: Iterable[Need], **how: bool) -> dict[str, Seen]:
    """What the mirror has of *needs*, by source; *how* is ``stored`` or ``look`` of ``/-/warm``.

    Raises `MirrorError` where the mirror cannot be asked.
    """
    found: dict[str, Seen] = {}
    for batch in _batches(needs):
        found |= _seen(endpoint, batch, how)
        if any(found[need.source].status == _WHO for need in batch if need.source in found) and (
            endpoint.introduce()  # It has users of its own.
        ):
            found |= _seen(endpoint, batch, how)
        if any(need.source not in found for need in batch):
            raise BrokenError("The mirror broke off in the middle of its answer.")
    return found


def _seen(endpoint: Endpoint, batch: Sequence[Need], how: Mapping[str, bool]) -> dict[str, Seen]:
    with _asked(endpoint, batch, how) as lines:
        return {line["path"]: Seen.read(line) for line in lines if line.get("event") == "file"}


class Warming:
    """One run against the mirror at *endpoint*, told to *voice*.

    *at_once* is how many files the mirror fetches at a time; with *evict* it may let go of others for them.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        voice: WarmVoice,
        *,
        at_once: int,
        evict: bool,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._endpoint = endpoint
        self._voice = voice
        self._at_once = at_once
        self._evict = evict
        self._pause = pause
        self._reached: dict[str, int] = {}

    def run(self, wanted: Sequence[Goal]) -> list[Outcome]:
        """Have everything fetched. Raises `StoreFullError` before any of it where it does not fit."""
        needs = {need.source: need for goal in wanted for need in goal.needs}
        seen = self._seen(needs)
        missing = {source: needs[source] for source, one in seen.items() if not one.here}
        self._room(missing, seen)
        if missing:
            seen |= self._fetch(missing, seen)
        outcomes = [self._outcome(goal, seen, missing) for goal in wanted]
        for outcome in outcomes:
            self._voice.ended(outcome)
        return outcomes

    # ── what is here ───────────────────────────────────────────────────────────────────────────

    def _seen(self, needs: Mapping[str, Need]) -> dict[str, Seen]:
        fixed = [need for need in needs.values() if not need.moving]
        seen = look(self._endpoint, fixed, stored=True)
        for source, one in seen.items():
            if not one.here:  # What is not here is not refused for that.
                need = needs[source]
                seen[source] = Seen("missing", need.size, need.digest)
        unknown = [
            need
            for need in needs.values()
            if not need.made and (need.moving or (not seen[need.source].here and need.size is None))
        ]
        if unknown:
            seen |= look(self._endpoint, unknown, look=True)
        return seen

    def _room(self, missing: Mapping[str, Need], seen: Mapping[str, Seen]) -> None:
        sizes: dict[object, int] = {}
        for source in missing:
            one = seen[source]
            if one.size is not None and one.state != "failed":
                sizes[one.digest or source] = one.size
        unknown = sum(1 for source in missing if seen[source].size is None and missing[source].made)
        _, status = self._endpoint.json("/-/status")
        free, held = int(status["store"]["free"]), int(status["store"]["bytes"])
        needed = sum(sizes.values())
        self._voice.room(needed, unknown, free)
        self._voice.expect(needed)
        if needed > (free + held if self._evict else free):
            raise StoreFullError(
                f"{format_size(needed)} are to come, and the mirror has room for {format_size(free)}.",
                needed=needed,
                free=free,
                hint="Raise its quota or free room on its disk"
                + ("." if self._evict else ", or let the least used go with --evict."),
            )

    # ── what is not ────────────────────────────────────────────────────────────────────────────

    def _fetch(self, missing: Mapping[str, Need], seen: Mapping[str, Seen]) -> dict[str, Seen]:
        found: dict[str, Seen] = {
            source: seen[source] for source in missing if seen[source].state == "failed"
        }
        rest = {source: need for source, need in missing.items() if source not in found}
        barren = rounds = 0
        while rest:
            before = len(rest), sum(self._reached.values())
            try:
                for source, one in self._once(rest):
                    found[source] = one
                    rest.pop(source, None)
                    self._told(missing[source], one)
            except BrokenError:
                grown = before != (len(rest), sum(self._reached.values()))
                barren = 0 if grown else barren + 1
                if barren > len(PAUSES):
                    raise
                self._pause(PAUSES[max(0, barren - 1)])
                continue
            passing = {
                source: missing[source]
                for source, one in found.items()
                if one.state == "failed" and one.status in _PASSING
            }
            rounds += 1
            if rounds >= _ROUNDS or not passing:
                break
            self._pause(PAUSES[rounds])
            rest = passing
        for source, one in found.items():
            if one.state == "failed":
                self._voice.refused(missing[source], _error(one))
        return found

    def _once(self, rest: Mapping[str, Need]) -> Iterator[tuple[str, Seen]]:
        for batch in _batches(list(rest.values())):
            left = {need.source for need in batch}
            with _asked(self._endpoint, batch, {"at_once": self._at_once}) as lines:
                for line in lines:
                    match line.get("event"):
                        case "progress":
                            self._came(rest.get(line["path"]), line["bytes"], line["size"])
                        case "file":
                            left.discard(line["path"])
                            yield line["path"], Seen.read(line)
                        case _:  # start and end
                            pass
            if left:
                raise BrokenError("The mirror broke off in the middle of its answer.")

    def _came(self, need: Need | None, done: int, size: int) -> None:
        if need is None:
            return
        if need.size is None and need.source not in self._reached and need.made:
            self._voice.expect(size)
        before = self._reached.get(need.source, 0)
        if done > before:
            self._reached[need.source] = done
            self._voice.advance(done - before)
        self._voice.came(need, done, size)

    def _told(self, need: Need, one: Seen) -> None:
        if one.here:
            self._came(need, one.size or 0, one.size or 0)
            self._voice.stored(need, one.size or 0)

    def _outcome(
        self, goal: Goal, seen: Mapping[str, Seen], missing: Mapping[str, Need]
    ) -> Outcome:
        outcome = Outcome(goal.wanted)
        failed = []
        for need in goal.needs:
            one = seen[need.source]
            wrong = differs(need, one)
            if not one.here or wrong:
                failed.append(f"{need.name} ({wrong})" if wrong else need.name)
                continue
            outcome.files += 1
            outcome.size += one.size or 0
            outcome.fetched += (one.size or 0) if need.source in missing else 0
        if failed:
            outcome.error = MirrorError(
                f"{len(failed)} of {len(goal.needs)} files are not here: {', '.join(failed)}.",
                hint="Run it again: what has come stays.",
            )
        return outcome


def differs(need: Need, one: Seen) -> str:
    """Why what is here is not what was to be, ``""`` where it is."""
    if need.digest is None or one.digest is None or need.digest.algorithm != one.digest.algorithm:
        return ""
    return "" if need.digest == one.digest else f"it is {one.digest} instead of {need.digest}"


def failures(bad: Sequence[tuple[Wanted, MirrorError]], voice: Voice) -> list[Outcome]:
    """What became of targets of which the mirror tells nothing, told to *voice*."""
    outcomes = [replace(Outcome(wanted), error=error) for wanted, error in bad]
    for outcome in outcomes:
        voice.ended(outcome)
    return outcomes


def _error(one: Seen) -> MirrorError:
    return MirrorError(one.error, hint=one.next)


def _asked(endpoint: Endpoint, batch: Sequence[Need], how: Mapping[str, Any]) -> Any:
    question = {"paths": [need.source for need in batch], **how}
    restricted = any(need.restricted for need in batch)
    return endpoint.lines(PATH, question, restricted=restricted)


def _batches(needs: Iterable[Need]) -> Iterator[list[Need]]:
    batch: list[Need] = []
    size = 0
    for need in needs:
        batch.append(need)
        size += len(need.source) + 4
        if size >= _MOST_PATHS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
