"""Which bytes of a blob are asked for next, so that no byte is asked for twice.

A byte is there, claimed by a transfer that brings it, or missing. What readers wait for comes first, then
the lowest missing bytes. A blob is fetched whole when somebody wants its end, when it is small, or when
what was wanted of it comes to more than half; of any other one only what is wanted is fetched, so that
100 bytes at the end of 10 GB cost a piece and not a night.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from mirror.store.extents import Extents
from mirror.store.sums import PIECE

# Up to here a blob is one GET, and whole: there is little to win by more.
SMALL: Final = 256 << 20

# A reader this far ahead of a transfer waits for it: another connection would hardly be faster.
NEAR: Final = 8 << 20

# The most that is fetched ahead for one reader who jumped the queue.
LEAP: Final = 8 << 20

# The first request for a larger one: by its end it is known whether one connection is enough, and nobody
# has to break an answer off whose bytes are on their way.
FIRST: Final = 16 << 20

# What one of several connections asks for at a time, and what near the end, so that all end together.
SHARE: Final = 8 << 20
LAST_SHARE: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class Wish:
    """What the first reader of a fill wants: bytes *start* up to *end* and nothing else."""

    start: int
    end: int


@dataclass(slots=True, eq=False)
class Claim:
    """Bytes *at* up to *end* that one transfer brings; *asked* is where its request ends."""

    at: int
    end: int
    asked: int


class Plan:
    """The plan of one fill. Not safe for several threads.

    *size* is the blob's, *held* the ranges that are there.
    """

    def __init__(self, size: int, held: Iterable[tuple[int, int]], wish: Wish | None) -> None:
        self.size = size
        self.claims: list[Claim] = []
        self._taken = Extents(held)  # there, or claimed
        self._wanted = Extents(held)
        self._wishes: list[tuple[int, int]] = []
        self._leap = (0, 0)
        self.whole = wish is None or size <= SMALL
        if wish is not None:
            self.want(wish.start, wish.end, near=NEAR)

    @property
    def missing(self) -> int:
        """Bytes that are neither there nor claimed."""
        return self.size - self._taken.total

    @property
    def complete(self) -> bool:
        """Whether every byte is there."""
        return not self.claims and not self.missing

    def want(self, start: int, end: int | None, *, near: int) -> None:
        """Somebody waits for the byte at *start*, and will for those up to *end* if that is known.

        Rounded to pieces. A transfer that will be there within *near* bytes is waited for; one that is
        farther off stops short of them. In a small blob everybody waits for the one GET it is: leaping
        ahead would cut it, and what was under way on it would be asked for twice.
        """
        if self.size <= SMALL:
            return
        if end is None:
            last, length = self._leap
            length = min(2 * length, LEAP) if start == last and length else PIECE
            end = start + length
        self._wanted.add(start, min(end, self.size))
        self.whole = self.whole or 2 * self._wanted.total > self.size
        low = start // PIECE * PIECE
        high = min(-(-end // PIECE) * PIECE, low + LEAP, self.size)
        self._leap = (high, high - low)
        for claim in self.claims:
            if claim.at <= start < claim.end:
                if start - claim.at <= near:
                    return
                self._taken.remove(max(low, claim.at), claim.end)
                claim.end = max(low, claim.at)
        if self._taken.gap(low, high) is not None:
            self._wishes.append((low, high))

    def urgent(self) -> bool:
        """Whether a reader waits for bytes that nobody brings."""
        return self._next_wish() is not None

    def next(self, *, shared: bool) -> Claim | None:
        """Claim the next bytes to ask for; `None` when nothing is to be asked.

        *shared* tells that several connections share the work, so that each takes a piece of it.
        """
        wish = self._next_wish()
        gap = self._taken.gap(0, self.size) if self.whole else None
        if gap is None or (wish is not None and (shared or wish[0] - gap[0] > NEAR)):
            return self._claim(*wish) if wish is not None else None
        start, end = gap
        if shared:
            share = SHARE if self.missing > 16 * SHARE else LAST_SHARE
            end = min(end, (start + share) // PIECE * PIECE)
        return self._claim(start, end)

    def leap(self) -> Claim | None:
        """Claim what a reader waits for and nobody brings."""
        wish = self._next_wish()
        return self._claim(*wish) if wish is not None else None

    def begin(self, claim: Claim) -> bool:
        """Let the claim of a whole large blob ask for its first bytes only; returns whether it is one."""
        large = claim.at == 0 and claim.end == self.size > max(SMALL, 2 * FIRST)
        if large:
            self.shorten(claim, FIRST)
            claim.asked = FIRST
        return large

    def shorten(self, claim: Claim, end: int) -> None:
        """Let a claim end at *end*, so that others can have the rest."""
        if claim.at <= end < claim.end:
            self._taken.remove(end, claim.end)
            claim.end = end

    def stretch(self, claim: Claim) -> None:
        """Let a claim have again what its request brings anyway and nobody else does."""
        gap = self._taken.gap(claim.end, claim.asked)
        if gap is not None and gap[0] == claim.end:
            self._taken.add(*gap)
            claim.end = gap[1]

    def release(self, claim: Claim) -> None:
        """The transfer is over: what it did not bring is missing."""
        self.claims.remove(claim)
        self._taken.remove(claim.at, claim.end)

    def reset(self, held: Iterable[tuple[int, int]]) -> None:
        """Begin again with the ranges *held*; no transfer may be under way."""
        self._taken = Extents(held)

    def all(self) -> Claim:
        """Claim the whole blob anew, what is there too; no transfer may be under way."""
        self._taken, self.whole = Extents(), True
        return self._claim(0, self.size)

    def _next_wish(self) -> tuple[int, int] | None:
        for wish in list(self._wishes):
            gap = self._taken.gap(*wish)
            if gap is not None:
                return gap
            # Kept while a transfer brings it, which may break.
            if not any(c.at < wish[1] and wish[0] < c.end for c in self.claims):
                self._wishes.remove(wish)
        return None

    def _claim(self, start: int, end: int) -> Claim:
        claim = Claim(start, end, end)
        self.claims.append(claim)
        self._taken.add(start, end)
        return claim
