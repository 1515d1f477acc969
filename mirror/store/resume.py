"""What a broken download may go on from: the journal of a partial.

The journal is lines of JSON: ``{"size": …, "digest": "sha256:…", "validator": …, "synced": …, "ahead":
[[start, end], …]}``, the last only where bytes beyond the first *synced* are there. A line is written
after each sync of the data, so the bytes that it names were on the disk before the line was. The last
whole line holds; a torn one is as if it had never been written. The length of the data file itself says
nothing: after a crash it may be right while the bytes are zeros.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from mirror.digest import Digest

# A line is about 170 bytes and one is written per 64 MiB: enough for a blob of 24 TiB.
_MOST: int = 64 << 20


@dataclass(frozen=True, slots=True)
class Progress:
    """The first *synced* bytes of a blob of *size*, and the ranges *ahead* of them.

    *validator* is the strong ETag of the source that they came from.
    """

    digest: Digest
    size: int
    validator: str | None = None
    synced: int = 0
    ahead: tuple[tuple[int, int], ...] = ()

    @property
    def end(self) -> int:
        """Where the last byte that it names ends."""
        return self.ahead[-1][1] if self.ahead else self.synced

    def encode(self) -> bytes:
        """The journal's line, with its end."""
        fields: dict[str, object] = {
            "size": self.size,
            "digest": str(self.digest),
            "validator": self.validator,
            "synced": self.synced,
        }
        if self.ahead:
            fields["ahead"] = self.ahead
        return json.dumps(fields, separators=(",", ":")).encode() + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> Self:
        """Read a line back; raises `ValueError` when it is not whole or says impossible things."""
        try:
            fields = json.loads(line)
            size, synced, validator = fields["size"], fields["synced"], fields["validator"]
            digest = Digest.parse(fields["digest"])
            ahead = tuple((start, end) for start, end in fields.get("ahead", ()))
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError("not a line of a partial's journal") from error
        ends = [0, synced, *(end for extent in ahead for end in extent), size]
        whole = all(type(end) is int for end in ends) and ends == sorted(ends)
        if not whole or not (validator is None or isinstance(validator, str)):
            raise ValueError("not a line of a partial's journal")
        return cls(digest, size, validator, synced, ahead)

    @classmethod
    def last(cls, journal: Path) -> Self | None:
        """The last whole line of the file *journal*; `None` when there is none. Raises `OSError`."""
        try:
            fd = os.open(journal, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        with open(fd, "rb") as file:
            lines = file.read(_MOST).split(b"\n")
        for line in reversed(lines[:-1]):
            try:
                return cls.decode(line)
            except ValueError:
                continue
        return None
