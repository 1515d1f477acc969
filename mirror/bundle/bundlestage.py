"""Where a bundle is gathered until all of it is there and right: ``incoming/<sha256 of its manifest>/``.

::

    manifest.json   as it came, once its signature was believed
    small           journal and records, one after the other, verified
    <hex>           a blob, verified; over 1 MiB with <hex>.sums beside it
    coming          what is on its way to one of these names
    commit.json     all of it is there: from now on it is published, also after a crash

What is here is nowhere else known. Whoever imports the same bundle again goes on from it.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from mirror.bundle.bundlemanifest import MANIFEST, Manifest, Member
from mirror.bundle.bundletar import BundleError, Source
from mirror.digest import GIT_SHA1, SHA256, Digest, Hasher, sha256_of
from mirror.index.codec import typed
from mirror.store import durable
from mirror.store.layout import Layout
from mirror.store.sums import PIECE, Sums, SumsBuilder, piece_count

SMALL: Final = "small"
COMMIT: Final = "commit.json"
_COMING: Final = "coming"
_PIECE: Final = 4 << 20
# What was begun and not gone on with for so long, in seconds, makes room.
_KEPT: Final = 7 * 86400.0


#: What helps against a damaged copy.
AGAIN: Final = (
    "Copy it again from where it was exported. "
    "What was checked is kept: the next try goes on from it."
)


def changed(name: str) -> BundleError:
    """The error of a member *name* with other bytes than the manifest says."""
    return BundleError(
        f"The bytes of {name} are not those that the manifest names: it was damaged on the way.",
        hint=AGAIN,
    )


class Stage:
    """The folder of one bundle."""

    def __init__(self, layout: Layout, identity: str) -> None:
        self.identity = identity
        self._layout = layout
        self.folder = layout.incoming_bundle(Digest(SHA256, identity))

    def begin(self, now: float) -> int:
        """Make the folder, and clear away those that nobody goes on with at wall time *now*.

        Returns how many bytes that gave back.
        """
        gone = 0
        try:
            self._layout.incoming.mkdir(mode=durable.FOLDER_MODE, exist_ok=True)
            self.folder.mkdir(mode=0o700, exist_ok=True)
            os.utime(self.folder, (now, now))
            for half in self.folder.glob(f"{_COMING}*"):
                half.unlink()
            for other in self._layout.incoming.iterdir():
                old = now - other.stat().st_mtime > _KEPT
                if old and other != self.folder and not (other / COMMIT).exists():
                    gone += sum(path.stat().st_size for path in other.iterdir())
                    shutil.rmtree(other, ignore_errors=True)
        except OSError as error:
            raise durable.disk_error(error, f"{self.folder} cannot be made") from error
        return gone

    def leave(self) -> None:
        """Remove the folder if nothing was put there."""
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def remove(self) -> None:
        """Remove the folder; without its manifest it is nothing any more, however little of it went."""
        durable.remove(self.folder / MANIFEST)
        shutil.rmtree(self.folder, ignore_errors=True)

    # ── small members ──────────────────────────────────────────────────────────────────────────

    def write(self, name: str, data: bytes) -> None:
        """Put a small file into the folder, whole."""
        durable.write(self.folder / f"{_COMING}-{name}", self.folder / name, data)

    def manifest(self) -> Manifest:
        """What came as the manifest."""
        return Manifest.decode((self.folder / MANIFEST).read_bytes())

    def small(self, manifest: Manifest) -> Iterator[bytes]:
        """The journal, then each record, held against their digests once more."""
        with (self.folder / SMALL).open("rb") as file:
            for member in (manifest.journal, *manifest.records):
                data = file.read(member.size)
                if Member.of(data) != member:
                    raise BundleError(
                        "What was kept of the bundle is damaged.", hint="Import it again."
                    )
                yield data

    def commit(self, options: dict[str, Any]) -> None:
        """Note, durably, that all of it is here; *options* say how it is to be published."""
        self.write(COMMIT, json.dumps(options).encode())

    def committed(self) -> dict[str, Any] | None:
        """What was noted by `commit`; `None` where that has not happened."""
        try:
            return typed(dict, json.loads((self.folder / COMMIT).read_bytes()))  # type: ignore[no-any-return]
        except (OSError, ValueError, TypeError):
            return None

    # ── blobs ──────────────────────────────────────────────────────────────────────────────────

    def has(self, blob: Member) -> bool:
        """Whether *blob* is here and was found right."""
        try:
            size = (self.folder / blob.hex).stat().st_size
        except FileNotFoundError:
            return False
        return size == blob.size and (size <= PIECE or self._sums_of(blob).exists())

    def take(
        self,
        source: Source,
        blob: Member,
        git_sha1: Digest | None,
        advance: Callable[[int], None],
    ) -> None:
        """Take *blob* from *source*, which must be what it is called, and *git_sha1* if that is told.

        Raises `BundleError` for other bytes, `StoreError` when the disk refuses.
        """
        path = self.folder / _COMING
        whole, sums = hashlib.sha256(), SumsBuilder()
        git = None if git_sha1 is None else Hasher(blob.size, git_sha1)
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(path, flags, 0o600)
            try:
                at = 0
                while at < blob.size:
                    data = source.read(min(_PIECE, blob.size - at))
                    durable.write_all(fd, data, at)
                    whole.update(data)
                    if blob.size > PIECE:
                        sums.update(data)
                    if git is not None:
                        git.update(data)
                    at += len(data)
                    advance(len(data))
                if whole.hexdigest() != blob.hex:
                    raise changed(blob.blob)
                if git is not None and git.differs() is not None:
                    raise BundleError(f"{blob.blob} is not {git_sha1}, as its journal says.")
                if blob.size > PIECE:
                    named = Digest(SHA256, blob.hex)
                    self.write(f"{blob.hex}.sums", sums.sums(named, blob.size).encode())
                durable.publish(path, self.folder / blob.hex, fd=fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise durable.disk_error(
                error, f"{blob.blob} cannot be written", needed=blob.size
            ) from error
        finally:
            durable.remove(path)

    def open(self, blob: Member) -> "Staged":
        """The blob *blob*, which is here, on its way into the store."""
        path = self.folder / blob.hex
        named = Digest(SHA256, blob.hex)
        sums = Sums.read(self._sums_of(blob), named) if blob.size > PIECE else None
        if blob.size > PIECE and sums is None:
            raise BundleError(f"What was kept of {blob.blob} is damaged.", hint="Import it again.")
        if sums is None and sha256_of(path.read_bytes()) != named:
            raise BundleError(f"What was kept of {blob.blob} is damaged.", hint="Import it again.")
        return Staged(path, named, blob.size, sums or SumsBuilder().sums(named, blob.size))

    def _sums_of(self, blob: Member) -> Path:
        return self.folder / f"{blob.hex}.sums"


class Staged:
    """A verified blob with its name in the stage; a `mirror.store.blobs.Finished`."""

    def __init__(self, path: Path, digest: Digest, size: int, sums: Sums) -> None:
        self.sha256 = digest
        self.size = size
        self.sums = sums
        self._path = path
        self._fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        # Before the sync, so that it is on the disk with the bytes.
        os.fchmod(self._fd, 0o444)

    @property
    def marks(self) -> bytes:
        """None of its pieces is known to be in memory still."""
        return bytes(piece_count(self.size))

    def fileno(self) -> int:
        """The file's descriptor; valid until `close`."""
        return self._fd

    def publish(self, final: Path, folders: durable.FolderSyncs) -> None:
        """Give it its name as a blob; only `DiskStore.put` calls this. Raises `StoreError`."""
        durable.publish(self._path, final, fd=self._fd, folders=folders)

    def abandon(self) -> None:
        """Remove it: it is in the store already, or cannot get there."""
        durable.remove(self._path)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._fd)


def git_names(lines: Iterator[tuple[Digest, Digest]]) -> dict[str, Digest]:
    """Of pairs of a name and a sha256, the git name of each blob that has one."""
    return {sha256.hex: name for name, sha256 in lines if name.algorithm == GIT_SHA1}


def stages(layout: Layout) -> list[Stage]:
    """The bundles that lie there, whole or not."""
    if not layout.incoming.is_dir():
        return []
    found = []
    for path in sorted(layout.incoming.iterdir()):
        try:
            found.append(Stage(layout, Digest(SHA256, path.name).hex))
        except ValueError:
            continue
    return found
