"""Commits of Hub repos, as they were found: planned file by file, held against what is known of them.

What upstream said counts for more than what a cache says. A file that contradicts it is refused; a
commit's list that is known already stays as it is.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from mirror.bundle.adoptplan import Conclusion, Planned, Planning, Wanted
from mirror.bundle.adoptreport import Outcome, Undecided
from mirror.bundle.found import Content, FoundCommit, FoundLoose
from mirror.bundle.foundtree import Tree
from mirror.bundle.parts import Asked, Parts, earlier, moved
from mirror.digest import Digest
from mirror.errors import QuestionError
from mirror.hubs.caches import CachedCommit, CachedFile
from mirror.messages import RequestHead
from mirror.names import (
    ADOPTED_WHOLE,
    LISTED,
    Entries,
    Entry,
    Fact,
    Ref,
    Repo,
    Snapshot,
    SnapshotState,
    adopted,
)
from mirror.patterns import spell
from mirror.store.blobs import Blob

_NOBODY: dict[str, str] = {}


class Commits:
    """Plans what is of the Hub."""

    def __init__(self, planning: Planning) -> None:
        self._planning = planning
        self._parts = planning.parts
        self._hub, self._adopts = planning.parts.adopts
        self._repos: dict[Repo, None] = {}

    def plan(self, cache: str, tree: Tree, found: FoundCommit) -> Planned | None:
        """Plan a commit; `None` where nothing of it can be taken."""
        try:
            repo = self._repo(found)
        except QuestionError as error:
            for _, content in found.files:
                self._planning.skip(cache, content, str(error))
            return None
        self._ask(found)
        repo = self._parts.canonical(repo)
        self._repos[repo] = None
        files: dict[str, tuple[Content, Wanted]] = {}
        for path, content in found.files:
            wanted = self._file(cache, repo, found, (path, content))
            if wanted is not None:
                files[path] = content, wanted
        whole = self._agrees(repo, found)

        def conclude(blobs: Mapping[str, Blob]) -> Conclusion:
            return self._conclude(repo, found, {p: c for p, (c, _) in files.items()}, blobs, whole)

        return Planned(cache, tree, [wanted for _, wanted in files.values()], conclude)

    def undecided(self) -> list[Undecided]:
        """The repos that were found and that nobody, or not everybody, may read, with the line to add."""
        listed = []
        for repo in self._repos:
            seen = self._parts.catalog.visibility(repo)
            if self._parts.grants.admits(repo) or (seen and not seen.private and not seen.gated):
                continue
            why = "whether it is public is not known"
            if seen is not None:
                why = "it is private" if seen.private else "it is gated"
            name = spell(repo)
            listed.append(Undecided(name, why, f"modelmirror grant {name} everyone"))
        return listed

    # ── one commit ─────────────────────────────────────────────────────────────────────────────

    def _repo(self, found: FoundCommit) -> Repo:
        """The repo of a commit, by its name; raises `QuestionError` for what the Hub gives nobody."""
        facts = self._adopts.adopt(CachedCommit(found.kind, found.name, found.commit, (), 0.0))
        return next(fact.repo for fact in facts if isinstance(fact, Snapshot))

    def _ask(self, found: FoundCommit) -> None:
        """Have upstream say who may see the repo, and what the commit has."""
        for target in (f"tree/{found.commit}", "revision/main"):
            if not self._planning.asks:
                return
            path = f"/api/{found.kind}/{found.name}/{target}"
            head = RequestHead("GET", path, "recursive=true", _NOBODY, None, "http://mirror")
            question = self._hub.recognise(head, b"")
            if question is None:
                return
            asked = self._parts.ask(self._hub, question)
            self._planning.silent = asked is Asked.SILENT
            if asked is Asked.TOLD:
                return

    def _file(
        self, cache: str, repo: Repo, found: FoundCommit, file: tuple[str, Content]
    ) -> Wanted | None:
        path, content = file
        digest = content.digest
        if digest is None:
            raise TypeError("a file of a commit has a digest")
        try:
            cached = CachedFile(path, digest, content.size)
            self._adopts.adopt(CachedCommit(found.kind, found.name, found.commit, (cached,), 0.0))
        except QuestionError as error:
            self._planning.skip(cache, content, str(error))
            return None
        entry = self._entry(repo, found.commit, path)
        if entry is None and self._lists(repo, found.commit):
            self._planning.refuse(cache, content, f"{spell(repo)} has no {path} at that commit.")
            return None
        if entry is not None and entry.digest not in (None, digest):
            why = f"{path} of {spell(repo)} is known to be {entry.digest}, not {digest}."
            self._planning.refuse(cache, content, why)
            return None
        # What is here already need not be read again, if this very file was what brought it.
        known = entry is not None and entry.digest == digest
        here = self._parts.here(digest)
        return Wanted(content, digest, Outcome.PROVEN, here=here, known=known)

    def _entry(self, repo: Repo, commit: str, path: str) -> Entry | None:
        """What upstream said of a path, else what a cache told before."""
        catalog = self._parts.catalog
        own = catalog.entry(repo, commit, path)
        return own or catalog.entry(repo, adopted(commit), path)

    def _lists(self, repo: Repo, commit: str) -> bool:
        """Whether all paths of the commit are known."""
        catalog = self._parts.catalog
        own, told = catalog.snapshot(repo, commit), catalog.snapshot(repo, adopted(commit))
        if own is not None and own.state is SnapshotState.COMPLETE:
            return True
        return told is not None and told.view == ADOPTED_WHOLE

    def _agrees(self, repo: Repo, found: FoundCommit) -> bool:
        """Whether the whole list was kept, and says nothing else than what is known already."""
        if found.listed is None:
            return False
        known = ((file, self._entry(repo, found.commit, file.path)) for file in found.listed)
        return all(entry is None or entry.digest in (None, file.digest) for file, entry in known)

    def _conclude(
        self,
        repo: Repo,
        found: FoundCommit,
        files: Mapping[str, Content],
        blobs: Mapping[str, Blob],
        whole: bool,  # noqa: FBT001 -- of this module alone
    ) -> Conclusion:
        now = self._parts.clock.wall()
        here = {
            path: CachedFile(path, content.digest, content.size)
            for path, content in files.items()
            if content.source in blobs and content.digest is not None
        }
        listed = (found.listed or ()) if whole else ()
        others = [replace(file, here=False) for file in listed if file.path not in here]
        told = CachedCommit(
            found.kind,
            found.name,
            found.commit,
            (*here.values(), *others),
            earlier(found.seen_at, now),
            whole=whole,
            absent=tuple(path for path in found.absent if self._sound(found, absent=path)),
            refs=tuple(
                (revision, earlier(seen_at, now))
                for revision, seen_at in found.refs
                if self._sound(found, revision=revision)
            ),
        )
        facts = moved(self._adopts.adopt(told), repo)
        own = self._parts.catalog.snapshot(repo, found.commit)
        if own is not None and own.state is SnapshotState.COMPLETE:
            facts = [fact for fact in facts if isinstance(fact, Ref)]
        news = [new for fact in facts for new in _news(self._parts, fact)]
        more = any(isinstance(fact, (Snapshot, Entries)) for fact in news)
        return Conclusion(
            facts=news,
            lines=[fact for fact in news if isinstance(fact, Ref)],
            commit=(repo, adopted(found.commit)) if more else None,
        )

    def _sound(self, found: FoundCommit, *, absent: str = "", revision: str = "") -> bool:
        """Whether a name that a cache has is one that the Hub could have."""
        told = CachedCommit(found.kind, found.name, found.commit, (), 0.0)
        if absent:
            told = replace(told, absent=(absent,))
        if revision:
            told = replace(told, refs=((revision, 0.0),))
        try:
            self._adopts.adopt(told)
        except QuestionError:
            return False
        return True


def _news(parts: Parts, fact: Fact) -> list[Fact]:
    """What of *fact* is not known yet: a file that is here stays, and so does a list that is whole."""
    catalog = parts.catalog
    match fact:
        case Ref():
            ref = catalog.ref(fact.repo, fact.revision)
            return [fact] if ref is None or ref.seen_at < fact.seen_at else []
        case Snapshot():
            known = catalog.snapshot(fact.repo, fact.commit)
            return [fact] if known is None or known.view != ADOPTED_WHOLE else []
        case Entries():
            new = []
            for entry in fact.entries:
                before = catalog.entry(fact.repo, fact.commit, entry.path)
                if before is None or (before.kind == LISTED and entry.kind != LISTED):
                    new.append(entry)
            if not new and not fact.absent and catalog.snapshot(fact.repo, fact.commit):
                return []
            return [replace(fact, entries=tuple(new))]
        case _:
            return [fact]


class Loose:
    """Plans files of Hub repos that no commit is told of: they are named by what they are alone.

    They are served as soon as the Hub's list of their repo names them.
    """

    def __init__(self, planning: Planning) -> None:
        self._planning = planning
        self._parts = planning.parts
        self._hub, _ = planning.parts.adopts
        self._asked: set[str] = set()

    def plan(self, cache: str, tree: Tree, found: FoundLoose) -> Planned | None:
        """Plan one file."""
        content = found.content
        if found.repo:
            self._ask(found.repo)
        here = self._parts.here(content.digest)
        outcome = Outcome.UNVERIFIED if content.digest is None else Outcome.PROVEN
        wanted = Wanted(content, content.digest, outcome, here=here, loose=content.digest is None)
        return Planned(
            cache,
            tree,
            [wanted],
            lambda _blobs: Conclusion(),
            partial(self._proves, found.repo) if found.repo else None,
        )

    def _proves(self, name: str, digests: tuple[Digest, ...]) -> bool:
        """Whether a list of the repo *name* that is known has a file of one of *digests*."""
        repo = self._parts.canonical(Repo(self._hub.name, name))
        catalog = self._parts.catalog
        return any(catalog.by_digest(repo, digest.hex) is not None for digest in digests)

    def _ask(self, repo: str) -> None:
        if repo in self._asked or not self._planning.asks:
            return
        self._asked.add(repo)
        head = RequestHead("GET", f"/api/{repo}/tree/main", "recursive=true", _NOBODY, None, "")
        try:
            question = self._hub.recognise(head, b"")
        except QuestionError:
            return
        if question is not None:
            asked = self._parts.ask(self._hub, question)
            self._planning.silent = asked is Asked.SILENT
