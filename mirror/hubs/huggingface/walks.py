"""What is still missing: the rounds of upstream requests that each question takes.

A walk looks at the facts and names what is not there. It is asked again after every round, so it holds
no state: admission first, then the commit, then the file list, then what only upstream can say. Nothing
is asked about admission while upstream cannot be asked and the repo is known; the refusal is then the
facts' own.
"""

from dataclasses import dataclass
from typing import Final

from mirror.hubs.base import Facts
from mirror.hubs.huggingface import asking
from mirror.hubs.huggingface.grammar import is_commit, quoted_path
from mirror.hubs.huggingface.questions import (
    AuthCheck,
    LfsBatch,
    OciManifest,
    Passed,
    PathsInfo,
    Reconstruction,
    RepoFile,
    RepoInfo,
    RepoPage,
    RepoRefs,
    RepoTree,
    StoredObject,
    XetToken,
    Xorb,
)
from mirror.messages import UpstreamRequest
from mirror.names import (
    ADOPTED,
    ADOPTED_WHOLE,
    Access,
    Entry,
    Need,
    Question,
    Repo,
    Snapshot,
    SnapshotState,
)

# The largest layer the Hub makes up for a registry client (templates, parameters, licences).
MADE_LAYER_LIMIT: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class Ground:
    """Where a question about a repo stands: what is known of its revision."""

    repo: Repo
    commit: str | None
    snapshot: Snapshot | None

    @property
    def complete(self) -> bool:
        """Whether every path of the commit is known."""
        return self.snapshot is not None and self.snapshot.state is SnapshotState.COMPLETE

    @property
    def adopted(self) -> bool:
        """Whether only a client's cache has told of the commit: nothing more of it can be had now."""
        return self.snapshot is not None and self.snapshot.view in (ADOPTED, ADOPTED_WHOLE)


def ground(question: Question, revision: str, facts: Facts) -> Ground:
    """Look up what is known of *revision* of the question's repo."""
    repo = canonical(question, facts)
    if is_commit(revision):
        commit: str | None = revision
    else:
        ref = facts.ref(repo, revision)
        commit = None if ref is None else ref.commit
    return Ground(repo, commit, None if commit is None else facts.snapshot(repo, commit))


def canonical(question: Question, facts: Facts) -> Repo:
    """Return the repo that the question is about, whatever name was used for it."""
    if question.repo is None:
        raise TypeError("this question is about no repo")
    return facts.canonical(question.repo)


def known_entry(at: Ground, path: str, facts: Facts) -> Entry | None:
    """Look up *path* where the question stands."""
    return None if at.commit is None else facts.entry(at.repo, at.commit, path)


def proved_absent(at: Ground, path: str, facts: Facts) -> bool:
    """Tell whether *path* certainly does not exist where the question stands."""
    if at.commit is None or facts.entry(at.repo, at.commit, path) is not None:
        return False
    return at.complete or facts.absent(at.repo, at.commit, path)


class Walks:
    """The walk of every kind of question.

    *ref_lifetime* is how long, in seconds, a moving document is used without asking again.
    """

    def __init__(self, ref_lifetime: float) -> None:
        self._ref_lifetime = ref_lifetime

    def needs(self, question: Question, facts: Facts) -> list[Need]:
        """Name what *question* still lacks."""
        match question:
            case RepoFile():
                return self._file(question, facts)
            case RepoInfo():
                return self._info(question, facts)
            case RepoTree() | PathsInfo():
                return self._listing(question, facts)
            case AuthCheck():
                return self._base(question, "main", facts)
            case RepoRefs() | RepoPage() | OciManifest() | Passed():
                return self._document(question, facts)
            case _:
                return self._by_content(question, facts)

    def _by_content(self, question: Question, facts: Facts) -> list[Need]:
        """Name what a question about content, or a pass to it, still lacks."""
        match question:
            case LfsBatch():
                oids = tuple(oid for oid, _ in question.objects)
                return self._objects(question, question.revision, oids, facts)
            case StoredObject():
                return self._stored(question, facts)
            case XetToken():
                return self._readers_tree(question, question.revision, facts)
            case Reconstruction():
                return self._reconstruction(question, facts)
            case Xorb():
                return self._xorb(question, facts)
            case _:
                return []

    def request_of(self, question: Question, facts: Facts) -> UpstreamRequest:
        """Write the upstream request whose reply answers *question*; its key finds the reply again."""
        match question:
            case RepoRefs():
                prs = "?include_prs=1" if question.prs else ""
                return UpstreamRequest("GET", f"/api/{canonical(question, facts).name}/refs{prs}")
            case RepoPage():
                return UpstreamRequest(
                    "GET", f"/api/{canonical(question, facts).name}{question.tail}"
                )
            case OciManifest():
                return asking.manifest_request(
                    canonical(question, facts), question.tag, question.agent
                )
            case StoredObject():
                return asking.layer_request(canonical(question, facts), question.sha256)
            case Passed():
                return UpstreamRequest("GET", question.target)
            case RepoInfo():
                at = ground(question, question.revision, facts)
                blobs = "blobs=true" if question.blobs else ""
                query = "&".join(part for part in (question.query, blobs) if part)
                return UpstreamRequest("GET", f"/api/{at.repo.name}/revision/{at.commit}?{query}")
            case RepoTree():
                at = ground(question, question.revision, facts)
                folder = f"/{quoted_path(question.folder)}" if question.folder else ""
                query = f"?{question.query}" if question.query else ""
                return UpstreamRequest(
                    "GET", f"/api/{at.repo.name}/tree/{at.commit}{folder}{query}"
                )
            case PathsInfo():
                at = ground(question, question.revision, facts)
                return asking.expanded_paths_request(at.repo, at.commit or "", question.paths)
            case _:
                raise TypeError(f"no request answers a {type(question).__name__}")

    def _document(
        self, question: RepoRefs | RepoPage | OciManifest | Passed, facts: Facts
    ) -> list[Need]:
        missing = [] if isinstance(question, Passed) else self._base(question, "main", facts)
        if missing:
            return missing
        listed = isinstance(question, RepoRefs) and facts.refs(canonical(question, facts))
        if facts.offline and listed:
            return []  # revisions seen one by one make a list too
        return self._reply(self.request_of(question, facts), question, facts)

    def _reply(self, request: UpstreamRequest, question: Question, facts: Facts) -> list[Need]:
        if facts.reply(asking.reply_key(request)) is not None:
            return []
        if isinstance(question, Passed):
            return [asking.reply_need(request, lifetime=question.lifetime, private=True)]
        repo = None if question.repo is None else facts.canonical(question.repo)
        need = asking.reply_need(request, lifetime=self._ref_lifetime, lasting=True, repo=repo)
        return [need]

    def _base(
        self,
        question: Question,
        revision: str,
        facts: Facts,
        *,
        info: bool = False,
        tree: bool = False,
    ) -> list[Need]:
        """Name what is missing before the question's own part: admission, commit, file list."""
        at = ground(question, revision, facts)
        pinned = is_commit(revision)
        missing: list[Need] = []
        visibility = facts.visibility(at.repo)
        ask_admission = not facts.offline or visibility is None
        stranger = ask_admission and not facts.admitted(at.repo, Access.LIST)
        reads = question.access >= Access.READ
        whole = info or tree
        # What is known of some files makes a description too, while nobody can give a better one.
        described = at.snapshot is not None and (at.snapshot.info or at.adopted)
        lacks_info = info and not described
        lacks_head = whole and (at.commit is None or (pinned and at.snapshot is None))
        barred = ask_admission and reads and not facts.admitted(at.repo, Access.READ)
        if barred and isinstance(question, LfsBatch) and visibility is not None:
            return [asking.batch_need(at.repo, question.objects)]
        if stranger or lacks_head or lacks_info:
            missing.append(asking.revision_need(at.repo, revision))
        elif barred:
            missing.append(asking.probe_need(at.repo))
        settled = pinned or not (stranger or lacks_head)
        if tree and settled and at.commit is not None and _unbegun(at.snapshot):
            missing.append(asking.tree_need(at.repo, at.commit))
        return missing

    def _file(self, question: RepoFile, facts: Facts) -> list[Need]:
        at = ground(question, question.revision, facts)
        paths = (question.path, *question.alternates)
        known = any(known_entry(at, path, facts) is not None for path in paths)
        missing = self._base(question, question.revision, facts, tree=not known)
        if missing or known or at.complete or at.adopted or at.commit is None:
            return missing
        unknown = [path for path in paths if not proved_absent(at, path, facts)]
        return [asking.paths_need(at.repo, at.commit, unknown)] if unknown else []

    def _info(self, question: RepoInfo, facts: Facts) -> list[Need]:
        missing = self._base(question, question.revision, facts, info=True, tree=question.blobs)
        if missing:
            return missing
        at = ground(question, question.revision, facts)
        if question.query or (question.blobs and not at.complete):
            if facts.offline and (at.complete or at.adopted or not question.blobs):
                return []  # what upstream would add is worth less than an answer
            return self._reply(self.request_of(question, facts), question, facts)
        return []

    def _listing(self, question: RepoTree | PathsInfo, facts: Facts) -> list[Need]:
        missing = self._base(question, question.revision, facts, tree=True)
        at = ground(question, question.revision, facts)
        if missing or at.commit is None or at.adopted:
            return missing
        if isinstance(question, PathsInfo) and not question.expand:
            unknown = [
                path
                for path in question.paths
                if facts.entry(at.repo, at.commit, path) is None
                and not proved_absent(at, path, facts)
            ]
            return [asking.paths_need(at.repo, at.commit, unknown)] if unknown else []
        # A page that goes on where upstream left off is upstream's: what is here is counted otherwise.
        foreign = isinstance(question, RepoTree) and question.foreign
        if at.complete and not foreign and (facts.offline or not question.expand):
            return []
        return self._reply(self.request_of(question, facts), question, facts)

    def _objects(
        self, question: Question, revision: str, oids: tuple[str, ...], facts: Facts
    ) -> list[Need]:
        repo = canonical(question, facts)
        known = all(facts.by_digest(repo, oid) is not None for oid in oids)
        return self._base(question, revision, facts, tree=not known)

    def _stored(self, question: StoredObject, facts: Facts) -> list[Need]:
        missing = self._objects(question, question.revision, (question.sha256,), facts)
        if missing or not question.oci:
            return missing
        if facts.by_digest(canonical(question, facts), question.sha256) is not None:
            return []
        request = self.request_of(question, facts)
        if facts.reply(asking.reply_key(request)) is not None:
            return []
        need = asking.reply_need(
            request,
            lifetime=30 * 86400.0,  # named by its digest, so it never changes
            lasting=True,
            repo=canonical(question, facts),
            limit=MADE_LAYER_LIMIT,
        )
        return [need]

    def _readers_tree(self, question: Question, revision: str, facts: Facts) -> list[Need]:
        """Make sure of a file list, and of one with its Xet hashes if the caller may see them."""
        missing = self._base(question, revision, facts, tree=True)
        at = ground(question, revision, facts)
        if missing or at.commit is None or at.snapshot is None:
            return missing
        redacted = at.complete and at.snapshot.view == "redacted"
        if redacted and not facts.offline and facts.admitted(at.repo, Access.READ):
            return [asking.tree_need(at.repo, at.commit, reader=True)]
        return []

    def _reconstruction(self, question: Reconstruction, facts: Facts) -> list[Need]:
        if expired(question.expires, facts.now):
            return []
        if facts.by_xet(canonical(question, facts), question.xet_hash) is not None:
            return self._base(question, question.commit, facts)
        return self._readers_tree(question, question.commit, facts)

    def _xorb(self, question: Xorb, facts: Facts) -> list[Need]:
        if expired(question.expires, facts.now):
            return []
        oid = question.digest.partition(":")[2]
        return self._objects(question, question.commit, (oid,), facts)


def expired(expires: float | None, now: float) -> bool:
    """Tell whether a token that was good until *expires* (wall time) is so no longer."""
    return expires is not None and now >= expires


def _unbegun(snapshot: Snapshot | None) -> bool:
    """Whether nobody has read the file list yet: its head came with the revision, or not at all."""
    if snapshot is None:
        return True
    return snapshot.state is SnapshotState.PENDING and not snapshot.view
