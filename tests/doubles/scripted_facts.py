"""Facts in dictionaries, and the engine's loop over a scripted upstream: the cache without I/O.

It records what a hub's functions teach by the rules of the real catalog, so that a walk can be followed
round by round and every upstream request be counted.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from mirror.errors import NotAdmittedError, OfflineError, UpstreamRefusedError
from mirror.hubs.base import Hub
from mirror.messages import Answer, RequestHead, Response, UpstreamRequest
from mirror.names import (
    Access,
    Alias,
    Entries,
    Entry,
    Fact,
    Lead,
    Need,
    Question,
    Ref,
    Reply,
    Repo,
    Snapshot,
    SnapshotState,
    Verdict,
    Visibility,
)

MAX_ROUNDS: Final = 12
START: Final = 1_750_000_000.0


@dataclass
class ScriptedFacts:
    """Everything recorded so far, as *caller* sees it; *ref_lifetime* in seconds."""

    now: float = START
    offline: bool = False
    caller: str = ""
    ref_lifetime: float = 60.0
    aliases: dict[Repo, Alias] = field(default_factory=dict)
    visibilities: dict[Repo, Visibility] = field(default_factory=dict)
    verdicts: dict[tuple[str, Repo, Access], Verdict] = field(default_factory=dict)
    seen_refs: dict[tuple[Repo, str], Ref] = field(default_factory=dict)
    snapshots: dict[tuple[Repo, str], Snapshot] = field(default_factory=dict)
    entries: dict[tuple[Repo, str], dict[str, Entry]] = field(default_factory=dict)
    absences: set[tuple[Repo, str, str]] = field(default_factory=set)
    replies: dict[str, Reply] = field(default_factory=dict)
    at_hand: dict[str, Reply] = field(default_factory=dict)

    def canonical(self, repo: Repo) -> Repo:
        """The repo that *repo* is an alias of."""
        alias = self.aliases.get(repo)
        fresh = alias is not None and self._fresh(alias.seen_at, self.ref_lifetime)
        return alias.repo if alias is not None and fresh else repo

    def visibility(self, repo: Repo) -> Visibility | None:
        """Who may see *repo*."""
        return self.visibilities.get(repo)

    def admitted(self, repo: Repo, access: Access) -> bool:
        """Whether the caller was let in, or everybody is."""
        seen = self.visibilities.get(repo)
        if access is Access.NONE:
            return True
        if seen is None:
            return False
        if not seen.private and (access is Access.LIST or not seen.gated):
            return True
        verdict = self.verdicts.get((self.caller, repo, access))
        return bool(self.caller) and verdict is not None and verdict.accepted

    def ref(self, repo: Repo, revision: str) -> Ref | None:
        """The commit of *revision*, while it is fresh."""
        ref = self.seen_refs.get((repo, revision))
        if ref is None or ref.commit == revision or self._fresh(ref.seen_at, self.ref_lifetime):
            return ref
        return None

    def refs(self, repo: Repo) -> Sequence[Ref]:
        """Every revision seen."""
        return [ref for (known, _), ref in sorted(self.seen_refs.items()) if known == repo]

    def snapshot(self, repo: Repo, commit: str) -> Snapshot | None:
        """The head of a file list."""
        return self.snapshots.get((repo, commit))

    def entry(self, repo: Repo, commit: str, path: str) -> Entry | None:
        """One path."""
        return self.entries.get((repo, commit), {}).get(path)

    def absent(self, repo: Repo, commit: str, path: str) -> bool:
        """Whether a path was proved absent."""
        return (repo, commit, path) in self.absences

    def listing(
        self, repo: Repo, commit: str, folder: str, *, recursive: bool, after: str, limit: int
    ) -> Sequence[Entry]:
        """Entries below a folder, in path order."""
        prefix = f"{folder}/" if folder else ""
        found = [
            entry
            for path, entry in sorted(self.entries.get((repo, commit), {}).items())
            if path.startswith(prefix)
            and path > after
            and (recursive or "/" not in path.removeprefix(prefix))
        ]
        return found[:limit]

    def by_digest(self, repo: Repo, hex_digest: str) -> tuple[str, Entry] | None:
        """A commit and entry with this content."""
        return self._find(repo, lambda e: e.digest is not None and e.digest.hex == hex_digest)

    def by_xet(self, repo: Repo, xet_hash: str) -> tuple[str, Entry] | None:
        """A commit and entry with this Xet hash."""
        return self._find(repo, lambda entry: entry.xet == xet_hash)

    def reply(self, key: str) -> Reply | None:
        """Upstream's answer, while it is fresh."""
        found = self.at_hand.get(key)
        if found is not None:
            return found
        for name in (key, f"{self.caller} {key}"):
            kept = self.replies.get(name)
            if kept is not None and self._fresh(kept.seen_at, kept.lifetime):
                return kept
        return None

    def record(self, fact: Fact) -> None:
        """Take one fact in, by the catalog's rules."""
        match fact:
            case Alias():
                self.aliases[fact.asked] = fact
            case Visibility():
                self.visibilities[fact.repo] = fact
            case Verdict():
                self.verdicts[self.caller, fact.repo, fact.access] = fact
            case Ref():
                self.seen_refs[fact.repo, fact.revision] = fact
            case Snapshot():
                self._record_snapshot(fact)
            case Entries():
                known = self.entries.setdefault((fact.repo, fact.commit), {})
                known.update({entry.path: entry for entry in fact.entries})
                self.absences.update((fact.repo, fact.commit, path) for path in fact.absent)
            case Reply():
                self.at_hand[fact.key] = fact
                self.replies[f"{self.caller} {fact.key}" if fact.private else fact.key] = fact
            case Lead():
                pass

    def _record_snapshot(self, new: Snapshot) -> None:
        old = self.snapshots.get((new.repo, new.commit))
        if old is not None:
            up = old.state is SnapshotState.PENDING
            hidden = up and old.view == "redacted"
            new = replace(
                new,
                state=new.state if up else old.state,
                info=new.info or old.info,
                view="redacted" if hidden else (new.view or old.view),
            )
        self.snapshots[new.repo, new.commit] = new

    def _fresh(self, seen_at: float, lifetime: float) -> bool:
        return self.offline or 0 <= self.now - seen_at <= lifetime

    def _find(self, repo: Repo, wanted: Callable[[Entry], bool]) -> tuple[str, Entry] | None:
        for (known, commit), entries in self.entries.items():
            if known == repo:
                for entry in entries.values():
                    if wanted(entry):
                        return commit, entry
        return None


@dataclass
class ScriptedUpstream:
    """Answers by method and target; anything else is a 404. *asked* is what was asked, in order."""

    base: str = "https://origin.test"
    script: dict[tuple[str, str], Response] = field(default_factory=dict)
    asked: list[UpstreamRequest] = field(default_factory=list)

    def put(
        self,
        target: str,
        body: bytes,
        *,
        method: str = "GET",
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        led_to: str | None = None,
    ) -> None:
        """Script one answer; *led_to* is the target that a redirect led to."""
        url = self.base + (led_to or target)
        head = {"content-type": "application/json", **(headers or {})}
        self.script[method, target] = Response(status, head, body, self.base, url)

    def ask(self, request: UpstreamRequest) -> Response:
        """Answer *request*."""
        self.asked.append(request)
        missing = Response(404, {"x-error-code": "RepoNotFound"}, b"{}", self.base, self.base)
        return self.script.get((request.method, request.target), missing)

    @property
    def targets(self) -> list[str]:
        """What was asked, as ``METHOD target``."""
        return [f"{request.method} {request.target}" for request in self.asked]


@dataclass
class Engine:
    """The cache's loop around one hub, one upstream and one set of facts.

    *pages* is how many pages of a listing are waited for.
    """

    hub: Hub
    upstream: ScriptedUpstream
    facts: ScriptedFacts
    pages: int = 1000

    def ask(self, head: RequestHead, body: bytes = b"") -> Answer:
        """Answer one request; errors are raised, not worded."""
        question = self.hub.recognise(head, body)
        assert question is not None
        self.settle(question)
        self.admit(question)
        return self.hub.answer(question, self.facts, head.base_url)

    def admit(self, question: Question) -> None:
        """The one gate of the cache."""
        if question.repo is None:
            return
        repo = self.facts.canonical(question.repo)
        if not self.facts.admitted(repo, question.access):
            seen = self.facts.visibility(repo)
            raise NotAdmittedError(
                "No.",
                repo=repo.name,
                gated=seen is not None and seen.gated and not seen.private,
                anonymous=not self.facts.caller,
            )

    def settle(self, question: Question) -> None:
        """Ask for what is missing, round by round; every round must ask something new."""
        self.facts.at_hand.clear()
        asked: set[str] = set()
        for _ in range(MAX_ROUNDS):
            needs = self.hub.needs(question, self.facts)
            if not needs:
                return
            if self.facts.offline:
                raise OfflineError("Upstream cannot be asked.")
            keys = {need.key for need in needs}
            assert not keys <= asked, f"the same is asked again: {keys}"
            asked |= keys
            for need in needs:
                self.meet(question, need)
        raise AssertionError("needs never end")

    def meet(self, question: Question, need: Need) -> None:
        """Ask for one need, page after page, and record what it teaches."""
        request: UpstreamRequest | None = need.request
        for _ in range(self.pages):
            if request is None:
                return
            response = self.upstream.ask(request)
            try:
                facts = self.hub.absorb(question, need, response, self.facts.now)
            except UpstreamRefusedError as error:
                for fact in error.facts:
                    assert isinstance(fact, (Verdict, Visibility))
                    self.facts.record(fact)
                raise
            for fact in facts:
                self.facts.record(fact)
            request = next((fact.request for fact in facts if isinstance(fact, Lead)), None)
