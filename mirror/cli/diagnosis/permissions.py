"""A folder of models that the client may not read."""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from mirror.cli.diagnosis.findings import Finding, quoted
from mirror.errors import ConfigError

# Of a cache with more entries than this the rest is taken to be as these are.
MAX_ENTRIES: Final = 50_000


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads: a user and groups, by number. *own* is the user of this process, root or not."""

    uid: int
    gids: frozenset[int]
    own: bool = False

    @classmethod
    def of_this_process(cls) -> Self:
        """Whoever runs this."""
        return cls(os.geteuid(), frozenset({os.getegid(), *os.getgroups()}), own=True)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``UID`` or ``UID:GID``; raises `ConfigError`."""
        uid, _, gid = text.partition(":")
        try:
            return cls(int(uid), frozenset({int(gid or uid)}))
        except ValueError as error:
            raise ConfigError(
                f"{text!r} is no user by number.", hint="Write it like 1000:1000."
            ) from error

    @property
    def name(self) -> str:
        """As chown takes it: the user, and the smallest of its groups but for its own."""
        gid = os.getegid() if self.own else min(self.gids)
        return f"{self.uid}:{gid}"

    def may(self, path: Path, status: os.stat_result, wanted: int) -> bool:
        """Whether it has the rights *wanted* (``os.R_OK``, ``W_OK``, ``X_OK``, added) to *path*."""
        if self.own:
            return os.access(path, wanted)
        if self.uid == 0:
            return True  # But for the execution of files, nothing is closed to root.
        shift = 6 if status.st_uid == self.uid else 3 if status.st_gid in self.gids else 0
        return status.st_mode >> shift & wanted == wanted


def check_permissions(folders: Sequence[Path], reader: Reader) -> Iterator[Finding]:
    """Find which of *folders* the *reader* cannot read or write.

    A folder on a read-only file system, or an exported cache, is not meant to be written.
    """
    told: set[Path] = set()
    for folder in dict.fromkeys(folders):
        blocked = _closed_above(folder, reader)
        if blocked is not None:
            if blocked not in told:
                told.add(blocked)
                yield _unreadable(blocked, blocked, reader, above=folder)
            continue
        if not folder.is_dir() or any(parent in told for parent in folder.parents):
            continue
        worst = next(_closed_in(folder, reader), None)
        if worst is not None:
            told.add(folder)
            yield _unreadable(folder, worst, reader, above=None)
        elif not _is_writable(folder, reader):
            told.add(folder)
            yield Finding(
                kind="unwritable",
                where=str(folder),
                what=f"{folder} {_owner(folder)}, so {reader.name} cannot put new models there.",
                mend=f"sudo chown -R {reader.name} {quoted(folder)}",
                note=True,
            )


def _closed_above(folder: Path, reader: Reader) -> Path | None:
    """The topmost folder above *folder* that the reader cannot pass, if there is one."""
    for parent in reversed(folder.parents):
        try:
            status = parent.stat()
        except FileNotFoundError:
            return None
        except OSError:
            return parent.parent
        if stat.S_ISDIR(status.st_mode) and not reader.may(parent, status, os.X_OK):
            return parent
    return None


def _closed_in(folder: Path, reader: Reader) -> Iterator[Path]:
    """What in *folder*, itself included, the reader cannot read."""
    waiting, seen = [folder], 0
    while waiting and seen < MAX_ENTRIES:
        path = waiting.pop()
        seen += 1
        try:
            status = path.lstat()
        except OSError:
            continue
        if stat.S_ISDIR(status.st_mode):
            if not reader.may(path, status, os.R_OK | os.X_OK):
                yield path
                continue
            try:
                waiting.extend(sorted(path.iterdir(), reverse=True))
            except OSError:
                yield path
        elif stat.S_ISREG(status.st_mode) and not reader.may(path, status, os.R_OK):
            yield path


def _unreadable(folder: Path, worst: Path, reader: Reader, above: Path | None) -> Finding:
    if above is not None:
        what = f"{worst} {_owner(worst)}, so {reader.name} does not get to {above}."
        mend = f"sudo chmod a+x {quoted(worst)}"
    else:
        what = f"{worst} {_owner(worst)}, so {reader.name} cannot read it."
        mend = f"sudo chown -R {reader.name} {quoted(folder)}"
    return Finding(kind="unreadable", where=str(worst), what=what, mend=mend)


def _owner(path: Path) -> str:
    try:
        status = path.lstat()
    except OSError as error:
        return f"cannot be looked at ({error.strerror})"
    return (
        f"belongs to {status.st_uid}:{status.st_gid} with mode {stat.S_IMODE(status.st_mode):04o}"
    )


def _is_writable(folder: Path, reader: Reader) -> bool:
    manifests = (at / ".modelmirror.json" for at in (folder, *folder.parents))
    if any(manifest.is_file() for manifest in manifests):
        return True
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        return True
    return reader.may(folder, folder.stat(), os.R_OK | os.W_OK | os.X_OK)
