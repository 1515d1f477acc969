"""A whole bundle made known: bytes first, then their names, then what upstream said, at last who may read it.

Every step may be done again, and whoever may read a repo is written down last: a crash in the middle leaves
what nobody is shown, and the next start does the rest (`finish`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from mirror.bundle.adoptaddresses import FIRST_USE
from mirror.bundle.adoptreport import Undecided
from mirror.bundle.bundlemanifest import MANIFEST, Audience, BundledRepo, Manifest, Member
from mirror.bundle.bundlestage import Stage, Staged, stages
from mirror.bundle.bundletar import BundleError
from mirror.bundle.parts import Asked, Parts, earlier
from mirror.digest import SHA256, Digest
from mirror.errors import MirrorError, QuestionError
from mirror.events import Alarm
from mirror.index.lines import Line, Link, Note, decode
from mirror.index.records import read_record
from mirror.messages import RequestHead
from mirror.names import Alias, Entries, Fact, Ref, Reply, Repo, Visibility
from mirror.patterns import RepoPattern, spell

SERIES: Final = "bundle"
"""The kind of a note: the last bundle of a series that was imported."""

_BATCH: Final = 64


def publish(
    parts: Parts, stage: Stage, options: Mapping[str, Any], advance: Callable[[int], None]
) -> Mapping[str, Any]:
    """Publish what *stage* has, which is whole; says what became of it. *advance* hears of blobs.

    Raises `StoreError` when the disk refuses; to be done again then.
    """
    manifest = stage.manifest()
    _blobs(parts, stage, manifest, advance)
    small = stage.small(manifest)
    notes: list[str] = []
    lines = [line for line in map(decode, next(small).splitlines()) if not _unknown(line)]
    links = _links(parts, [line for line in lines if isinstance(line, Link)], notes)
    if links:
        parts.arrears.link(links)
        parts.catalog.stored([], links).result()
    refs = _records(parts, small)
    refused = _asked(parts, manifest) if options.get("ask") else set[Repo]()
    now = parts.clock.wall()
    facts: list[Ref | Alias | Visibility] = [*refs, *_aliases(parts, lines)]
    facts += [
        seen
        for item in manifest.repos
        if item.repo not in refused and (seen := _seen(parts, item, now)) is not None
    ]
    noted = parts.arrears.notes(FIRST_USE)
    said: list[Line] = [
        line for line in lines if isinstance(line, Note) and line.subject not in noted
    ]
    last = {"serial": manifest.serial, "bundle": stage.identity, "at": now}
    parts.arrears.append([*said, *facts, Note(SERIES, manifest.series, last)])
    parts.catalog.record(list[Fact](facts)).result()
    for pattern, readers in options.get("grants", ()):
        parts.grants.give(RepoPattern.parse(pattern), readers)
    if not parts.arrears.trouble:
        stage.remove()
    return {
        **manifest.summary(stage.identity, str(options.get("signer", ""))),
        "undecided": [
            {"repo": item.repo, "why": item.why, "line": item.line}
            for item in _undecided(parts, manifest)
        ],
        "notes": notes,
    }


def finish(parts: Parts) -> None:
    """Publish what a crash came before; to be called before anybody is served."""
    for stage in stages(parts.layout):
        options = stage.committed()
        if options is None:
            continue
        if not (stage.folder / MANIFEST).exists():
            stage.remove()  # It was published; the crash came while it was cleared away.
            continue
        try:
            publish(parts, stage, {**options, "ask": False}, _unheard)
        except (MirrorError, OSError) as error:
            said = f"The bundle {stage.identity} could not be published: {error}"
            parts.observe(Alarm("bundle", said))


# ── bytes and names ────────────────────────────────────────────────────────────────────────────


def _blobs(parts: Parts, stage: Stage, manifest: Manifest, advance: Callable[[int], None]) -> None:
    for start in range(0, len(manifest.blobs), _BATCH):
        batch = manifest.blobs[start : start + _BATCH]
        staged = list[Staged]()
        try:
            staged += [stage.open(blob) for blob in batch if stage.has(blob)]
            blobs = parts.store.put(staged)
        finally:
            for one in staged:
                one.close()
        here = {blob.digest.hex for blob in blobs}
        gone = [blob for blob in batch if blob.hex not in here and not _stored(parts, blob)]
        if gone:
            raise BundleError(f"{gone[0].blob} went away meanwhile.", hint="Import it again.")
        pairs = [(Digest(SHA256, blob.hex), blob.size) for blob in batch]
        parts.catalog.stored(pairs).result()
        advance(len(batch))


def _stored(parts: Parts, blob: Member) -> bool:
    return parts.store.find(Digest(SHA256, blob.hex)) is not None


def _links(parts: Parts, lines: Sequence[Link], notes: list[str]) -> list[tuple[Digest, Digest]]:
    """The names that are new; the first word that was heard of one stands."""
    new = []
    for line in lines:
        known = parts.catalog.sha256_of(line.name)
        if known is None:
            new.append((line.name, line.sha256))
        elif known != line.sha256:
            notes.append(f"{line.name} is known here as {known}, not as {line.sha256}: that stays.")
    return new


def _records(parts: Parts, small: Iterator[bytes]) -> list[Ref]:
    """Record what upstream said; returns the refs, which are news where nothing later is known."""
    now = parts.clock.wall()
    refs: list[Ref] = []
    for data in small:
        record = read_record(data)
        if isinstance(record, Reply):
            known = parts.catalog.reply(record.key)
            if known is None or known.seen_at < record.seen_at:
                parts.catalog.record([record]).result()
                parts.arrears.save_reply(record)
        elif record is not None:
            head = record.snapshot
            pages = Entries(head.repo, head.commit, record.entries, record.absent)
            parts.catalog.record([pages, head]).result()
            parts.arrears.save(head.repo, head.commit)
            refs += [
                Ref(ref.repo, ref.revision, ref.commit, earlier(ref.seen_at, now))
                for ref in record.refs
            ]
    return [ref for ref in refs if _later(parts.catalog.ref(ref.repo, ref.revision), ref)]


def _later(known: Ref | Alias | Visibility | None, told: Ref | Alias | Visibility) -> bool:
    return known is None or known.seen_at < told.seen_at


def _aliases(parts: Parts, lines: Sequence[object]) -> list[Alias]:
    return [
        line
        for line in lines
        if isinstance(line, Alias) and _later(parts.catalog.alias(line.asked), line)
    ]


# ── who may read it ────────────────────────────────────────────────────────────────────────────


def _seen(parts: Parts, item: BundledRepo, now: float) -> Visibility | None:
    """Who may read a repo, as the bundle says, where that is news."""
    if item.audience is Audience.UNKNOWN:
        return None
    private, gated = item.audience is Audience.PRIVATE, item.audience is Audience.GATED
    told = Visibility(item.repo, private, gated, earlier(item.seen_at, now))
    return told if _later(parts.catalog.visibility(item.repo), told) else None


def _asked(parts: Parts, manifest: Manifest) -> set[Repo]:
    """Have upstream say who may read what; returns the repos that it shows to nobody in particular."""
    hub, _ = parts.adopts
    refused = set()
    for item in manifest.repos:
        if item.repo.hub != hub.name:
            continue
        path = f"/api/{item.repo.name}/revision/main"
        try:
            question = hub.recognise(RequestHead("GET", path, "", {}, None, "http://mirror"), b"")
        except QuestionError:
            question = None
        if question is None:
            refused.add(item.repo)
            continue
        asked = parts.ask(hub, question)
        if asked is Asked.SILENT:
            break
        if asked is Asked.REFUSED and item.audience is Audience.PUBLIC:
            refused.add(item.repo)
    return refused


def _undecided(parts: Parts, manifest: Manifest) -> list[Undecided]:
    """The repos that are not public and that nobody was granted, each with the line that opens it."""
    listed = []
    granted = [RepoPattern.parse(text) for text in parts.grants.held()]
    for item in manifest.repos:
        seen = parts.catalog.visibility(item.repo)
        audience = Audience.of(seen)
        if audience is Audience.PUBLIC or any(p.matches(item.repo) for p in granted):
            continue
        unknown = audience is Audience.UNKNOWN
        why = "whether it is public is not known" if unknown else f"it is {audience.value}"
        name = spell(item.repo)
        listed.append(Undecided(name, why, f"modelmirror grant {name} everyone"))
    return listed


def _unknown(line: object) -> bool:
    return not isinstance(line, Link | Alias | Note)


def _unheard(_count: int) -> None:
    """Tell nobody."""
