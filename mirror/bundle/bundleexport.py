"""A bundle planned: what goes into it, as a manifest and the small members, ready to be written out.

The server that has the index plans; whoever wants the bundle writes it, from the blobs themselves. In between
lies one file: manifest, journal and records, one after the other.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from mirror import __version__
from mirror.bundle.bundlemanifest import Manifest, Member
from mirror.bundle.bundleselect import (
    AddressWanted,
    RepoWanted,
    Selecting,
    Selection,
    addresses_of,
    first_uses,
    records_of,
    repos_of,
)
from mirror.bundle.bundlesent import Sent
from mirror.bundle.bundletar import BundleError
from mirror.bundle.jobs import Watch
from mirror.bundle.parts import Parts
from mirror.digest import SHA256, Digest
from mirror.index.codec import encode_reply
from mirror.index.lines import encode
from mirror.store import durable


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportWanted:
    """What is asked for; *everything*, or *repos* and *addresses*.

    *name* is the series. The receiver has the blobs *has*, by their sha256; where that is not told, with
    *since_last*, those that earlier bundles of the series brought it.
    """

    everything: bool = False
    repos: tuple[RepoWanted, ...] = ()
    addresses: tuple[AddressWanted, ...] = ()
    name: str = "bundle"
    has: frozenset[str] | None = None
    since_last: bool = False


@dataclass(frozen=True, slots=True)
class Planned:
    """A manifest, of *size* bytes at the start of *spool*; the other small members follow it there."""

    manifest: Manifest
    spool: Path
    size: int
    missing: int
    lacking: tuple[str, ...] = field(default=())

    @property
    def blobs(self) -> frozenset[Digest]:
        """What must stay until the bundle is written."""
        return frozenset(Digest(SHA256, member.hex) for member in self.manifest.blobs)


def plan(
    parts: Parts, wanted: ExportWanted, watch: Watch, hold: Callable[[frozenset[Digest]], None]
) -> Planned:
    """Plan a bundle; *hold* is told which blobs must not be evicted from now on, *watch* how far it is.

    Raises `BundleError` where something that was asked for is not here, or nothing is.
    """
    selecting = Selecting(parts, watch)
    asked = (wanted.repos, wanted.addresses)
    found = selecting.everything() if wanted.everything else selecting.some(*asked)
    if found.lacking:
        raise BundleError(
            " ".join(found.lacking[:10]) + (" …" if len(found.lacking) > 10 else ""),
            hint="Fetch it by way of the mirror first, or leave it out.",
        )
    if not found.blobs and not found.replies:
        raise BundleError("There is nothing here to export.", hint="Fetch something first.")
    hold(frozenset(Digest(SHA256, name) for name in found.blobs))
    first_uses(parts, found)
    return _written(parts, wanted, found)


def _written(parts: Parts, wanted: ExportWanted, found: Selection) -> Planned:
    sent = Sent(parts.layout, parts.arrears)
    has = wanted.has
    if has is None:
        has = (sent.has(wanted.name) if wanted.since_last else None) or frozenset()
    blobs = sorted(Member(name, size) for name, size in found.blobs.items())
    journal = b"".join(sorted(encode(line) for line in found.lines.values()))
    path = parts.layout.temporary()
    body = path.with_name(f"{path.name}-body")
    try:
        with _private(body) as file:
            file.write(journal)
            records = _records(parts, found, file.write)
        manifest = Manifest(
            sender=sent.sender(),
            name=wanted.name,
            serial=sent.next_serial(wanted.name),
            created=parts.clock.wall(),
            made_by=f"modelmirror {__version__}",
            repos=repos_of(parts, found),
            addresses=addresses_of(found),
            journal=Member.of(journal),
            records=tuple(records),
            blobs=tuple(member for member in blobs if member.hex not in has),
            held=tuple(member for member in blobs if member.hex in has),
        )
        data = manifest.encode()
        with _private(path) as file, body.open("rb") as rest:
            file.write(data)
            while chunk := rest.read(1 << 20):
                file.write(chunk)
    except OSError as error:
        durable.remove(path)
        raise durable.disk_error(error, "The bundle's manifest cannot be written") from error
    finally:
        durable.remove(body)
    commits = [commit for repo in manifest.repos for commit in repo.commits]
    missing = sum(commit.files - commit.here for commit in commits)
    return Planned(manifest, path, len(data), missing)


def _records(parts: Parts, found: Selection, write: Callable[[bytes], object]) -> Sequence[Member]:
    """Write every record of *found* down; returns what they are, each once."""
    written: dict[str, Member] = {}

    def put(data: bytes) -> None:
        member = Member.of(data)
        if member.hex not in written:
            written[member.hex] = member
            write(data)

    for _, data in records_of(parts, found):
        put(data)
    for key in sorted(found.replies):
        put(encode_reply(found.replies[key]))
    return list(written.values())


def _private(path: Path) -> BinaryIO:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o600), "wb")
