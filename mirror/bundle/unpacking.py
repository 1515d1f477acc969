"""Unpacking an archive somebody else has made: files and folders that stay inside, and nothing else.

Members are read one by one and written by this module; `tarfile` and `zipfile` only say what they are.
"""

import hashlib
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from mirror.bundle.plan import Packing, safe
from mirror.errors import MirrorError
from mirror.store import durable

_PIECE: Final = 1 << 20
# More members than any model has: what has more is made to fill a disk with names.
MOST_MEMBERS: Final = 200_000


def unpack(
    archive: Path, packing: Packing, folder: Path, what: str, *, topless: bool
) -> dict[str, str]:
    """Write what is in *archive* into the new *folder*; returns the sha256 in hex of each file by its path.

    With *topless* all of it lies in one top folder, whose name is left out. *what* is told to people. Raises
    `MirrorError` for an archive that is none, has a member that leads out of it, or that is neither file nor
    folder; `StoreError` where the disk refuses. What was written is left for the caller to remove.
    """
    digests: dict[str, str] = {}
    made: set[Path] = set()
    try:
        _make(folder, made)
        tops = set()
        for name, content in _members(archive, packing, what):
            top, slash, path = name.partition("/")
            tops.add(top)
            if topless and (len(tops) > 1 or (content is not None and not slash)):
                raise MirrorError(f"The archive of {what} has more than one folder.")
            target = folder / (path if topless else name)
            _made(target if content is None else target.parent, made)
            if content is not None:
                digests[target.relative_to(folder).as_posix()] = _write(target, content)
            if len(digests) > MOST_MEMBERS:
                raise MirrorError(f"The archive of {what} has more files than any model.")
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise MirrorError(f"The archive of {what} cannot be read: {error}.") from error
    except FileExistsError as error:
        raise MirrorError(f"The archive of {what} has two members of one name.") from error
    except OSError as error:
        raise durable.disk_error(error, f"{what} cannot be unpacked into {folder}") from error
    for one in made:
        durable.sync_folder(one)
    return digests


def _members(archive: Path, packing: Packing, what: str) -> Iterator[tuple[str, IO[bytes] | None]]:
    """Each member: its path, and its content (`None` for a folder)."""
    said = f"The archive of {what}"
    if packing is Packing.ZIP:
        with zipfile.ZipFile(archive) as opened:
            for info in opened.infolist():
                path = safe(info.filename.rstrip("/"), said)
                if info.is_dir():
                    yield path, None
                    continue
                # torch.hub and NLTK write a link as a file with its target in it: so does this.
                with opened.open(info) as content:
                    yield path, content
        return
    with tarfile.open(archive) as packed:
        for member in packed:
            name = member.name.removeprefix("./").rstrip("/")
            if member.isdir():
                if name not in {"", "."}:
                    yield safe(name, said), None
            elif member.isreg():
                yield safe(name, said), packed.extractfile(member)
            else:
                raise MirrorError(f"{said} has {name!r}, which is neither a file nor a folder.")


def _made(folder: Path, made: set[Path]) -> None:
    if folder not in made:
        _made(folder.parent, made)
        _make(folder, made)


def _make(folder: Path, made: set[Path]) -> None:
    folder.mkdir()
    folder.chmod(0o755)  # whatever the umask is
    made.add(folder)


def _write(path: Path, content: IO[bytes]) -> str:
    hasher = hashlib.sha256()
    with path.open("xb") as opened:
        while piece := content.read(_PIECE):
            hasher.update(piece)
            opened.write(piece)
        opened.flush()
        durable.sync_file(opened.fileno(), path)
    path.chmod(0o644)
    return hasher.hexdigest()
