"""Bytes of a partial beyond its hashed prefix: where they lie, and what they were when they came.

sha256 goes from the first byte to the last, so bytes that came out of order wait for it. Until then each
run of them within a piece has a CRC-32 of its own, by which a reader that is shown them after they left
memory can tell that the disk gave back what it got.
"""

from dataclasses import dataclass

from mirror.digest import Buffer
from mirror.store.crc import crc32
from mirror.store.extents import Extents
from mirror.store.residency import PAGE, Residency
from mirror.store.sums import PIECE


@dataclass(slots=True)
class Run:
    """Bytes *start* up to *end* of one piece; *checked* until they are seen to have left memory."""

    start: int
    end: int
    crc: int
    checked: bool = True


class Ahead:
    """The runs beyond the prefix. Not safe for several threads."""

    def __init__(self) -> None:
        self.extents = Extents()
        self._pieces: dict[int, list[Run]] = {}

    def add(self, offset: int, data: Buffer) -> None:
        """Take bytes that were written at *offset*, where none were before."""
        rest = memoryview(data).cast("B")
        self.extents.add(offset, offset + len(rest))
        while rest:
            piece = offset // PIECE
            part = rest[: (piece + 1) * PIECE - offset]
            runs = self._pieces.setdefault(piece, [])
            before = next((run for run in runs if run.end == offset), None)
            if before is None:
                runs.append(Run(offset, offset + len(part), crc32(part)))
                runs.sort(key=lambda run: run.start)
            else:
                before.crc = crc32(part, before.crc)
                before.end += len(part)
            offset, rest = offset + len(part), rest[len(part) :]

    def drop(self, upto: int) -> None:
        """Forget the bytes below *upto*: the prefix has them now."""
        for start, end in list(self.extents):
            if start >= upto:
                break
            for piece in range(start // PIECE, -(-min(end, upto) // PIECE)):
                left = [run for run in self._pieces.get(piece, ()) if run.end > upto]
                if left:
                    self._pieces[piece] = left
                else:
                    self._pieces.pop(piece, None)
            self.extents.remove(start, min(end, upto))

    def ready(self, residency: Residency, fd: int, offset: int, limit: int) -> int:
        """The end of the bytes from *offset*, at most *limit*, that are checked and in memory."""
        end = offset
        while end < limit:
            run = self.at(end)
            if run is None:
                break
            if residency.exact:
                start = run.start // PAGE * PAGE
                run.checked = run.checked and residency.resident(fd, start, run.end)
                if not run.checked:
                    break
            end = min(run.end, limit)
        return end

    def at(self, offset: int) -> Run | None:
        """The run that holds *offset*."""
        runs = self._pieces.get(offset // PIECE, ())
        return next((run for run in runs if run.start <= offset < run.end), None)
