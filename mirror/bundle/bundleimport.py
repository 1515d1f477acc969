"""A bundle taken in: believed, gathered, verified to its last byte, and only then published.

Signature before content, manifest before members, and every member what the manifest says. Until all of it is
there nothing outside its stage has changed; what was verified stays there for the next try.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mirror.bundle import bundletar
from mirror.bundle.adoptaddresses import FIRST_USE
from mirror.bundle.bundlemanifest import (
    JOURNAL,
    LARGEST_MANIFEST,
    LARGEST_SIGNATURE,
    MANIFEST,
    SIGNATURE,
    Manifest,
    Member,
    identity,
)
from mirror.bundle.bundleparts import AnySource, opened
from mirror.bundle.bundleparts import Parts as FileParts
from mirror.bundle.bundlepublish import SERIES, publish
from mirror.bundle.bundlesigning import check
from mirror.bundle.bundlestage import AGAIN, SMALL, Stage, changed, git_names
from mirror.bundle.bundletar import BundleError
from mirror.bundle.jobs import Watch
from mirror.bundle.parts import Parts
from mirror.digest import SHA256, Digest, Hasher
from mirror.index.lines import Line, Link, Note, decode
from mirror.index.records import SnapshotRecord, read_record
from mirror.names import Alias, Reply, Repo
from mirror.store import durable


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportWanted:
    """What the operator wants.

    *signers* are those whose signatures are believed (ssh-keygen(1), "ALLOWED SIGNERS"). With *unsigned* a
    bundle without a believed signature is taken, with *rollback* one that is older than the last. *grants*
    are patterns with readers; with *ask* upstream is asked who may read what; with *dry_run* it ends before
    the first member.
    """

    signers: Path | None = None
    unsigned: bool = False
    rollback: bool = False
    ask: bool = True
    dry_run: bool = False
    grants: tuple[tuple[str, tuple[str, ...]], ...] = ()


class Import:
    """One run; *hold* is told which blobs must stay, *watch* how far it is."""

    def __init__(
        self,
        parts: Parts,
        wanted: ImportWanted,
        watch: Watch,
        hold: Callable[[frozenset[Digest]], None],
    ) -> None:
        self._parts = parts
        self._wanted = wanted
        self._watch = watch
        self._hold = hold

    def run(self, paths: Sequence[Path]) -> Mapping[str, Any]:
        """Import the bundle in *paths*, and say what became of it.

        Raises `BundleError` for one that is refused, `StoreError` when the disk refuses; nothing of it can be
        seen then.
        """
        source = opened(paths)
        try:
            return self._import(source)
        except BundleError as error:
            blame = source.blame()
            hint = AGAIN if blame else error.hint
            said = " ".join(filter(None, ("The bundle is refused.", blame, error.message)))
            raise BundleError(said, hint=hint) from error
        finally:
            source.close()

    def _import(self, source: AnySource) -> Mapping[str, Any]:
        size = bundletar.read_header(source, MANIFEST, LARGEST_MANIFEST)
        data = source.read(size)
        bundletar.pad(source, size)
        signature, block = _signature(source)
        stage = Stage(self._parts.layout, identity(data))
        self._parts.ledger.give_back(stage.begin(self._parts.clock.wall()))
        try:
            signer = self._believed(stage, data, signature)
            manifest = Manifest.decode(data)
            if isinstance(source, FileParts) and source.bundle != stage.identity:
                raise BundleError("Its parts are those of another bundle than its manifest.")
            self._in_order(manifest, stage.identity)
            lacking = self._lacking(manifest)
            if self._wanted.dry_run:
                return {**manifest.summary(stage.identity, signer), "dry_run": True}
            stage.write(MANIFEST, data)
        finally:
            stage.leave()
        self._hold(
            frozenset(Digest(SHA256, blob.hex) for blob in (*manifest.blobs, *manifest.held))
        )
        staged = sum(blob.size for blob in lacking if stage.has(blob))
        room = self._parts.ledger.reserve(sum(blob.size for blob in lacking), held=staged)
        try:
            lines = self._small(source, stage, manifest, block)
            self._blobs(source, stage, manifest, lines, room.spend)
            bundletar.finish(source)
            options = {
                "grants": [[pattern, list(readers)] for pattern, readers in self._wanted.grants],
                "ask": self._wanted.ask,
                "signer": signer,
            }
            stage.commit(options)
        except BaseException:
            room.settle(sum(blob.size for blob in lacking if stage.has(blob)))
            raise
        room.settle()
        self._watch.begin("publish", len(manifest.blobs))
        report = publish(self._parts, stage, options, self._watch.advance)
        taken = {"files": len(lacking), "bytes": sum(blob.size for blob in lacking)}
        return {**report, "taken": taken, "dry_run": False}

    # ── the manifest ───────────────────────────────────────────────────────────────────────────

    def _believed(self, stage: Stage, manifest: bytes, signature: bytes) -> str:
        """Who signed it: "" where nobody has to have. Raises `BundleError` where it is not believed."""
        signers = self._wanted.signers
        if signature and signers is not None:
            return check(manifest, signature, signers, stage.folder)
        if self._wanted.unsigned:
            return ""
        if not signature:
            raise BundleError(
                "It is not signed.",
                hint="Have it exported with --sign KEY, or take it as it is: --allow-unsigned.",
            )
        raise BundleError(
            "It is signed, and whose signatures to believe is not set here.",
            hint="Name a file of allowed signers (see ssh-keygen(1)) with --signers, or in"
            " bundle.signers; or take it as it is: --allow-unsigned.",
        )

    def _in_order(self, manifest: Manifest, own: str) -> None:
        """Refuse one that is older than the last of its series, or claims to be that one."""
        last = self._parts.arrears.notes(SERIES).get(manifest.series, {})
        serial, bundle = last.get("serial", 0), last.get("bundle")
        older = isinstance(serial, int) and manifest.serial < serial
        other = manifest.serial == serial and bundle != own
        if (older or other) and not self._wanted.rollback:
            raise BundleError(
                f"It is number {manifest.serial} of its series, and number {serial} is here already.",
                hint="Import the newest one, or take it all the same: --allow-rollback.",
            )

    def _lacking(self, manifest: Manifest) -> list[Member]:
        """The blobs that are not here yet. Raises `BundleError` where the bundle has not all of them."""
        gone = [blob for blob in manifest.held if not self._here(blob)]
        if gone:
            raise BundleError(
                f"It was made for a store that has {len(gone)} blobs which are not here"
                f" (the first: {gone[0].hex}).",
                hint="Have it exported anew, --since what `modelmirror manifest` prints here.",
            )
        return [blob for blob in manifest.blobs if not self._here(blob)]

    def _here(self, blob: Member) -> bool:
        return self._parts.store.find(Digest(SHA256, blob.hex)) is not None

    # ── the members ────────────────────────────────────────────────────────────────────────────

    def _small(
        self, source: AnySource, stage: Stage, manifest: Manifest, block: bytes
    ) -> Sequence[Line]:
        """Take journal and records, each held against the manifest and against what is known here."""
        self._watch.begin("look", 1 + len(manifest.records))
        commits = {(item.repo, c.commit) for item in manifest.repos for c in item.commits}
        lines: Sequence[Line] = ()
        path = stage.folder / f"coming-{SMALL}"
        first: bytes | None = block
        with path.open("wb") as file:
            for name, member in manifest.small():
                bundletar.expect(source, name, member.size, first)
                first = None
                data = source.read(member.size)
                bundletar.pad(source, member.size)
                if Member.of(data) != member:
                    raise changed(name)
                if name == JOURNAL:
                    lines = read_lines(data, {item.repo for item in manifest.repos})
                else:
                    self._sound(name, data, commits)
                file.write(data)
                self._watch.advance(1)
            file.flush()
            durable.publish(path, stage.folder / SMALL, fd=file.fileno())
        return lines

    def _sound(self, name: str, data: bytes, commits: set[tuple[Repo, str]]) -> None:
        """Refuse a record that is none, is not told of, or contradicts what is known of its commit."""
        record = read_record(data)
        if isinstance(record, Reply):
            if record.private or not record.lasting:
                raise BundleError(f"{name} was told to one caller alone.")
            return
        if not isinstance(record, SnapshotRecord):
            raise BundleError(f"{name} is no record that this version can read.")
        repo, commit = record.snapshot.repo, record.snapshot.commit
        if (repo, commit) not in commits:
            raise BundleError(f"{name} is of a repo that the manifest does not tell of.")
        if not any(repo.hub == hub.name for hub in self._parts.hubs):
            raise BundleError(f"{name} is of a hub that this mirror does not know.")
        for entry in record.entries:
            known = self._parts.catalog.entry(repo, commit, entry.path)
            if known is None or None in (known.digest, entry.digest):
                continue
            if known.digest != entry.digest:
                raise BundleError(
                    f"It says that {entry.path} of {repo} at {commit} is {entry.digest}; here it is"
                    f" known to be {known.digest}."
                )

    def _blobs(
        self,
        source: AnySource,
        stage: Stage,
        manifest: Manifest,
        lines: Sequence[Line],
        spend: Callable[[int], None],
    ) -> None:
        self._watch.begin("take", sum(blob.size for blob in manifest.blobs))
        names = git_names((line.name, line.sha256) for line in lines if isinstance(line, Link))

        def advance(size: int) -> None:
            spend(size)
            self._watch.advance(size)

        for blob in manifest.blobs:
            bundletar.expect(source, blob.blob, blob.size)
            here = self._here(blob)
            if here:
                self._same(blob, names.get(blob.hex))
            if here or stage.has(blob):
                source.skip(blob.size)
                self._watch.advance(blob.size)
            else:
                stage.take(source, blob, names.get(blob.hex), advance)
            bundletar.pad(source, blob.size)
        for blob in manifest.held:
            self._same(blob, names.get(blob.hex))

    def _same(self, blob: Member, name: Digest | None) -> None:
        """Refuse a git name for a stored blob that is not its own."""
        if name is None or self._parts.catalog.sha256_of(name) is not None:
            return
        hasher = Hasher(blob.size, name)
        with self._parts.layout.blob(Digest(SHA256, blob.hex)).open("rb") as file:
            while data := file.read(1 << 20):
                hasher.update(data)
        if hasher.differs() is not None:
            raise BundleError(f"{blob.blob} is not {name}, as its journal says.")


def _signature(source: AnySource) -> tuple[bytes, bytes]:
    """The signature, ``b""`` where there is none, and the header that follows it."""
    signed, block = bundletar.peek_is(source, SIGNATURE)
    if not signed:
        return b"", block
    size = bundletar.read_header(_Again(source, block), SIGNATURE, LARGEST_SIGNATURE)
    data = source.read(size)
    bundletar.pad(source, size)
    return data, source.read(bundletar.BLOCK)


class _Again:
    """A source of which one block was read already."""

    def __init__(self, source: AnySource, block: bytes) -> None:
        self._source = source
        self._block = block

    def read(self, size: int) -> bytes:
        """That block first."""
        block, self._block = self._block, b""
        return block or self._source.read(size)

    def skip(self, size: int) -> None:
        """Pass over *size* bytes."""
        self._source.skip(size)

    def end(self) -> None:
        """As the source's."""
        self._source.end()


def read_lines(data: bytes, repos: Collection[Repo]) -> Sequence[Line]:
    """The lines of a journal. Raises `BundleError` for any that a bundle of *repos* may not bring."""
    lines: list[Line] = []
    for text in data.splitlines():
        line = decode(text)
        match line:
            case Link() if line.sha256.algorithm == SHA256 and line.name.algorithm != SHA256:
                lines.append(line)
            case Alias() if line.repo in repos:
                lines.append(line)
            case Note() if line.kind == FIRST_USE and line.value is not None:
                lines.append(line)
            case _:
                raise BundleError("Its journal has a line that no bundle may bring.")
    return lines
