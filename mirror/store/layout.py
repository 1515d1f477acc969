"""The disk format, drawn once; every path is made here.

::

    DATA/v1/
    ├─ blobs/sha256/ab/<hex>     a blob, 0444, named by its sha256 ("ab": its first two digits)
    ├─ sums/ab/<hex>             a CRC-32 per piece of a blob over 1 MiB (`mirror.store.sums`)
    ├─ partial/<key>/data        a blob on its way in, 0600
    │                journal     how much of it is on the disk (`mirror.store.partials`)
    ├─ partial/new-<random>      a small file on its way to its name
    ├─ records/ab/<hex>.json     one per snapshot, as upstream told it
    ├─ journal.jsonl             what only we know: pins, grants, first-use digests, aliases
    ├─ index.sqlite3             a cache of records and journal: rebuilt, never migrated
    ├─ memo/                     what may be forgotten at any time
    ├─ quarantine/<hex>          a blob that is no longer what it was, for whoever wants to look
    ├─ incoming/<id>/            a bundle that is being imported (`mirror.bundle.bundlestage`)
    ├─ sent/<name>.json          what receivers of bundles have (`mirror.bundle.bundlesent`)
    ├─ running                   there while a run has not ended in good order (`mirror.upkeep.running`)
    ├─ scrub.json                how far the scrub is (`mirror.upkeep.scrub`)
    ├─ stats.json                bytes and requests by the hour (`mirror.upkeep.history`)
    ├─ uses.json                 which use of a blob was when (`mirror.upkeep.lastuse`)
    ├─ secret                    32 random bytes, 0600: the key of fingerprints and of tokens
    ├─ lock                      held by the one process that writes
    └─ control.sock              how the command line reaches that process, 0600

No repo or file name is ever a path: names come from strangers, may be longer than a file name can be,
and differ by case where some disks do not. The folders of two digits are made by the first file that
needs one (`mirror.store.durable.publish`). The version is a folder, so that a program of another
version refuses what it does not know before it has touched anything.
"""

import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mirror.digest import SHA256, Digest
from mirror.errors import StoreUnusableError
from mirror.store import durable

VERSION: Final = "v1"

PARTIAL_DATA: Final = "data"
PARTIAL_JOURNAL: Final = "journal"

_VERSION_FOLDER: Final = re.compile(r"v[0-9]+\Z")
_FAN: Final = tuple(f"{number:02x}" for number in range(256))
_BLOB_NAME: Final = re.compile(r"[0-9a-f]{64}\Z")
_SECRET_SIZE: Final = 32


class Layout:
    """The paths of one data folder, *data*; nothing is touched before `prepare`."""

    __slots__ = (
        "blobs", "control", "data", "incoming", "index", "journal", "lock", "memo", "partials", "quarantine",
        "records", "root", "running", "scrub", "secret_file", "sent", "stats", "sums", "uses",
    )  # fmt: skip

    def __init__(self, data: Path) -> None:
        self.data = data
        self.root = data / VERSION
        self.blobs = self.root / "blobs" / SHA256
        self.sums = self.root / "sums"
        self.partials = self.root / "partial"
        self.records = self.root / "records"
        self.journal = self.root / "journal.jsonl"
        self.index = self.root / "index.sqlite3"
        self.memo = self.root / "memo"
        self.quarantine = self.root / "quarantine"
        self.incoming = self.root / "incoming"
        self.sent = self.root / "sent"
        self.running = self.root / "running"
        self.scrub = self.root / "scrub.json"
        self.stats = self.root / "stats.json"
        self.uses = self.root / "uses.json"
        self.secret_file = self.root / "secret"
        self.lock = self.root / "lock"
        self.control = self.root / "control.sock"

    def blob(self, digest: Digest) -> Path:
        """Where the blob of a sha256 is. Raises `ValueError` for another algorithm."""
        # One parse of one string: this is on the way of every hit, and "/" parses for each part.
        return Path(f"{self.blobs}/{_sha256(digest)[:2]}/{digest.hex}")

    def sums_of(self, digest: Digest) -> Path:
        """Where the sums of the blob with this sha256 are."""
        return self.sums / _sha256(digest)[:2] / digest.hex

    def partial(self, expected: Digest) -> Path:
        """The folder of a blob on its way in: *expected* is the digest upstream published for it."""
        return self.partials / f"{expected.algorithm}-{expected.hex}"

    def expected_of(self, folder: Path) -> Digest | None:
        """The digest that a folder below ``partial/`` is for; `None` when it is not such a folder."""
        algorithm, _, value = folder.name.rpartition("-")
        try:
            return Digest(algorithm, value)
        except ValueError:
            return None

    def record(self, key: Digest) -> Path:
        """Where the record of a snapshot is; *key* is the sha256 over hub, canonical repo and commit."""
        return self.records / _sha256(key)[:2] / f"{key.hex}.json"

    def quarantined(self, digest: Digest) -> Path:
        """Where a blob that is no longer what it was is put aside."""
        return self.quarantine / _sha256(digest)

    def incoming_bundle(self, identity: Digest) -> Path:
        """Where the bundle is gathered whose manifest has this sha256."""
        return self.incoming / _sha256(identity)

    def sent_to(self, stem: str) -> Path:
        """Where it is noted what a receiver of bundles has; *stem* is the sha256 of its name."""
        return self.sent / f"{_sha256(Digest(SHA256, stem))}.json"

    def temporary(self) -> Path:
        """A fresh path, on the same file system as every other, for a small file being written."""
        return self.partials / f"new-{secrets.token_hex(8)}"

    def prepare(self) -> None:
        """Make the folders that are missing, readable by owner and group only.

        Raises `StoreUnusableError` when the data folder is of a version this program does not know, or
        cannot be written; the hint is the command that mends it.
        """
        try:
            self._refuse_unknown_version()
            # One by one: mkdir gives its mode to the last folder of a path only.
            self.data.mkdir(mode=durable.FOLDER_MODE, parents=True, exist_ok=True)
            for folder in (
                self.root,
                self.blobs.parent,
                self.blobs,
                self.sums,
                self.records,
                self.partials,
                self.memo,
                self.quarantine,
            ):
                folder.mkdir(mode=durable.FOLDER_MODE, exist_ok=True)
            probe = self.temporary()
            probe.touch(mode=0o600)
            probe.unlink()
        except OSError as error:
            raise self._unusable(error) from error

    def examine(self) -> None:
        """See, without writing anything, that `prepare` would make the folders.

        Raises `StoreUnusableError` as that does.
        """
        try:
            self._refuse_unknown_version()
            place = self.data
            while not place.exists() and place != place.parent:
                place = place.parent
            if not place.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(place))
            for folder in (place, self.root):
                if folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
        except OSError as error:
            raise self._unusable(error) from error

    def tidy(self) -> None:
        """Remove small files that a crash left half written; only the holder of the lock may."""
        for path in self.partials.iterdir():
            if path.name.startswith("new-") and not path.is_dir():
                durable.remove(path)

    def secret(self) -> bytes:
        """The 32 random bytes of this data folder, made on the first call.

        Raises `StoreUnusableError` when the file is there but is not such a secret, or is readable by
        others: tokens signed with it would be worth nothing.
        """
        for _ in range(2):
            try:
                fd = os.open(self.secret_file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError:
                durable.create(
                    self.temporary(), self.secret_file, secrets.token_bytes(_SECRET_SIZE)
                )
                continue
            except OSError as error:
                raise self._unusable(error) from error
            with open(fd, "rb") as file:
                mode = os.fstat(fd).st_mode
                value = file.read(_SECRET_SIZE + 1)
            if stat.S_ISREG(mode) and not mode & 0o077 and len(value) == _SECRET_SIZE:
                return value
            break
        raise StoreUnusableError(
            f"{self.secret_file} is not a secret of {_SECRET_SIZE} bytes that only its owner can read.",
            hint=f"Remove it and start again: rm {self.secret_file}",
        )

    def readable(self) -> bool:
        """Whether the folder of the blobs is there to be read: a volume may be gone while the mirror runs."""
        return os.access(self.blobs, os.R_OK | os.X_OK)

    def free(self) -> int:
        """Bytes that may still be written to the disk of the data folder."""
        return durable.free_bytes(self.root)

    def blob_files(self, after: str = "") -> Iterator[os.DirEntry[str]]:
        """The files under ``blobs/`` whose names are digests, by name, while others come and go.

        From the first whose name is beyond *after*.
        """
        for name in _FAN:
            if name < after[:2]:
                continue
            try:
                with os.scandir(self.blobs / name) as entries:
                    files = sorted(entries, key=lambda entry: entry.name)
            except FileNotFoundError:
                continue
            for entry in files:
                if (
                    entry.name > after
                    and _BLOB_NAME.match(entry.name)
                    and entry.name.startswith(name)
                ):
                    yield entry

    def measure(self) -> int:
        """Bytes held by blobs, partials, incoming bundles and the quarantine: all that a ledger counts.

        A file is counted at its length, without its holes; sums add four millionths and are not.
        """
        return sum(map(_length, self.blob_files())) + self.measure_others()

    def measure_others(self) -> int:
        """The same without the blobs, of which the index knows the sum: a million take seconds to look at."""
        total = 0
        for path in self.partials.glob(f"*/{PARTIAL_DATA}"):
            total += _length(path)
        for path in (*self.quarantine.iterdir(), *self.incoming.glob("*/*")):
            total += _length(path)
        return total

    def _refuse_unknown_version(self) -> None:
        if not self.data.exists():
            return
        unknown = sorted(
            name
            for name in os.listdir(self.data)
            if _VERSION_FOLDER.match(name) and name != VERSION
        )
        if unknown:
            raise StoreUnusableError(
                f"The data folder {self.data} holds {unknown[-1]}, a format that this version of"
                " modelmirror does not know; nothing was touched.",
                hint="Use the version of modelmirror that wrote it, or another folder with --data.",
            )

    def _unusable(self, error: OSError) -> StoreUnusableError:
        where = error.filename or self.data
        uid, gid = os.geteuid(), os.getegid()
        hints = {
            errno.EROFS: f"Mount it writable: mount -o remount,rw {self.data}",
            errno.ENOSPC: f"Free some space on its disk: df -h {self.data}",
            errno.ENOENT: "Give the path of a folder with --data.",
            errno.ENOTDIR: "Give the path of a folder with --data.",
            errno.EEXIST: "Give the path of a folder with --data.",
        }
        return StoreUnusableError(
            f"User {uid} cannot use the data folder {self.data} ({where}: {error.strerror}).",
            hint=hints.get(
                error.errno or 0, f"Give it to that user: chown -R {uid}:{gid} {self.data}"
            ),
        )


def _sha256(digest: Digest) -> str:
    if digest.algorithm != SHA256:
        msg = f"a blob's name in the store is its sha256, not {digest}"
        raise ValueError(msg)
    return digest.hex


def _length(file: os.DirEntry[str] | Path) -> int:
    try:
        return held_by(file.stat(follow_symlinks=False))
    except FileNotFoundError:  # gone since it was listed
        return 0


def held_by(status: os.stat_result) -> int:
    """Bytes of the disk that a file takes: its length, or less where it has holes.

    A partial of which only the end was wanted is as long as its blob and nearly empty.
    """
    return min(status.st_size, status.st_blocks * 512)
