"""Who needs which blob: repos by their files, addresses by their content, pins by what they name.

A blob is stored once, however many need it, so nothing may be said of a repo's size without saying what of
it others need too.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from mirror.digest import SHA256, Digest
from mirror.errors import QuestionError
from mirror.index.protocol import StoredBlob
from mirror.names import Entry, Repo, adopted
from mirror.patterns import spell
from mirror.upkeep.addresses import Address
from mirror.upkeep.desk import Desk
from mirror.upkeep.naming import NamedRepo
from mirror.upkeep.pins import files

_PAGE: Final = 1000
_LEAST_PREFIX: Final = 6  # digits of a commit that stand for it


@dataclass(slots=True)
class Held:
    """Stored blobs that one owner needs, by their sha256."""

    blobs: dict[Digest, StoredBlob] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Their bytes."""
        return sum(blob.size for blob in self.blobs.values())

    @property
    def used(self) -> int:
        """The number of the last use of any of them."""
        return max((blob.used for blob in self.blobs.values()), default=0)


class Holdings:
    """What is held at *desk*, as it is at the time of asking."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._catalog = desk.index.catalog

    # ── finding ────────────────────────────────────────────────────────────────────────────────

    def find(self, named: NamedRepo) -> Repo:
        """The repo that is meant: under its own name, a former one, or one in other letters.

        Raises `QuestionError` when nothing is known of it.
        """
        alias = self._catalog.alias(named.repo)
        wanted = named.repo if alias is None else alias.repo
        known = {row.repo for row in self._catalog.repos(public_only=False)}
        if wanted in known:
            return wanted
        folded = wanted.name.casefold()
        for repo in known:
            if repo.hub == wanted.hub and repo.name.casefold() == folded:
                return repo
        raise QuestionError(
            f"Nothing is known of {spell(named.repo)}.", hint="`modelmirror ls` lists what is."
        )

    def commits(self, repo: Repo, revision: str) -> tuple[str, ...]:
        """The commits that *revision* stands for: the one, or all of them where it is empty.

        Raises `QuestionError` for a revision that was never seen.
        """
        known = sorted({name.removeprefix(adopted("")) for name in self._catalog.commits(repo)})
        refs = {ref.revision: ref.commit for ref in self._catalog.refs(repo)}
        if not revision:
            return tuple(dict.fromkeys([*known, *refs.values()]))
        if revision in refs:
            return (refs[revision],)
        if len(revision) >= _LEAST_PREFIX:
            found = [commit for commit in known if commit.startswith(revision)]
            if len(found) == 1:
                return (found[0],)
        raise QuestionError(
            f"No revision {revision} of {spell(repo)} is known.",
            hint=f"`modelmirror ls {spell(repo)}` lists those that are.",
        )

    def entries(self, repo: Repo, commit: str) -> Iterator[Entry]:
        """Each file of *commit* that is known, in path order; then those that a client's cache told of."""
        for name in (commit, adopted(commit)):
            after = ""
            while True:
                page = self._catalog.listing(
                    repo, name, "", recursive=True, after=after, limit=_PAGE
                )
                for entry in page:
                    known = name != commit and self._catalog.entry(repo, commit, entry.path)
                    if entry.digest is not None and not known:
                        yield entry
                if len(page) < _PAGE:
                    break
                after = page[-1].path

    def blob_of(self, digest: Digest | None) -> StoredBlob | None:
        """The stored blob that a published *digest* names."""
        if digest is None:
            return None
        name = digest if digest.algorithm == SHA256 else self._catalog.sha256_of(digest)
        return None if name is None else self._catalog.blob(name)

    # ── who needs what ─────────────────────────────────────────────────────────────────────────

    def repos(self) -> Mapping[Repo, Held]:
        """What each repo needs of what is stored."""
        held: dict[Repo, Held] = {}
        for repo, blob in self._catalog.contents():
            held.setdefault(repo, Held()).blobs[blob.digest] = blob
        return held

    def addresses(self) -> Mapping[str, tuple[Address, Held]]:
        """What is kept of each address, and what it needs of what is stored."""
        return {
            address.text: (address, self.held(address.blobs)) for address in self._desk.book.every()
        }

    def pins(self) -> Mapping[str, Held]:
        """What is stored for each owner of pins."""
        held: dict[str, Held] = {}
        for pin in self._desk.pins.held():
            stored = self.held(self._desk.pins.digests_of(pin))
            for owner in pin.owners:
                held.setdefault(owner, Held()).blobs.update(stored.blobs)
        return held

    def held(self, digests: Collection[Digest] | Iterator[Digest]) -> Held:
        """Those of *digests* (sha256) that are stored."""
        found = ((digest, self._catalog.blob(digest)) for digest in dict.fromkeys(digests))
        return Held({digest: blob for digest, blob in found if blob is not None})

    def needed(
        self,
        digests: Collection[Digest],
        *,
        without: Repo | None = None,
        commits: Collection[str] = (),
        address: str = "",
    ) -> Mapping[Digest, str]:
        """Which of *digests* something else needs, and what: one of those, as people write it.

        Something else than *commits* of the repo *without*, and than the *address*.
        """
        needed: dict[Digest, str] = {}
        wanted = set(digests)
        for text, (_, held) in self.addresses().items() if wanted else ():
            if text != address:
                needed.update(dict.fromkeys(wanted & held.blobs.keys(), text))
        for digest in wanted:
            for repo in self._catalog.holders(digest):
                if repo != without:
                    needed[digest] = spell(repo)
        if without is not None:
            for commit in set(self.commits(without, "")) - set(commits):
                kept = wanted.intersection(files(self._catalog, without, commit))
                needed.update(dict.fromkeys(kept, f"{spell(without)}@{commit[:12]}"))
        for pin in self._desk.pins.held():
            kept = wanted.intersection(self._desk.pins.digests_of(pin))
            needed.update(dict.fromkeys(kept, f"the pin of {pin.named}"))
        return needed
