"""What goes with what the operator removes, decided before anything does: never what something else needs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final

from mirror.digest import Digest
from mirror.errors import QuestionError
from mirror.index.protocol import StoredBlob
from mirror.names import Repo
from mirror.patterns import spell
from mirror.upkeep.addresses import Address
from mirror.upkeep.desk import Desk
from mirror.upkeep.holdings import Holdings
from mirror.upkeep.naming import Named, NamedAddress, NamedBlob, NamedRepo

_HUB: Final = "huggingface"


@dataclass(slots=True)
class Removal:
    """What is to go, decided before anything does.

    *what* is what was named. Of *repo* the facts of *commits* go, or all of them if *whole*; with neither
    the facts stay. *replies* are the keys of answers to forget, *unlink* the names whose first word is taken
    back. Of its blobs those to *free* go; others are *kept*, with what needs them. *expected* are the
    digests whose half downloads go.
    """

    what: str
    repo: Repo | None = None
    commits: tuple[str, ...] = ()
    whole: bool = False
    replies: tuple[str, ...] = ()
    unlink: tuple[Digest, ...] = ()
    free: list[StoredBlob] = field(default_factory=list)
    kept: dict[StoredBlob, str] = field(default_factory=dict)
    expected: set[Digest] = field(default_factory=set)

    @property
    def forgets(self) -> bool:
        """Whether facts go, and not blobs alone."""
        return bool((self.repo and (self.whole or self.commits)) or self.replies or self.unlink)

    def form(self) -> Mapping[str, Any]:
        """What the journal keeps of it until it is done."""
        repo = self.repo
        return {
            "repo": None if repo is None else [repo.hub, repo.name],
            "commits": list(self.commits),
            "whole": self.whole,
            "replies": list(self.replies),
            "unlink": [str(name) for name in self.unlink],
        }


class Planner:
    """Plans removals at *desk*."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._holdings = Holdings(desk)

    def plan(self, named: Named, path: str = "") -> Removal:
        """What goes with what is *named*; of a repo, with *path* (a file, a folder, a glob) its files alone.

        Raises `QuestionError` for what is not here, or is pinned.
        """
        match named:
            case NamedRepo():
                return self._files(named, path) if path else self._repo(named)
            case _ if path:
                raise QuestionError("Only files of a repo have a path beside what is named.")
            case NamedAddress():
                return self._address(named)
            case NamedBlob():
                return self._blob(named)

    def plan_anew(self, named: NamedAddress) -> Sequence[Removal]:
        """What has to go so that the next content that comes from an address is believed.

        Raises `QuestionError` where nothing came from there, or what came is held against a published
        digest.
        """
        plans = []
        for address in self._meant(named):
            known = self._desk.index.catalog.sha256_of
            names = tuple(name for name in address.names if known(name) is not None)
            if names:
                keys = (*address.keys, *address.asides)
                plans.append(Removal(address.text, replies=keys, unlink=names))
        if not plans:
            raise QuestionError(
                f"No content of {named} is believed because it came first.",
                hint="It was never fetched, or its digest is published: then it is that or nothing.",
            )
        return plans

    def _meant(self, named: NamedAddress) -> Iterator[Address]:
        """The address; where it came out of the log, which shows no query, all those it may be."""
        text = str(named).removesuffix("?…")
        found = [each for each in self._desk.book.every() if each.text.partition("?")[0] == text]
        if found and not named.query.strip("…"):
            yield from found
        else:
            yield self._desk.book.look(named)

    def _repo(self, named: NamedRepo) -> Removal:
        repo = self._holdings.find(named)
        commits = self._holdings.commits(repo, named.revision)
        self._refuse_pinned(repo, commits, whole=not named.revision)
        every = self._holdings.commits(repo, "")
        whole = not named.revision or set(commits) >= set(every)
        plan = Removal(
            f"{spell(repo)}@{commits[0]}" if named.revision else spell(repo),
            repo,
            commits,
            whole=whole,
            replies=tuple(self._answers(repo)) if whole else (),
        )
        self.weigh(plan)
        return plan

    def weigh(self, plan: Removal) -> None:
        """Decide which blobs of the commits of *plan* go."""
        assert plan.repo is not None  # noqa: S101 -- both callers have one
        blobs: dict[Digest, StoredBlob] = {}
        for commit in plan.commits:
            for entry in self._holdings.entries(plan.repo, commit):
                blob = self._holdings.blob_of(entry.digest)
                if blob is not None:
                    blobs[blob.digest] = blob
                elif entry.digest is not None:
                    plan.expected.add(entry.digest)
        needed = self._holdings.needed(blobs, without=plan.repo, commits=plan.commits)
        self._sort(plan, blobs.values(), needed)

    def _files(self, named: NamedRepo, path: str) -> Removal:
        repo = self._holdings.find(named)
        commits = self._holdings.commits(repo, named.revision)
        plan = Removal(f"{named} {path}", repo)
        blobs: dict[Digest, StoredBlob] = {}
        others: dict[Digest, str] = {}
        met = False
        for commit in commits:
            for entry in self._holdings.entries(repo, commit):
                blob = self._holdings.blob_of(entry.digest)
                if _matches(entry.path, path):
                    met = True
                    if blob is not None:
                        blobs[blob.digest] = blob
                    elif entry.digest is not None:
                        plan.expected.add(entry.digest)
                elif blob is not None:
                    others[blob.digest] = f"{entry.path} of the same repo"
        if not met:
            raise QuestionError(
                f"{named} has no file {path}, as far as is known.",
                hint=f"`modelmirror ls {named} --files` lists those it has.",
            )
        needed = self._holdings.needed(blobs, without=repo, commits=commits)
        self._sort(plan, blobs.values(), {**others, **needed})
        return plan

    def _address(self, named: NamedAddress) -> Removal:
        address = self._desk.book.look(named)
        if not address.keys and not self._holdings.held(address.blobs).blobs:
            raise QuestionError(
                f"Nothing of {named} is here.", hint="`modelmirror ls` lists what is."
            )
        for pin in self._desk.pins.held():
            if isinstance(pin.named, NamedAddress) and self._is(pin.named, address):
                raise _pinned(str(pin.named), pin.owners)
        # What came first stays known: the next download must be the same. `accept` takes another.
        plan = Removal(address.text, replies=address.keys)
        plan.expected.update(address.names)
        blobs = self._holdings.held(address.blobs).blobs
        needed = self._holdings.needed(blobs, address=_own_text(address))
        self._sort(plan, blobs.values(), needed)
        return plan

    def _is(self, named: NamedAddress, address: Address) -> bool:
        """Whether *named* is that *address*, by whatever words: what would go with it is the pin's too."""
        try:
            found = self._desk.book.look(named)
        except QuestionError:  # of a hub that is no more
            return False
        return (found.keys, found.blobs) == (address.keys, address.blobs)

    def _blob(self, named: NamedBlob) -> Removal:
        """A blob by its name goes whatever needs it: whoever does fetches it again."""
        blob = self._desk.index.catalog.blob(named.digest)
        if blob is None:
            raise QuestionError(f"{named} is not stored.")
        if named.digest in self._desk.pins.digests():
            raise QuestionError(
                f"{named} is pinned.", hint="`modelmirror pin` alone lists the pins."
            )
        return Removal(str(named), free=[blob])

    def _sort(
        self, plan: Removal, blobs: Iterable[StoredBlob], needed: Mapping[Digest, str]
    ) -> None:
        for blob in blobs:
            if blob.digest in needed:
                plan.kept[blob] = needed[blob.digest]
            else:
                plan.free.append(blob)

    def _refuse_pinned(self, repo: Repo, commits: Sequence[str], *, whole: bool) -> None:
        for pin in self._desk.pins.held():
            if not isinstance(pin.named, NamedRepo) or pin.named.repo != repo:
                continue
            revision = pin.named.revision
            ref = self._desk.index.catalog.ref(repo, revision)
            if whole or not revision or (revision if ref is None else ref.commit) in commits:
                raise _pinned(str(pin.named), pin.owners)

    def _answers(self, repo: Repo) -> Iterator[str]:
        """The keys of the Hub's answers about *repo*."""
        if repo.hub != _HUB:
            return
        name = repo.name.removeprefix("models/")
        begins = (f"/{name}", f"/v2/{name}", f"/api/{repo.name}")
        for key in self._desk.book.answers():
            target = key.partition(" ")[2].partition("?")[0].partition(" ")[0]
            if any(target == begin or target.startswith(f"{begin}/") for begin in begins):
                yield key


def _matches(path: str, pattern: str) -> bool:
    folder = pattern.rstrip("/")
    return path == folder or path.startswith(f"{folder}/") or fnmatchcase(path, pattern)


def _own_text(address: Address) -> str:
    """What the address is called among all: by the head that is kept of it, if there is one."""
    return next((key.split(" ")[1] for key in address.keys if "://" in key), address.text)


def _pinned(text: str, owners: Sequence[str]) -> QuestionError:
    whom = f" for {', '.join(owners)}" if owners else ""
    return QuestionError(f"{text} is pinned{whom}.", hint=f"First: modelmirror unpin {text}")
