"""Each client's cache as the client itself would have written it.

Pure: where things go, from what is told of them. What each client writes is from its source; the versions
are those of `mirror.bundle.places`.
"""

import hashlib
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import quote

from mirror.bundle.places import Folder
from mirror.bundle.plan import Archive, File, Packing, Plan, safe
from mirror.digest import Digest
from mirror.targets import Kind, Target

# When TF Hub descriptors and the like say that something was downloaded: exports are the same twice.
_EPOCH: Final = "1970-01-01 00:00:00.000000"

_PREFIXES: Final = {Kind.MODEL: "models", Kind.DATASET: "datasets", Kind.SPACE: "spaces"}
_PATHS: Final = {Kind.MODEL: "", Kind.DATASET: "datasets/", Kind.SPACE: "spaces/"}


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a commit: its *path*, *size* in bytes, and the digest that its ETag is."""

    path: str
    size: int
    digest: Digest


# ── the Hub ─────────────────────────────────────────────────────────────────────────────────────────


def hub_cache(
    target: Target,
    commit: str,
    members: Sequence[Member],
    folders: Sequence[Folder],
    *,
    real: bool,
) -> Plan:
    """A repo in the Hub's cache layout (huggingface_hub, ``file_download.py``), in each of *folders*.

    Blobs lie in the first of them, links in all. With *real* there are no blobs and no links: snapshots
    hold the files themselves, which every client reads too.
    """
    repo = f"{_PREFIXES[target.kind]}--{target.name.replace('/', '--')}"
    snapshots = [posixpath.join(folder.path, repo, "snapshots", commit) for folder in folders]
    blobs = posixpath.join(folders[0].path, repo, "blobs")
    links: dict[str, str] = {}
    places: dict[Digest, list[str]] = {}
    first: dict[Digest, Member] = {}
    for member in members:
        path = safe(member.path, str(target))
        first.setdefault(member.digest, member)
        names = [f"{snapshot}/{path}" for snapshot in snapshots]
        if real:
            places.setdefault(member.digest, []).extend(names)
            continue
        blob = f"{blobs}/{member.digest.hex}"
        places[member.digest] = [blob]
        links.update({name: posixpath.relpath(blob, posixpath.dirname(name)) for name in names})
    files = tuple(
        _member(target, commit, first[digest], tuple(paths)) for digest, paths in places.items()
    )
    made = {}
    revision = target.revision or "main"
    if revision != commit:
        for folder in folders:
            made[posixpath.join(folder.path, repo, "refs", safe(revision, str(target)))] = (
                commit.encode()
            )
    return Plan(files=files, links=links, made=made, environment=_environment(folders))


def with_version(plan: Plan, folder: Folder) -> Plan:
    """*plan* with the file by which transformers 4 knows that its own cache is of the Hub's layout.

    Without it transformers says that the cache is an old one, and tries to move it (``utils/hub.py``).
    """
    path = posixpath.join(folder.path, "version.txt")
    return replace(plan, made={**plan.made, path: b"1"}, seeds=plan.seeds | {path})


def flat(
    target: Target, commit: str, members: Sequence[Member], folder: str, name: str = ""
) -> Plan:
    """A repo as a plain folder of its files, as ``local_dir`` and older clients have it.

    *name* is what its only member is to be called there.
    """
    files = [
        _member(
            target,
            commit,
            member,
            (posixpath.join(folder, safe(name or member.path, str(target))),),
        )
        for member in members
    ]
    return Plan(files=tuple(files))


def _member(target: Target, commit: str, member: Member, paths: tuple[str, ...]) -> File:
    return File(
        source=f"/{_PATHS[target.kind]}{target.name}/resolve/{commit}/{quote(member.path)}",
        paths=paths,
        size=member.size,
        digest=member.digest,
        etag=member.digest.hex,
        restricted=True,
    )


# ── one file ────────────────────────────────────────────────────────────────────────────────────────


def one_file(file: File, name: str, folder: Folder, *, below: str = "") -> Plan:
    """*file* under *name*, in *below* of *folder*: Whisper, checkpoints, Keras, wheels."""
    path = posixpath.join(folder.path, below, safe(name, file.source))
    return Plan(files=(replace(file, paths=(path,)),), environment=_environment((folder,)))


def tiktoken_name(url: str) -> str:
    """What tiktoken calls the file from *url*: the sha1 of the address (``tiktoken/load.py``)."""
    return _sha1(url)


# ── folders that are unpacked ───────────────────────────────────────────────────────────────────────


def torchhub(target: Target, ref: str, source: str, folder: Folder) -> Plan:
    """A repository as torch.hub unpacks it (``_get_cache_or_reload``).

    The list of those that are trusted is made if there is none: on a read-only disk torch.hub fails where
    it cannot make it. A repository that is in the cache is trusted by being there.
    """
    owner_repo = target.name.replace("/", "_")
    name = f"{owner_repo}_{ref.replace('/', '_')}"
    trusted = posixpath.join(folder.path, "trusted_list")
    archive = Archive(
        source=source,
        packing=Packing.ZIP,
        folders=(posixpath.join(folder.path, safe(name, str(target))),),
        topless=True,
    )
    return Plan(
        archives=(archive,),
        made={trusted: b""},
        seeds=frozenset({trusted}),
        environment=_environment((folder,)),
    )


def tfhub(handles: Sequence[str], source: str, folder: Folder) -> Plan:
    """A model under each of its *handles*: a folder named by the sha1 of the handle, and a descriptor.

    A handle is a name of its own to the client, slash for slash. All but the first are links.
    """
    names = [posixpath.join(folder.path, _sha1(handle)) for handle in handles]
    made = {
        f"{name}.descriptor.txt": (
            f"Module: {handle}\nDownload Time: {_EPOCH}\nDownloader Hostname: modelmirror (PID:0)"
        ).encode()
        for name, handle in zip(names, handles, strict=True)
    }
    return Plan(
        archives=(Archive(source=source, packing=Packing.TAR, folders=(names[0],)),),
        made=made,
        links={name: posixpath.basename(names[0]) for name in names[1:]},
        environment=_environment((folder,)),
    )


def kaggle(target: Target, files: Mapping[str, str], archive: str, folder: Folder) -> Plan:
    """A version of a model as kagglehub keeps it, with the marker that it is whole (``cache.py``).

    *files* are sources by name; where there are none *archive* is the source of all of them in one. A
    *folder* that no variable names holds the files and nothing else.
    """
    at = posixpath.join(folder.path, target.name) if folder.variable else folder.path
    return Plan(
        files=tuple(
            File(source=source, paths=(posixpath.join(at, safe(name, str(target))),))
            for name, source in files.items()
        ),
        archives=() if files else (Archive(source=archive, packing=Packing.TAR, folders=(at,)),),
        made={f"{at}.complete": b""} if folder.variable else {},
        environment=_environment((folder,)),
    )


@dataclass(frozen=True, slots=True)
class Package:
    """A package of NLTK's data: its *path* (``tokenizers/punkt.zip``), and whether it is *unpacked*."""

    source: str
    path: str
    unpacked: bool
    digest: Digest | None


def nltk(packages: Sequence[Package], folder: Folder) -> Plan:
    """Packages of NLTK's data as its downloader leaves them: the archive, and what was in it."""
    files, archives = [], []
    for package in packages:
        at = posixpath.join(folder.path, safe(package.path, "NLTK's index"))
        if package.unpacked and at.endswith(".zip"):
            archives.append(
                Archive(
                    source=package.source,
                    packing=Packing.ZIP,
                    folders=(at.removesuffix(".zip"),),
                    topless=True,
                    kept=at,
                    digest=package.digest,
                )
            )
        else:
            files.append(File(source=package.source, paths=(at,), digest=package.digest))
    return Plan(files=tuple(files), archives=tuple(archives), environment=_environment((folder,)))


def unpacked(source: str, packing: Packing, folder: str) -> Plan:
    """An archive in a folder of one's own, for those who load by path."""
    topless = packing is Packing.ZIP
    archive = Archive(source=source, packing=packing, folders=(folder,), topless=topless)
    return Plan(archives=(archive,))


def _environment(folders: Sequence[Folder]) -> dict[str, str]:
    return {folder.variable: folder.value or "." for folder in folders if folder.variable}


def _sha1(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
