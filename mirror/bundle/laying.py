"""Laying one thing out: looked for where it is to be, else brought, put in place and noted."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Protocol

from mirror.bundle.endpoint import Endpoint
from mirror.bundle.manifest import Manifest, Needed, sha256_of_file
from mirror.bundle.placing import Placing
from mirror.bundle.plan import Archive, File, Plan
from mirror.bundle.store import Shelf
from mirror.bundle.transfer import Came, Transfer, sha256_if_right
from mirror.bundle.unpacking import unpack
from mirror.store import durable

# How often the manifest is written while files come, in seconds: what is not in it is hashed again.
SAVE_EVERY: Final = 5.0


class Meter(Protocol):
    """Hears how bytes come, on any thread."""

    def expect(self, size: int) -> None:
        """So many more bytes are to come."""
        ...

    def advance(self, size: int) -> None:
        """So many have come, or were found."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Laid:
    """What was laid out: its *paths*, *fetched* bytes that came for it, and the *tag* of an archive."""

    paths: tuple[str, ...]
    fetched: int = 0
    tag: str = ""


@dataclass(slots=True)
class Laying:
    """Lays things out in *folder* by way of *working*.

    *shelf* is the store where it is on this machine; with *verify* what is there is hashed again.
    """

    folder: Path
    manifest: Manifest
    endpoint: Endpoint
    transfer: Transfer
    placing: Placing
    shelf: Shelf | None
    meter: Meter
    verify: bool
    placed: Callable[[str, int], None]
    _noting: threading.Lock = field(default_factory=threading.Lock)
    _busy: dict[str, threading.Lock] = field(default_factory=dict)
    _open: set[tuple[str, str]] = field(default_factory=set)
    _saved: float = field(default_factory=time.monotonic)

    def file(self, file: File, *, expected: bool) -> Laid:
        """Lay a file out in all its places.

        *expected* tells whether the meter knows of its bytes. Raises `MirrorError`.
        """
        with self._alone(file.paths[0]):
            if self.here(file):
                return Laid(paths=file.paths)
            file = self.transfer.look(file)
            if self.here(file):
                return Laid(paths=file.paths)
            if not expected:
                self.meter.expect(file.size or 0)
            if self._found(file):
                return Laid(paths=file.paths)
            came, fetched = self._from_store(file), 0
            if came is None:
                came = self.transfer.bring(file, file.paths[0])
                self.transfer.confirm(file, came)
                fetched = came.size
                if self.shelf is not None:
                    came = self.shelf.instead(came)
            self.placing.file(came, file.paths)
            self._note(file.paths, came.sha256, file.etag)
            self.placed(file.paths[0], came.size)
            return Laid(paths=file.paths, fetched=fetched)

    def archive(self, archive: Archive, before: Needed | None, what: str) -> Laid:
        """Lay out what is in an archive; *before* is what its target had when it was laid out the same way.

        *what* is told to people. Raises `MirrorError`.
        """
        with self._alone(archive.folders[0]):
            kept = (archive.kept,) if archive.kept else ()
            file = self.transfer.look(File(source=archive.source, digest=archive.digest))
            tag = f"{archive.source} {file.etag}" if file.etag else ""
            if before is not None and tag and tag in before.state.split("\n"):
                inside = (*kept, *(f"{folder}/" for folder in archive.folders))
                mine = tuple(path for path in before.files if path.startswith(inside))
                if mine and all(self.manifest.holds(path, read=self.verify) for path in mine):
                    return Laid(paths=mine, tag=tag)
            self.meter.expect(file.size or 0)
            came = self.transfer.bring(file, archive.folders[0])
            paths = [*kept]
            for folder in archive.folders:
                paths += self._unpacked(archive, came, folder, what)
            if kept:
                self.placing.file(came, kept)
                self._note(kept, came.sha256, file.etag)
            else:
                durable.remove(came.path)
            self.placed(archive.folders[0], came.size)
            return Laid(paths=tuple(paths), fetched=came.size, tag=tag)

    def small(self, path: str, content: bytes, *, keep: bool) -> None:
        """Write a small file; with *keep* one that is there stays as it is. Raises `StoreError`."""
        at = self.folder / path
        try:
            there = None if at.is_symlink() or not at.is_file() else sha256_of_file(at)
            if there is None or (not keep and at.read_bytes() != content):
                self.placing.made(path, content)
            self._note((path,), sha256_of_file(at))
        except OSError as error:
            raise durable.disk_error(error, f"{at} cannot be written") from error

    def link(self, path: str, to: str) -> None:
        """Make a symbolic link, unless it is there. Raises `StoreError`."""
        with self._noting:
            self.manifest.links[path] = to
        if not self.manifest.leads(path):
            self.placing.link(path, to)

    def promise(self, needed: Needed, plan: Plan) -> None:
        """Write down that a target will need what *plan* says, with its archives as what they make."""
        sizes = {path: file.size or 0 for file in plan.files for path in file.paths}
        sizes.update({path: 0 for archive in plan.archives for path in archive.folders})
        sizes.update({path: len(content) for path, content in plan.made.items()})
        with self._noting:
            self.manifest.promise(replace(needed, files=tuple(sizes)), sizes, plan.links)

    def withdraw(self, target: str) -> None:
        """Take back what was promised for a target that does not exist. Raises `StoreError`."""
        with self._noting:
            self.manifest.withdraw(target)
            self.save()

    def keep(self, needed: Needed, environment: Mapping[str, str]) -> None:
        """Write down that a target has everything. Raises `StoreError`."""
        with self._noting:
            self.manifest.targets[needed.target] = needed
            self.manifest.environment.update(environment)
            self.save()

    def save(self) -> None:
        """Write the manifest, once all that it names is on the disk. Raises `StoreError`."""
        self.placing.sync()
        self.manifest.save()
        self._saved = time.monotonic()

    def here(self, file: File) -> bool:
        """Whether a file is in all its places as it was put there."""
        return bool(file.etag) and all(
            self.manifest.holds(path, read=self.verify)
            and self.manifest.files[path].etag == file.etag
            for path in file.paths
        )

    def _found(self, file: File) -> bool:
        """Whether the file lies in all its places although nobody wrote that down: then it is now."""
        if file.size is None or (file.digest is None and not file.prefix):
            return False
        for path in file.paths:
            at = self.folder / path
            try:
                if at.is_symlink() or not at.is_file() or at.stat().st_size != file.size:
                    return False
                sha256 = sha256_if_right(at, file)
            except OSError:
                return False
            if not sha256:
                return False
            self._note((path,), sha256, file.etag)
        self.meter.advance(file.size)
        return True

    def _from_store(self, file: File) -> Came | None:
        """The file out of the store, once the mirror has said that this caller may have it."""
        if self.shelf is None or not self.shelf.has(file):
            return None
        if file.restricted and not self._admitted(file):
            return None
        came = self.shelf.take(file)
        if came is not None:
            self.meter.advance(came.size)
        return came

    def _admitted(self, file: File) -> bool:
        """Whether the mirror gives this caller files of the repo: who reads one reads all of a revision.

        Asked once for each, by a head of a file of it. Raises `MirrorError` where it refuses.
        """
        repo, _, rest = file.source.partition("/resolve/")
        revision = (repo, rest.partition("/")[0])
        if revision not in self._open:
            if self.endpoint.head(file.source, restricted=True).etag != file.etag:
                return False
            self._open.add(revision)
        return True

    def _unpacked(self, archive: Archive, came: Came, folder: str, what: str) -> list[str]:
        new = self.placing.fresh()
        try:
            digests = unpack(came.path, archive.packing, new, what, topless=archive.topless)
            with self._noting:
                self.placing.folder(new, folder, digests, self.manifest)
        finally:
            shutil.rmtree(new, ignore_errors=True)
        for name, digest in digests.items():
            self._note((f"{folder}/{name}",), digest)
        return [f"{folder}/{name}" for name in digests]

    def _note(self, paths: Sequence[str], sha256: str, etag: str = "") -> None:
        with self._noting:
            for path in paths:
                self.manifest.note(path, sha256, etag)
            if time.monotonic() - self._saved > SAVE_EVERY:
                self.save()

    @contextmanager
    def _alone(self, path: str) -> Iterator[None]:
        """One thread at a time for what goes to *path*: two targets may need it."""
        with self._noting:
            lock = self._busy.setdefault(path, threading.Lock())
        with lock:
            yield
