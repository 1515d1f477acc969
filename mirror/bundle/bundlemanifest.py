"""The manifest of a bundle: what is in it, and the digest of every byte of it; docs/bundle-format.md.

Who signs the manifest signs all of the bundle. It is read as plain data, field by field: it may come from
anybody until its signature was held against it.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Self

from mirror.bundle.bundletar import BundleError, room
from mirror.index.codec import moment, typed
from mirror.names import Repo, Visibility
from mirror.patterns import spell

FORMAT: Final = "modelmirror-bundle"
VERSION: Final = 1
HAS_FORMAT: Final = "modelmirror-manifest"
MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "manifest.json.sig"
JOURNAL: Final = "journal.jsonl"

# A manifest has some 90 bytes for each blob: enough for three million of them.
LARGEST_MANIFEST: Final = 256 << 20
LARGEST_SIGNATURE: Final = 64 << 10
# A record of 1 000 000 paths has 300 MB, a journal of as many links 160 MB.
LARGEST_RECORD: Final = 1 << 30
LARGEST_BLOB: Final = 1 << 50

_HEX: Final = re.compile(r"[0-9a-f]{64}\Z")
_SENDER: Final = re.compile(r"[0-9a-f]{32}\Z")
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_COMMIT: Final = re.compile(r"~?[0-9a-f]{40}\Z")
_LONGEST: Final = 1024


class Audience(StrEnum):
    """Who could read a repo when the bundle was made, as the hub had said last."""

    PUBLIC = "public"
    GATED = "gated"
    PRIVATE = "private"
    UNKNOWN = "unknown"

    @classmethod
    def of(cls, seen: Visibility | None) -> Self:
        """What *seen* says."""
        if seen is None:
            return cls("unknown")
        return cls("private" if seen.private else "gated" if seen.gated else "public")


@dataclass(frozen=True, slots=True, order=True)
class Member:
    """A member, or a blob that is needed: its sha256 in hexadecimal and its size in bytes."""

    hex: str
    size: int

    @classmethod
    def of(cls, data: bytes) -> Self:
        """That of *data*."""
        return cls(hashlib.sha256(data).hexdigest(), len(data))

    @property
    def record(self) -> str:
        """What it is called as a record."""
        return f"records/{self.hex[:2]}/{self.hex}.json"

    @property
    def blob(self) -> str:
        """What it is called as a blob."""
        return f"blobs/sha256/{self.hex[:2]}/{self.hex}"

    def __str__(self) -> str:
        return f"{self.hex} {self.size}"

    @classmethod
    def parse(cls, text: Any, largest: int) -> Self:
        """Read it back; raises `ValueError`."""
        digest, _, size = typed(str, text).partition(" ")
        number = int(size) if size.isascii() and size.isdigit() else -1
        if not _HEX.match(digest) or not 0 <= number <= largest:
            raise ValueError(f"{text!r} names no member")
        return cls(digest, number)


@dataclass(frozen=True, slots=True)
class BundledCommit:
    """What is there of one commit: so many of its *files*, *here* of them with *size* bytes."""

    commit: str
    files: int
    here: int
    size: int


@dataclass(frozen=True, slots=True)
class BundledRepo:
    """A repo, who could read it when that was *seen_at* (seconds since the epoch), and its commits."""

    repo: Repo
    audience: Audience
    seen_at: float
    commits: tuple[BundledCommit, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """All of it.

    *sender* is the store that it comes from, *name* the series that it is one of, and *serial* grows within
    it. *addresses* are those of other hosts. *held* are blobs that are needed and not in the bundle: the
    receiver was said to have them.
    """

    sender: str
    name: str
    serial: int
    created: float
    made_by: str
    repos: tuple[BundledRepo, ...]
    addresses: tuple[str, ...]
    journal: Member
    records: tuple[Member, ...]
    blobs: tuple[Member, ...]
    held: tuple[Member, ...]

    @property
    def series(self) -> str:
        """What its serial is one of."""
        return f"{self.sender}/{self.name}"

    def small(self) -> Iterable[tuple[str, Member]]:
        """Journal and records, which follow the manifest and its signature."""
        yield JOURNAL, self.journal
        for record in self.records:
            yield record.record, record

    def members(self) -> Iterable[tuple[str, Member]]:
        """What follows the manifest and its signature, in order."""
        yield from self.small()
        for blob in self.blobs:
            yield blob.blob, blob

    def length(self, manifest: int, signature: int) -> int:
        """How many bytes the whole bundle has, with a manifest and a signature of so many (0: unsigned)."""
        fixed = room(manifest) + (room(signature) if signature else 0) + 1024
        return fixed + sum(room(member.size) for _, member in self.members())

    def encode(self) -> bytes:
        """Its bytes: JSON, keys in order, one value a line."""
        form = {
            "format": FORMAT,
            "version": VERSION,
            "sender": self.sender,
            "name": self.name,
            "serial": self.serial,
            "created": self.created,
            "made_by": self.made_by,
            "repos": [
                {
                    "hub": item.repo.hub,
                    "repo": item.repo.name,
                    "audience": item.audience.value,
                    "seen_at": item.seen_at,
                    "commits": [
                        {"commit": c.commit, "files": c.files, "here": c.here, "bytes": c.size}
                        for c in item.commits
                    ],
                }
                for item in self.repos
            ],
            "addresses": list(self.addresses),
            "journal": str(self.journal),
            "records": [str(member) for member in self.records],
            "blobs": [str(member) for member in self.blobs],
            "held": [str(member) for member in self.held],
        }
        return json.dumps(form, indent=0, sort_keys=True).encode("ascii") + b"\n"

    def summary(self, bundle: str, signer: str) -> dict[str, Any]:
        """What is told of it, known as *bundle* and signed by *signer*; JSON-ready."""
        size = sum(blob.size for blob in self.blobs)
        return {
            "bundle": bundle,
            "series": self.series,
            "serial": self.serial,
            "signer": signer,
            "blobs": {"files": len(self.blobs), "bytes": size},
            "repos": [
                {"repo": spell(item.repo), "audience": item.audience.value} for item in self.repos
            ],
            "addresses": len(self.addresses),
        }

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read it back; raises `BundleError` for anything else, also of a later version."""
        try:
            form = typed(dict, json.loads(data))
            if form["format"] != FORMAT:
                raise BundleError("That is no bundle of modelmirror.")
            if form["version"] != VERSION:
                raise BundleError(
                    f"The bundle is of version {form['version']!r}, which this modelmirror does not know.",
                    hint="Import it with the version that made it, or a later one.",
                )
            found = cls._of(form)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise BundleError(f"Its manifest cannot be read: {error}.") from error
        if len(set(found.records)) != len(found.records) or found.repeats():
            raise BundleError("Its manifest names a member twice.")
        return found

    def repeats(self) -> bool:
        """Whether a blob is named twice."""
        names = [member.hex for member in (*self.blobs, *self.held)]
        return len(set(names)) != len(names)

    @classmethod
    def _of(cls, form: Mapping[str, Any]) -> Self:
        sender, name, serial = (form[key] for key in ("sender", "name", "serial"))
        if not _SENDER.match(sender) or not NAME.match(name) or typed(int, serial) < 1:
            raise ValueError("it names no series")
        return cls(
            sender=sender,
            name=name,
            serial=serial,
            created=moment(form["created"]),
            made_by=_short(form["made_by"]),
            repos=tuple(_repo(item) for item in typed(list, form["repos"])),
            addresses=tuple(_short(item) for item in typed(list, form["addresses"])),
            journal=Member.parse(form["journal"], LARGEST_RECORD),
            records=_members(form["records"], LARGEST_RECORD),
            blobs=_members(form["blobs"], LARGEST_BLOB),
            held=_members(form["held"], LARGEST_BLOB),
        )


def read_has(data: bytes) -> frozenset[str]:
    """The blobs that a receiver has: by what ``modelmirror manifest`` printed, or a bundle's manifest.

    Raises `BundleError` for anything else.
    """
    try:
        form = typed(dict, json.loads(data))
        if form.get("format") == FORMAT:
            manifest = Manifest.decode(data)
            return frozenset(member.hex for member in (*manifest.blobs, *manifest.held))
        known = (form["format"], form["version"]) == (HAS_FORMAT, VERSION)
        blobs = _members(form["blobs"] if known else None, LARGEST_BLOB)
        return frozenset(member.hex for member in blobs)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise BundleError(
            f"That is not what `modelmirror manifest` prints: {error}.",
            hint="Run `modelmirror manifest` where the bundle is to be imported.",
        ) from error


def write_has(blobs: Iterable[Member]) -> bytes:
    """What ``modelmirror manifest`` prints of *blobs*."""
    listed = [str(member) for member in sorted(blobs)]
    form = {"format": HAS_FORMAT, "version": VERSION, "blobs": listed}
    return json.dumps(form, indent=0, sort_keys=True).encode("ascii") + b"\n"


def identity(manifest: bytes) -> str:
    """What a bundle is known by: the sha256 of its manifest, in hexadecimal."""
    return hashlib.sha256(manifest).hexdigest()


def _members(texts: Any, largest: int) -> tuple[Member, ...]:
    return tuple(Member.parse(text, largest) for text in typed(list, texts))


def _repo(form: Any) -> BundledRepo:
    commits = []
    for item in typed(list, form["commits"]):
        numbers = [typed(int, item[key]) for key in ("files", "here", "bytes")]
        if not _COMMIT.match(item["commit"]) or min(numbers) < 0:
            raise ValueError("a commit is impossible")
        commits.append(BundledCommit(item["commit"], *numbers))
    repo = Repo(_short(form["hub"]), _short(form["repo"]))
    return BundledRepo(repo, Audience(form["audience"]), moment(form["seen_at"]), tuple(commits))


def _short(text: Any) -> str:
    if len(typed(str, text)) > _LONGEST or not text.isprintable() or not text:
        raise ValueError("a name is impossible")
    return str(text)
