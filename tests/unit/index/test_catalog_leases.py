"""What the catalog changes breaks leases before it is written, and is read anew right after."""

from collections.abc import Callable, Iterator
from math import inf
from pathlib import Path

import pytest

from mirror.index.catalog import Catalog
from mirror.index.grants import Grants
from mirror.index.journal import Journal
from mirror.leases import Lease, Leases
from mirror.names import Alias, Entries, Fact, Ref, Repo, Verdict, Visibility
from mirror.patterns import RepoPattern
from tests.unit.index.disk import Syncs, refuse, write
from tests.unit.index.samples import COMMIT, LATER, NOON, OTHER, REPO, git_sha1, head, sha256, small

ALIAS = Repo(REPO.hub, "models/acme/old-name")


@pytest.fixture
def leases() -> Leases:
    """Leases that a catalog breaks."""
    return Leases()


@pytest.fixture
def catalog(tmp_path: Path, leases: Leases) -> Iterator[Catalog]:
    """An empty catalog."""
    opened = Catalog.open(tmp_path / "index.sqlite3", leases=leases)
    yield opened
    opened.close()


def _lease(leases: Leases, *about: object) -> Lease:
    lease = leases.grant(about, leases.number, 0.0, inf)
    assert lease is not None
    return lease


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(
    "fact",
    [
        Ref(REPO, "main", COMMIT, NOON),
        head(),
        Entries(REPO, COMMIT, (small("a.txt"),)),
        Visibility(REPO, private=True, gated=False, seen_at=NOON),
        Alias(REPO, OTHER, "id", NOON),
        Alias(ALIAS, REPO, "id", NOON),
    ],
    ids=["ref", "head", "entries", "audience", "leads away", "is led to"],
)
def test_catalog_breaks_leases_on_the_repo_of_a_fact(
    catalog: Catalog, leases: Leases, fact: Fact, *, full: bool
) -> None:
    """Whatever is recorded of a repo, also where the disk takes nothing; leases on others stay."""
    if full:
        refuse(catalog)
    mine, other = _lease(leases, REPO), _lease(leases, Repo("hub", "models/b/c"))
    as_of = leases.number
    catalog.record([fact]).result()

    assert (mine.broken, other.broken) == (True, False)
    assert leases.grant([REPO], as_of, 0.0, inf) is None
    assert leases.grant([REPO], leases.number, 0.0, inf) is not None


def test_no_lease_is_granted_while_a_fact_is_written(catalog: Catalog, leases: Leases) -> None:
    """Broken before the first byte, and nothing new until readers see what was written."""
    lease, seen = _lease(leases, REPO), list[object]()

    def work(_connection: object) -> None:
        seen.append(lease.broken)
        seen.append(leases.grant([REPO], leases.number, 0.0, inf))

    catalog._writer.submit(work, about=[REPO]).result()

    assert seen == [True, None]


def test_catalog_breaks_leases_on_another_name_of_content(catalog: Catalog, leases: Leases) -> None:
    """What a digest is stored as becomes known by a link, alone or with its blob."""
    one, two = _lease(leases, git_sha1("a")), _lease(leases, git_sha1("b"))
    catalog.link(git_sha1("a"), sha256("a")).result()
    catalog.stored([(sha256("b"), 1)], [(git_sha1("b"), sha256("b"))]).result()

    assert one.broken
    assert two.broken


@pytest.mark.parametrize(
    "forget",
    [
        lambda catalog: catalog.forget(REPO),
        lambda catalog: catalog.forget(REPO, COMMIT),
        lambda catalog: catalog.forget_replies(["GET /x"]),
        lambda catalog: catalog.unlink([git_sha1("a")]),
    ],
    ids=["repo", "commit", "replies", "names"],
)
def test_catalog_breaks_all_leases_when_it_forgets(
    catalog: Catalog, leases: Leases, forget: Callable[[Catalog], None]
) -> None:
    """The operator's removals end everything, whatever it is about."""
    catalog.record([head()]).result()
    lease = _lease(leases, Repo("hub", "models/b/c"))
    forget(catalog)

    assert lease.broken


def test_uses_break_no_lease(catalog: Catalog, leases: Leases) -> None:
    """What happens with every request changes no answer."""
    catalog.stored([(sha256("a"), 1)]).result()
    lease = _lease(leases, REPO, sha256("a"))
    catalog.touch([sha256("a")]).result()
    catalog.record_verdict("caller", Verdict(REPO, 2, accepted=True, seen_at=NOON)).result()  # type: ignore[arg-type]

    assert not lease.broken


def test_grants_break_all_leases(tmp_path: Path, leases: Leases) -> None:
    """Given or withdrawn, before anybody hears of it."""
    journal = Journal.open(tmp_path / "journal.jsonl", write, Syncs(), print)
    grants = Grants(journal, leases.break_all)
    pattern = RepoPattern.parse("acme/*")
    for change in (lambda: grants.give(pattern, ["everyone"]), lambda: grants.withdraw(pattern)):
        lease = _lease(leases, REPO)
        change()
        assert lease.broken
    journal.close()


def test_rows_are_looked_up_once_between_commits(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same question costs one look, a use changes nothing of that, and a fact is seen at once."""
    asked: list[object] = []
    look = catalog._file._row

    def noted(*query: object) -> object:
        asked.append(query)
        return look(*query)  # type: ignore[arg-type]

    monkeypatch.setattr(catalog._file, "_row", noted)
    catalog.record([Ref(REPO, "main", COMMIT, NOON)]).result()
    catalog.stored([(sha256("a"), 1)]).result()
    for _ in range(3):
        assert catalog.ref(REPO, "main") == Ref(REPO, "main", COMMIT, NOON)
        assert catalog.alias(REPO) is None
        catalog.touch([sha256("a")]).result()
    assert len(asked) == 2

    catalog.record([Ref(REPO, "main", LATER, NOON + 1.0)]).result()
    assert catalog.ref(REPO, "main") == Ref(REPO, "main", LATER, NOON + 1.0)
    catalog.forget(REPO)
    assert catalog.ref(REPO, "main") is None


def test_kept_rows_are_bounded(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much is looked up, no more rows are kept than the bound says."""
    monkeypatch.setattr("mirror.index.lookups._ROWS_KEPT", 10)
    for number in range(100):
        assert catalog.ref(REPO, f"branch-{number}") is None
        assert len(catalog._file._kept) <= 10
