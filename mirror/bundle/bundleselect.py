"""What goes into a bundle: the records, documents, links and blobs of what was asked for, where here.

An address is put to its hub as a request for it would be, and what the hub looks at on the way to its answer
is what the answer needs elsewhere, too.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

from mirror.bundle.adoptaddresses import FIRST_USE
from mirror.bundle.bundlemanifest import Audience, BundledCommit, BundledRepo
from mirror.bundle.bundletar import BundleError
from mirror.bundle.jobs import Watch
from mirror.bundle.parts import Parts
from mirror.cache.facts import Lifetimes, View
from mirror.digest import SHA256, SOURCE, Digest, source_of
from mirror.errors import MirrorError
from mirror.index.codec import decode_reply
from mirror.index.lines import Line, Link, Note
from mirror.index.records import read_record, rendered
from mirror.messages import Answer, BlobRef, Derived, RequestHead, Span
from mirror.names import Alias, Entry, Reply, Repo, adopted
from mirror.patterns import spell

_PAGE: Final = 1000
_BASE: Final = "http://mirror"


@dataclass(frozen=True, slots=True)
class RepoWanted:
    """A repo at *revision*, and which of its files: globs, as ``hf download`` has them."""

    repo: Repo
    revision: str
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def takes(self, path: str) -> bool:
        """Whether the file at *path* is meant."""
        included = not self.include or any(_matches(path, glob) for glob in self.include)
        return included and not any(_matches(path, glob) for glob in self.exclude)


@dataclass(frozen=True, slots=True)
class AddressWanted:
    """What the mirror serves at *path* with *query*, to a request with the body *post*."""

    path: str
    query: str = ""
    post: bytes = b""


@dataclass(slots=True)
class Selection:
    """What was found; *lacking* says what was asked for and is not here, in sentences."""

    repos: dict[Repo, list[BundledCommit]] = field(default_factory=dict)
    commits: dict[tuple[Repo, str], None] = field(default_factory=dict)
    replies: dict[str, Reply] = field(default_factory=dict)
    blobs: dict[str, int] = field(default_factory=dict)
    lines: dict[object, Line] = field(default_factory=dict)
    lacking: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Watched(View):
    """A view that remembers which answers of upstream were looked at."""

    looked_at: dict[str, Reply] = field(default_factory=dict)

    def reply(self, key: str) -> Reply | None:
        found = View.reply(self, key)
        if found is not None:
            self.looked_at[key] = found
        return found


class Selecting:
    """Looks through the store and the index of *parts*; *watch* hears of each thing, and may raise."""

    def __init__(self, parts: Parts, watch: Watch) -> None:
        self._parts = parts
        self._watch = watch
        self._found = Selection()
        self._aliases = {
            line.asked: line for line in parts.arrears.lines() if isinstance(line, Alias)
        }

    def everything(self) -> Selection:
        """All that is here."""
        parts, found = self._parts, self._found
        paths = sorted(parts.layout.records.glob("??/*.json"))
        self._watch.begin("look", len(paths))
        for path in paths:
            self._watch.advance(1)
            record = read_record(path.read_bytes())
            if isinstance(record, Reply):
                self._keep_reply(record)
            elif record is not None:
                self._commit(RepoWanted(record.snapshot.repo, ""), record.snapshot.commit)
        for row in parts.catalog.repos(public_only=False):
            for ref in parts.catalog.refs(row.repo):
                self._commit(RepoWanted(row.repo, ""), ref.commit)
        for blob in parts.store.walk():
            found.blobs[blob.digest.hex] = blob.size
        for line in parts.arrears.lines():
            match line:
                case Link() if line.sha256.hex in found.blobs:
                    found.lines[line.name] = line
                case Alias() if line.repo in found.repos:
                    found.lines[line.asked] = line
                case Note() if line.kind == FIRST_USE:
                    found.lines[line.subject] = line
        return found

    def some(self, repos: Sequence[RepoWanted], addresses: Sequence[AddressWanted]) -> Selection:
        """What *repos* and *addresses* need."""
        self._watch.begin("look", len(repos) + len(addresses))
        for wanted in repos:
            self._repo(wanted)
            self._watch.advance(1)
        for address in addresses:
            self._address(address)
            self._watch.advance(1)
        self._documents()
        return self._found

    # ── the Hub ────────────────────────────────────────────────────────────────────────────────

    def _repo(self, wanted: RepoWanted) -> None:
        asked, catalog = wanted.repo, self._parts.catalog
        repo = self._parts.canonical(asked)
        alias = self._aliases.get(asked)
        if alias is not None:
            self._found.lines[asked] = alias
        wanted = RepoWanted(repo, wanted.revision, wanted.include, wanted.exclude)
        ref = catalog.ref(repo, wanted.revision)
        commit = wanted.revision if ref is None else ref.commit
        before = len(self._found.commits)
        self._commit(wanted, commit)
        self._commit(wanted, adopted(commit))
        if len(self._found.commits) == before:
            self._found.lacking.append(f"{spell(asked)}@{wanted.revision} has never been here.")
        else:
            self._told(repo)

    def _told(self, repo: Repo) -> None:
        """Say if files are missing: a repo need not be here whole, but nobody shall believe it is."""
        commits = self._found.repos[repo]
        if not any(commit.here for commit in commits):  # a part of it is told by the manifest
            self._found.lacking.append(f"No file of {spell(repo)} that was asked for is here.")

    def _commit(self, wanted: RepoWanted, commit: str) -> None:
        repo, catalog, found = wanted.repo, self._parts.catalog, self._found
        if (repo, commit) in found.commits or catalog.snapshot(repo, commit) is None:
            return
        files = here = size = 0
        for entry in self._entries(repo, commit):
            if entry.digest is None or not wanted.takes(entry.path):
                continue
            files += 1
            blob = self._parts.here(entry.digest)
            if blob is not None:
                here, size = here + 1, size + blob.size
                self._blob(entry.digest)
        found.commits[repo, commit] = None
        found.repos.setdefault(repo, []).append(BundledCommit(commit, files, here, size))
        own = self._aliases.get(repo)
        if own is not None:
            found.lines[repo] = own

    def _entries(self, repo: Repo, commit: str) -> Iterator[Entry]:
        after = ""
        while True:
            page = self._parts.catalog.listing(
                repo, commit, "", recursive=True, after=after, limit=_PAGE
            )
            yield from page
            if len(page) < _PAGE:
                return
            after = page[-1].path

    def _documents(self) -> None:
        """The lasting documents about the repos that were taken: lists of refs, cards and so on."""
        prefixes = {f"/api/{repo.name}" for repo in self._found.repos}
        if not prefixes:
            return
        for path in self._parts.layout.records.glob("??/*.json"):
            reply = decode_reply(path.read_bytes())
            if reply is None:
                continue
            about = reply.key.partition(" ")[2].partition(" ")[0].partition("?")[0]
            words = about.split("/")
            names = {"/".join(words[:4]), "/".join(words[:5])}
            if about.startswith("/api/") and names & prefixes:
                self._keep_reply(reply)

    # ── other hosts ────────────────────────────────────────────────────────────────────────────

    def _address(self, wanted: AddressWanted) -> None:
        parts = self._parts
        now = parts.clock.wall()
        view = _Watched(
            parts.catalog, parts.memo, Lifetimes({}, 0.0, 0.0), "", now, now, offline=True
        )
        head = RequestHead(
            "POST" if wanted.post else "GET", wanted.path, wanted.query, {}, None, _BASE
        )
        try:
            for hub in parts.hubs:
                question = hub.recognise(head, wanted.post)
                if question is not None:
                    break
            else:
                raise BundleError(f"This mirror serves no {wanted.path}.")
            if hub.needs(question, view):
                raise BundleError(f"What is at {wanted.path} has never been here.")
            answer = hub.answer(question, view, _BASE)
        except MirrorError as error:
            self._found.lacking.append(error.message)
            return
        for reply in view.looked_at.values():
            self._keep_reply(reply)
        for names in _named(answer):
            # What is made of other content is served without it, and made again of it.
            stored = [name for name in names if self._blob(name)]
            if not stored:
                self._found.lacking.append(f"The file at {wanted.path} is not here.")

    def _keep_reply(self, reply: Reply) -> None:
        if reply.lasting and not reply.private:
            self._found.replies[reply.key] = reply

    def _blob(self, name: Digest) -> bool:
        """Take the blob that is known as *name*, with that name; tells whether it is here."""
        blob = self._parts.here(name)
        if blob is None:
            return False
        self._found.blobs[blob.digest.hex] = blob.size
        if name.algorithm != SHA256:
            self._found.lines[name] = Link(name, blob.digest)
            if name.algorithm == SOURCE:
                self._blob(source_of(str(name), "made anew"))  # as `mirror.cache.making` names it
        return True


def repos_of(parts: Parts, found: Selection) -> tuple[BundledRepo, ...]:
    """The repos of *found*, as a manifest has them."""
    listed = []
    for repo, commits in sorted(found.repos.items()):
        seen = parts.catalog.visibility(repo)
        at = 0.0 if seen is None else seen.seen_at
        listed.append(BundledRepo(repo, Audience.of(seen), at, tuple(commits)))
    return tuple(listed)


def addresses_of(found: Selection) -> tuple[str, ...]:
    """The addresses of other hosts that *found* has something of."""
    words = (key.split(" ") for key in found.replies)
    return tuple(sorted({word[1][:1000] for word in words if len(word) > 1 and "://" in word[1]}))


def first_uses(parts: Parts, found: Selection) -> None:
    """Add to *found* what is noted of the addresses in it: what was believed without proof."""
    addresses = set(addresses_of(found))
    for subject, value in parts.arrears.notes(FIRST_USE).items():
        if subject in addresses:
            found.lines[subject] = Note(FIRST_USE, subject, value)


def records_of(parts: Parts, found: Selection) -> Iterator[tuple[Repo | None, bytes]]:
    """The records of *found*, one at a time."""
    for repo, commit in found.commits:
        yield repo, rendered(parts.catalog, repo, commit)


def _named(answer: Answer) -> Iterator[tuple[Digest, ...]]:
    """For each body of *answer*, the names of what it is made of; one of them has to be here."""
    for part in answer.body:
        if isinstance(part, Span):
            yield (part.blob.digest,)
    wanted: Derived | BlobRef | None = answer.derived
    names: list[Digest] = []
    while wanted is not None:
        if isinstance(wanted, BlobRef):
            names.append(wanted.digest)
            break
        names.append(wanted.name)
        if wanted.expected is not None:
            names.append(wanted.expected)
        wanted = wanted.made_of
    if names:
        yield tuple(names)


def _matches(path: str, glob: str) -> bool:
    return fnmatchcase(path, f"{glob}*" if glob.endswith("/") else glob)
