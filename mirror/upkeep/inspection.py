"""The parts of a check that look at one kind of file each: names, sizes, forms; what may be known cheaply."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mirror.digest import SHA256, Digest
from mirror.index.lines import decode
from mirror.store.blobs import Blob
from mirror.store.layout import Layout
from mirror.store.sums import PIECE, Sums
from mirror.upkeep.findings import Finding, Level

# What may lie in the version folder beside what `Layout` names: SQLite's own files and the mark.
_INDEX_FILES: Final = frozenset({"-wal", "-shm", "-unfinished", "-committed"})


def folders(layout: Layout) -> Iterator[Finding]:
    """Look at the version folder: what is missing, what does not belong, who may read the secret."""
    expected = {
        layout.blobs.parent, layout.sums, layout.records, layout.partials, layout.memo,
        layout.quarantine,
    }  # fmt: skip
    for path in sorted(expected):
        if not path.is_dir() or path.is_symlink():
            yield _damage("layout", layout, path, "This folder is missing or is none.")
    files = {
        layout.journal, layout.index, layout.secret_file, layout.lock, layout.control,
        layout.running, layout.scrub, layout.stats, layout.uses,
    }  # fmt: skip
    known = {path.name for path in expected | files}
    known |= {f"{layout.index.name}{suffix}" for suffix in _INDEX_FILES}
    for path in sorted(layout.root.iterdir()):
        if path.name not in known:
            yield _note("stray", layout, path, "Nothing of the mirror has this name.")
    if layout.secret_file.exists() and layout.secret_file.stat().st_mode & 0o077:
        yield _damage("secret", layout, layout.secret_file, "Others may read it.")


def blobs(layout: Layout, held: dict[Digest, int]) -> Iterator[tuple[Finding, Digest | None]]:
    """Look at every name below ``blobs/``, its kind and its size; the sound ones go into *held*.

    Yields each finding with the blob that it is about.
    """
    for entry in layout.blob_files():
        digest, path = Digest(SHA256, entry.name), Path(entry.path)
        status = entry.stat(follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode):
            yield _damage("blob-kind", layout, path, "It is not a regular file."), digest
            continue
        held[digest] = status.st_size
        sums = layout.sums_of(digest)
        kept = Sums.read(sums, digest)
        if kept is not None and kept.size != status.st_size:
            detail = f"It has {status.st_size} bytes instead of {kept.size}."
            yield _damage("blob-size", layout, path, detail), digest
        elif kept is None and os.path.lexists(sums):
            yield _damage("sums", layout, sums, "The sums are damaged."), None
        elif kept is None and status.st_size > PIECE:
            yield _note("sums-missing", layout, sums, "They are made when it is read."), None
    for path in _unnamed(layout.blobs):
        yield _note("stray", layout, path, "No blob has this name."), None


def orphans(layout: Layout) -> Iterator[Path]:
    """The sums that no blob has."""
    for path in layout.sums.glob("??/*"):
        if not os.path.lexists(layout.blobs / path.parent.name / path.name):
            yield path


def journal(layout: Layout) -> Iterator[tuple[bytes, Finding | None]]:
    """Look at every line of the journal; yields it with what is wrong about it."""
    try:
        file = layout.journal.open("rb")
    except FileNotFoundError:
        return
    with file:
        for number, text in enumerate(file, start=1):
            if decode(text) is not None and text.endswith(b"\n"):
                yield text, None
            elif text.endswith(b"\n"):
                detail = f"Line {number} cannot be read."
                yield text, _damage("journal", layout, layout.journal, detail)
            else:
                detail = f"Line {number} was torn off by a crash; the next start cuts it."
                yield text, _note("journal-torn", layout, layout.journal, detail)


def leftovers(layout: Layout) -> Iterator[Finding]:
    """Note what waits for a resume or for a sweep."""
    partials = [path for path in layout.partials.iterdir() if layout.expected_of(path)]
    if partials:
        yield _note(
            "partials", layout, layout.partials, f"{len(partials)} downloads are half here."
        )
    aside = sum(1 for _ in layout.quarantine.iterdir())
    if aside:
        yield _note("quarantine", layout, layout.quarantine, f"{aside} files were set aside.")


def blob_damage(layout: Layout, blob: Blob, wrong: str) -> Finding:
    """A blob whose bytes are not what its name says."""
    detail = f"{wrong[:1].upper()}{wrong[1:]}."
    return _damage("blob-data", layout, layout.blob(blob.digest), detail)


def _unnamed(folder: Path) -> Iterator[Path]:
    for fan in sorted(folder.iterdir()):
        if not fan.is_dir() or fan.is_symlink():
            yield fan
            continue
        for path in sorted(fan.iterdir()):
            name = path.name
            hexadecimal = len(name) == 64 and not name.strip("0123456789abcdef")
            if not hexadecimal or not name.startswith(fan.name) or len(fan.name) != 2:
                yield path


def _damage(kind: str, layout: Layout, path: Path, detail: str) -> Finding:
    return Finding(Level.DAMAGE, kind, str(path.relative_to(layout.root)), detail)


def _note(kind: str, layout: Layout, path: Path, detail: str) -> Finding:
    return Finding(Level.NOTE, kind, str(path.relative_to(layout.root)), detail)
