"""What every index promises: the catalog and its double in memory pass the same suite."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from mirror.digest import Digest, source_of
from mirror.errors import StoreUnusableError
from mirror.index.catalog import Catalog
from mirror.index.protocol import Index, StoredBlob, Totals
from mirror.messages import UpstreamRequest
from mirror.names import (
    Access,
    Alias,
    Entries,
    Entry,
    Lead,
    Ref,
    Repo,
    SnapshotState,
    Verdict,
    Visibility,
)
from tests.doubles.memory_index import MemoryIndex
from tests.unit.index.disk import refuse
from tests.unit.index.samples import (
    COMMIT,
    LATER,
    NOON,
    OTHER,
    REPO,
    folder,
    git_sha1,
    head,
    large,
    reply,
    sha256,
    small,
    xet,
)

TREE = (
    folder("data"),
    folder("data-b"),
    small("README.md"),
    small("data-b/x.txt"),
    folder("data/deep"),
    small("data/a.txt"),
    small("data/b.txt"),
    small("data/deep/c.txt"),
    large("model.safetensors"),
)
ODD_NAMES = (
    "naïve/模型 🤗.bin",
    'quote"back\\slash',
    "new\nline",
    "nul\0",
    "lone\ud800",
    "\udcff",
    "%2F",
)


@pytest.fixture(params=["catalog", "memory", "held"])
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Index]:
    """Each implementation, empty: a catalog also on a disk that takes nothing."""
    made: Index = MemoryIndex()
    if request.param != "memory":
        made = Catalog.open(tmp_path / "index.sqlite3")
        if request.param == "held":
            refuse(made)
    yield made
    made.close()


def test_refs_latest_word_holds(index: Index) -> None:
    """A revision points where it was last seen to point, and every revision is listed by name."""
    first, moved = Ref(REPO, "main", COMMIT, NOON), Ref(REPO, "main", LATER, NOON + 60)
    pr = Ref(REPO, "refs/pr/1", COMMIT, NOON)
    index.record([pr, first, Ref(OTHER, "main", COMMIT, NOON)]).result()
    assert index.ref(REPO, "main") == first

    index.record([moved]).result()

    assert index.ref(REPO, "main") == moved
    assert list(index.refs(REPO)) == [moved, pr]
    assert index.ref(REPO, "dev") is None
    assert index.ref(Repo("elsewhere", REPO.name), "main") is None


def test_facts_from_the_future_or_the_past_are_recorded_as_seen(index: Index) -> None:
    """The index has no clock: what was recorded last is what it answers, whatever its time."""
    earlier = Ref(REPO, "main", LATER, NOON - 86_400)
    index.record([Ref(REPO, "main", COMMIT, NOON), earlier]).result()

    assert index.ref(REPO, "main") == earlier


def test_snapshot_grows_from_pending_to_complete(index: Index) -> None:
    """A head, then pages, then the head again without its description gives the whole."""
    index.record([head(SnapshotState.PENDING)]).result()
    assert index.snapshot(REPO, COMMIT) == head(SnapshotState.PENDING)
    assert not index.absent(REPO, COMMIT, "nowhere")

    for entry in TREE:
        index.record([Entries(REPO, COMMIT, (entry,))]).result()
    index.record([head(info=b"", seen_at=NOON + 5)]).result()

    assert index.snapshot(REPO, COMMIT) == head(seen_at=NOON + 5)
    assert index.entry(REPO, COMMIT, "model.safetensors") == large("model.safetensors")
    assert index.entry(REPO, LATER, "model.safetensors") is None
    assert index.absent(REPO, COMMIT, "nowhere")
    assert not index.absent(REPO, COMMIT, "README.md")
    assert not index.absent(REPO, LATER, "nowhere")


@pytest.mark.parametrize("later", [SnapshotState.PENDING, SnapshotState.LARGE])
def test_snapshot_complete_list_never_shrinks(index: Index, later: SnapshotState) -> None:
    """A later look at the head of a complete list leaves it complete and renews the rest."""
    index.record([head()]).result()
    index.record([head(later, info=b'{"likes":2}', seen_at=NOON + 9)]).result()

    assert index.snapshot(REPO, COMMIT) == head(info=b'{"likes":2}', seen_at=NOON + 9)


def test_snapshot_entries_before_any_head_are_entries_alone(index: Index) -> None:
    """A path asked for on its own is known without a snapshot being claimed."""
    index.record([Entries(REPO, COMMIT, (small("a"),), absent=("b",))]).result()

    assert index.snapshot(REPO, COMMIT) is None
    assert index.entry(REPO, COMMIT, "a") == small("a")
    assert index.absent(REPO, COMMIT, "b")
    assert not index.absent(REPO, COMMIT, "c")
    assert list(index.absences(REPO, COMMIT)) == ["b"]


def test_absence_yields_to_an_entry(index: Index) -> None:
    """A path that is known to exist is never called absent, in whichever order that is learnt."""
    index.record([Entries(REPO, COMMIT, (), absent=("a", "b"))]).result()
    index.record([Entries(REPO, COMMIT, (small("a"),))]).result()
    index.record([Entries(REPO, COMMIT, (), absent=("a",))]).result()

    assert not index.absent(REPO, COMMIT, "a")
    assert list(index.absences(REPO, COMMIT)) == ["b"]


def test_redacted_entries_never_replace_what_was_shown(index: Index) -> None:
    """A hash that upstream hid from one caller does not hide what another saw; the reverse heals."""
    seen, hidden = large("m"), large("m", hidden=True)
    index.record([Entries(REPO, COMMIT, (seen,))]).result()
    index.record([Entries(REPO, COMMIT, (hidden,))]).result()
    assert index.entry(REPO, COMMIT, "m") == seen

    index.record([Entries(REPO, LATER, (large("n", hidden=True),))]).result()
    assert index.by_xet(REPO, "****") is None
    assert index.by_xet(REPO, xet("n")) is None
    index.record([Entries(REPO, LATER, (large("n"),))]).result()

    assert index.entry(REPO, LATER, "n") == large("n")
    assert index.by_xet(REPO, xet("n")) == (LATER, large("n"))


def test_redacted_snapshot_never_replaces_a_full_one(index: Index) -> None:
    """View and description of a full look stay; a full look replaces a redacted one."""
    redacted = head(view="redacted", info=b"hidden")
    index.record([head(info=b"shown"), redacted]).result()
    assert index.snapshot(REPO, COMMIT) == head(info=b"shown")

    index.record([replace(redacted, commit=LATER)]).result()
    assert index.snapshot(REPO, LATER) == replace(redacted, commit=LATER)
    index.record([head(commit=LATER, info=b"shown")]).result()

    assert index.snapshot(REPO, LATER) == head(commit=LATER, info=b"shown")


def test_redacted_list_is_not_full_because_a_full_one_was_begun(index: Index) -> None:
    """A list that one caller began and another completed redacted is redacted."""
    index.record([head(SnapshotState.PENDING), head(view="redacted", info=b"")]).result()

    found = index.snapshot(REPO, COMMIT)

    assert found is not None
    assert (found.state, found.view) == (SnapshotState.COMPLETE, "redacted")


@pytest.mark.parametrize(
    ("where", "recursive", "expected"),
    [
        ("", False, ["README.md", "data", "data-b", "model.safetensors"]),
        ("data", False, ["data/a.txt", "data/b.txt", "data/deep"]),
        ("data", True, ["data/a.txt", "data/b.txt", "data/deep", "data/deep/c.txt"]),
        ("data/deep", False, ["data/deep/c.txt"]),
        ("dat", True, []),
        ("README.md", True, []),
        ("", True, sorted(entry.path for entry in TREE)),
    ],
)
def test_listing_is_what_lies_below_in_path_order(
    index: Index,
    where: str,
    recursive: bool,  # noqa: FBT001
    expected: list[str],
) -> None:
    """A listing holds the entries below the folder, in the order of their paths, folders included."""
    index.record([Entries(REPO, COMMIT, TREE)]).result()

    found = index.listing(REPO, COMMIT, where, recursive=recursive, after="", limit=100)

    assert [entry.path for entry in found] == expected
    assert all(entry in TREE for entry in found)


@pytest.mark.parametrize("recursive", [True, False])
def test_listing_pages_join_without_gap_or_overlap(index: Index, recursive: bool) -> None:  # noqa: FBT001
    """Pages of any size, each begun after the last path of the one before, are the whole list."""
    index.record([Entries(REPO, COMMIT, TREE)]).result()
    whole = index.listing(REPO, COMMIT, "", recursive=recursive, after="", limit=100)

    paged: list[Entry] = []
    while page := index.listing(
        REPO, COMMIT, "", recursive=recursive, after=paged[-1].path if paged else "", limit=2
    ):
        paged.extend(page)

    assert paged == list(whole)


@pytest.mark.parametrize("path", ODD_NAMES)
def test_names_come_back_as_they_were(index: Index, path: str) -> None:
    """Any name a request or upstream's JSON can hold is found again, and never fails a look-up."""
    repo, entry = Repo("huggingface", f"models/{path}"), small(path)
    alias = Alias(Repo("huggingface", path), repo, "65f0", NOON)
    ref = Ref(repo, path, COMMIT, NOON)
    index.record(
        [ref, alias, reply(path), Entries(repo, COMMIT, (entry,), absent=(f"no {path}",))]
    ).result()

    assert index.ref(repo, path) == ref
    assert index.alias(Repo("huggingface", path)) == alias
    assert index.reply(path) == reply(path)
    assert index.entry(repo, COMMIT, path) == entry
    assert index.absent(repo, COMMIT, f"no {path}")
    assert [row.repo for row in index.repos(public_only=False)] == [repo]
    assert index.by_digest(repo, path) is None
    assert index.by_xet(repo, path) is None
    assert index.snapshot(repo, path) is None


@pytest.mark.parametrize("commit", ["main", "", "C0FFEE", "c0ffee", "c0f", "1e5", "007", "12", "é"])
def test_commits_are_kept_apart_to_the_letter(index: Index, commit: str) -> None:
    """What is no 40 hexadecimal digits is as good a commit, and is never taken for another."""
    others = [name for name in ("C0FFEE", "c0ffee", "7", "12.0", "100000", "0") if name != commit]
    index.record([head(commit=commit), Ref(REPO, "main", commit, NOON)]).result()

    assert index.snapshot(REPO, commit) == head(commit=commit)
    assert index.ref(REPO, "main") == Ref(REPO, "main", commit, NOON)
    assert [index.snapshot(REPO, other) for other in others] == [None] * len(others)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x00",
        b"{}",
        b'{"type":"file","oid":"x","size":1,"path":"p","lastCommit":{"id":"' + b"a" * 40 + b'"}}',
        b'{ "path" : "model.safetensors", "size":1e9 }',
        b"\xff\xfe not JSON, not UTF-8",
        bytes(range(256)) * 20,
    ],
)
def test_entry_raw_comes_back_to_the_byte(index: Index, raw: bytes) -> None:
    """Upstream's element is kept unaltered, whether or not it looks as elements do."""
    entries = [replace(entry, raw=raw) for entry in TREE]
    index.record([Entries(REPO, COMMIT, tuple(entries))]).result()

    assert [index.entry(REPO, COMMIT, entry.path) for entry in entries] == entries


@pytest.mark.parametrize(
    "entry",
    [
        Entry("link", "symlink", 3, None, "", None, b"{}"),
        Entry("odd", "file", 0, None, "not hex", "", b"{}"),
        Entry("ABCD", "file", 0, None, "ABCD", "ABCD", b"{}"),
        Entry("big", "file", 2**62, sha256("big"), "0" * 40, "abc", b"{}"),
    ],
)
def test_entry_fields_of_other_hubs_come_back(index: Index, entry: Entry) -> None:
    """Kinds, object ids and hashes that are not the Hub's are kept to the letter."""
    index.record([Entries(REPO, COMMIT, (entry,))]).result()

    assert index.entry(REPO, COMMIT, entry.path) == entry


def test_by_digest_finds_an_entry_of_this_repo_alone(index: Index) -> None:
    """Content is found by either digest within its repo; another repo's content is not."""
    index.record([Entries(REPO, COMMIT, TREE), Entries(OTHER, LATER, (large("x"),))]).result()

    found = index.by_digest(REPO, sha256("model.safetensors").hex)
    assert found == (COMMIT, large("model.safetensors"))
    assert index.by_digest(REPO, git_sha1("README.md").hex) == (COMMIT, small("README.md"))
    assert index.by_xet(REPO, xet("model.safetensors")) == found
    assert index.by_digest(REPO, sha256("x").hex) is None
    assert index.by_xet(REPO, xet("x")) is None
    assert index.by_digest(OTHER, sha256("x").hex) == (LATER, large("x"))
    assert index.by_digest(REPO, "") is None


def test_by_digest_finds_a_small_file_by_its_sha256_once_linked(index: Index) -> None:
    """A link makes the sha256 of a file that upstream names by git sha1 a way to it."""
    index.record([Entries(REPO, COMMIT, TREE)]).result()
    assert index.by_digest(REPO, sha256("README.md").hex) is None

    index.link(git_sha1("README.md"), sha256("README.md")).result()

    assert index.by_digest(REPO, sha256("README.md").hex) == (COMMIT, small("README.md"))


def test_links_first_word_stands(index: Index) -> None:
    """Which content a git sha1 names does not change, so a second answer is not believed."""
    index.link(git_sha1("a"), sha256("a")).result()
    index.link(git_sha1("a"), sha256("forged")).result()
    source = source_of("https://host/a")
    index.link(source, sha256("b")).result()
    index.link(source, sha256("forged")).result()

    assert index.sha256_of(source) == sha256("b")
    # Content can be made whose sha256 is what a source is called by: that is no link.
    assert index.sha256_of(Digest("sha256", source.hex)) is None

    assert index.sha256_of(git_sha1("a")) == sha256("a")
    assert index.sha256_of(git_sha1("b")) is None
    assert index.sha256_of(sha256("a")) is None


def test_visibility_and_alias_latest_word_holds(index: Index) -> None:
    """Audience and alias are what was last seen, and unknown until then."""
    private, public = (
        Visibility(REPO, private=True, gated=False, seen_at=NOON),
        Visibility(REPO, private=False, gated=True, seen_at=NOON + 1),
    )
    old = Repo("huggingface", "models/acme/old")
    first, second = Alias(old, REPO, "65f0", NOON), Alias(old, OTHER, "65f1", NOON + 1)
    assert index.visibility(REPO) is None
    assert index.alias(old) is None

    index.record([private, first]).result()
    assert (index.visibility(REPO), index.alias(old)) == (private, first)
    index.record([public, second]).result()

    assert (index.visibility(REPO), index.alias(old)) == (public, second)
    assert index.alias(REPO) is None


def test_verdicts_hang_on_credential_repo_and_access(index: Index) -> None:
    """A verdict is found under exactly what it was given for, and the last one holds."""
    taken = Verdict(REPO, Access.READ, accepted=True, seen_at=NOON)
    index.record_verdict("ab12", taken).result()

    assert index.verdict("ab12", REPO, Access.READ) == taken
    assert index.verdict("ab12", REPO, Access.LIST) is None
    assert index.verdict("ab12", OTHER, Access.READ) is None
    assert index.verdict("", REPO, Access.READ) is None
    assert index.accepted_anywhere("ab12")
    assert not index.accepted_anywhere("cd34")
    refused = replace(taken, accepted=False, seen_at=NOON + 1)
    index.record_verdict("ab12", refused).result()
    assert index.verdict("ab12", REPO, Access.READ) == refused
    assert not index.accepted_anywhere("ab12")
    assert list(index.repos(public_only=False)) == []


def test_replies_lasting_ones_alone_are_kept(index: Index) -> None:
    """A lasting reply comes back whole and is replaced by the next; a passing one is not kept."""
    body = bytes(range(256))
    index.record([reply("lasts", b"old"), reply("passes", lasting=False)]).result()
    index.record([reply("lasts", body)]).result()

    assert index.reply("lasts") == reply("lasts", body)
    assert index.reply("passes") is None


def test_record_passes_over_what_is_not_for_it(index: Index) -> None:
    """Leads, and verdicts without their credential, are no error and leave nothing."""
    lead = Lead(UpstreamRequest("GET", "/api/next"))
    index.record([lead, Verdict(REPO, Access.READ, accepted=True, seen_at=NOON)]).result()
    index.record([]).result()

    assert list(index.repos(public_only=False)) == []


def test_record_is_all_or_nothing(index: Index) -> None:
    """A fact that cannot be written takes its companions with it, and nobody else's."""
    bad = Entries(REPO, COMMIT, (replace(small("a"), size=2**70),))
    before = index.record([Ref(REPO, "before", COMMIT, NOON)])
    broken = index.record([Ref(REPO, "main", COMMIT, NOON), bad])
    after = index.record([Ref(REPO, "after", COMMIT, NOON)])

    with pytest.raises(OverflowError):
        broken.result()
    before.result()
    after.result()
    assert [ref.revision for ref in index.refs(REPO)] == ["after", "before"]


def test_blobs_totals_follow_what_comes_and_goes(index: Index) -> None:
    """The totals are those of the blobs stored and not dropped, each counted once."""
    a, b = sha256("a"), sha256("b")
    index.stored([(a, 10), (b, 5)]).result()
    index.stored([(a, 10)]).result()
    assert index.totals() == Totals(2, 15)

    index.dropped([a, sha256("never here")]).result()

    assert index.totals() == Totals(1, 5)


def test_blobs_recency_is_the_order_of_use(index: Index) -> None:
    """Blobs come in order of last use, page by page; touching moves one to the end."""
    names = [sha256(text) for text in "abc"]
    index.stored([(name, 1) for name in names]).result()
    index.touch([names[0], sha256("unknown")]).result()

    found = index.least_recent(after=0, limit=10)

    assert [blob.digest for blob in found] == [names[1], names[2], names[0]]
    assert found[0] == StoredBlob(names[1], 1, found[0].used)
    assert list(index.least_recent(after=0, limit=1)) == list(found[:1])
    assert list(index.least_recent(after=found[0].used, limit=10)) == list(found[1:])


@pytest.mark.parametrize("verb", ["stored", "dropped", "touch", "link"])
def test_blobs_are_named_by_sha256_alone(index: Index, verb: str) -> None:
    """Another algorithm where a blob's name belongs is refused, not taken for a name."""
    wrong = git_sha1("a")
    futures = {
        "stored": lambda: index.stored([(wrong, 1)]),
        "dropped": lambda: index.dropped([wrong]),
        "touch": lambda: index.touch([wrong]),
        "link": lambda: index.link(wrong, wrong),
    }

    with pytest.raises(ValueError, match="is not a sha256"):
        futures[verb]().result()


def test_repos_count_contents_once(index: Index) -> None:
    """Two commits that share their files count those once, and what is stored follows the store."""
    index.record([head(), Entries(REPO, COMMIT, TREE)]).result()
    changed = (*TREE[:-1], large("model.safetensors", "retrained", 7))
    index.record(
        [
            Entries(REPO, LATER, changed),
            Visibility(REPO, private=False, gated=False, seen_at=NOON + 3),
        ]
    ).result()
    files = sum(entry.kind == "file" for entry in TREE) + 1

    (row,) = index.repos(public_only=True)
    assert (row.repo, row.commits, row.files, row.files_stored, row.bytes_stored) == (
        (REPO, 2, files, 0, 0)
    )
    assert row.visibility == Visibility(REPO, private=False, gated=False, seen_at=NOON + 3)
    assert row.seen_at == NOON + 3

    index.stored([(sha256("retrained"), 7)]).result()
    readme = (git_sha1("README.md"), sha256("README.md"))
    index.stored([(sha256("README.md"), 10)], [readme]).result()
    index.stored([(sha256("data/a.txt"), 10)]).result()
    index.link(git_sha1("data/a.txt"), sha256("data/a.txt")).result()
    (row,) = index.repos(public_only=True)
    assert (row.files_stored, row.bytes_stored) == (3, 27)

    index.dropped([sha256("README.md"), sha256("retrained")]).result()
    (row,) = index.repos(public_only=True)
    assert (row.files_stored, row.bytes_stored) == (1, 10)


def test_repos_stored_before_known_count_too(index: Index) -> None:
    """A blob that came by another repo counts as stored here from the moment it is known here."""
    index.stored([(sha256("shared"), 8), (sha256("note"), 4)], [(git_sha1("note"), sha256("note"))])
    index.record([Entries(REPO, COMMIT, (large("m", "shared", 8), small("n", "note", 4)))]).result()
    index.record([Entries(OTHER, COMMIT, (large("m", "shared", 8),))]).result()

    rows = {
        row.repo: (row.files_stored, row.bytes_stored) for row in index.repos(public_only=False)
    }

    assert rows == {REPO: (2, 12), OTHER: (1, 8)}


def test_repos_public_only_names_no_other(index: Index) -> None:
    """Private, gated and unknown repos are left out of what may be shown to everybody."""
    names = ["public", "private", "gated", "unknown"]
    public, private, gated, unknown = (Repo("huggingface", name) for name in names)
    index.record(
        [
            Visibility(public, private=False, gated=False, seen_at=NOON),
            Visibility(private, private=True, gated=False, seen_at=NOON),
            Visibility(gated, private=False, gated=True, seen_at=NOON),
            Ref(unknown, "main", COMMIT, NOON),
        ]
    ).result()

    assert [row.repo for row in index.repos(public_only=True)] == [public]
    assert [row.repo.name for row in index.repos(public_only=False)] == sorted(names)


def _public(index: Index, *names: str, private: bool = False) -> None:
    """Repos with one stored file each, of 8 bytes."""
    for name in names:
        repo = Repo("huggingface", name)
        index.record(
            [
                Visibility(repo, private=private, gated=False, seen_at=NOON),
                Entries(repo, COMMIT, (large("m", "shared", 8), large("n", "absent", 9))),
            ]
        ).result()
    index.stored([(sha256("shared"), 8)]).result()


def test_shown_are_public_repos_with_bytes_here(index: Index) -> None:
    """By name, page by page, and the one that is searched for in either case."""
    names = ["datasets/acme/corpus", "models/acme/BERT-tiny", "models/acme/modèle", "models/gpt2"]
    _public(index, *names)
    _public(index, "models/acme/hidden", private=True)
    bare = Repo("huggingface", "models/acme/bare")
    index.record(
        [
            Visibility(bare, private=False, gated=False, seen_at=NOON),
            Entries(bare, COMMIT, (large("z", "absent", 9),)),
        ]
    ).result()

    def shown(text: str = "", after: str | None = None, limit: int = 9) -> list[str]:
        behind = None if after is None else Repo("huggingface", after)
        return [row.repo.name for row in index.shown(text, after=behind, limit=limit)]

    assert shown() == names
    assert shown(limit=2) == names[:2]
    assert shown(after=names[1]) == names[2:]
    assert shown("bert") == shown("BERT-T") == [names[1]]
    assert shown("ACME", after=names[0]) == names[1:3]
    assert shown("è") == [names[2]]
    assert shown("%") == shown("hidden") == shown("bert\0") == []
    (row,) = index.shown("gpt2", after=None, limit=1)
    assert (row.files, row.files_stored, row.bytes_stored) == (2, 1, 8)
    assert index.row(row.repo) == row
    assert index.row(Repo("huggingface", "models/acme/none")) is None


def test_shown_counts_follow_what_is_shown(index: Index) -> None:
    """What comes, goes, or turns private is counted at once, by kind."""
    _public(index, "models/a/b", "models/gpt2", "datasets/a/b", "flat")
    _public(index, "models/a/hidden", private=True)
    counts = {
        ("huggingface", ""): 1,
        ("huggingface", "datasets"): 1,
        ("huggingface", "models"): 2,
    }

    assert dict(index.shown_counts()) == counts

    turned = Visibility(
        Repo("huggingface", "models/gpt2"), private=True, gated=False, seen_at=NOON + 1
    )
    index.record([turned]).result()
    assert index.shown_counts()["huggingface", "models"] == 1
    index.record([replace(turned, private=False, seen_at=NOON + 2)]).result()
    assert dict(index.shown_counts()) == counts
    index.dropped([sha256("shared")]).result()
    assert dict(index.shown_counts()) == {}


def test_missing_names_what_a_commit_lacks(index: Index) -> None:
    """The paths whose content is not here, by either digest; folders lack nothing."""
    index.record([head(), Entries(REPO, COMMIT, TREE)]).result()
    paths = [entry.path for entry in TREE if entry.kind == "file"]

    assert index.missing(REPO, COMMIT, limit=99) == sorted(paths)
    assert index.missing(REPO, COMMIT, limit=2) == sorted(paths)[:2]
    assert index.missing(REPO, COMMIT, after="data/a.txt", limit=9) == sorted(paths)[3:]
    assert index.missing(REPO, LATER, limit=99) == []

    index.stored([(sha256("model.safetensors"), 7)]).result()
    readme = (git_sha1("README.md"), sha256("README.md"))
    index.stored([(sha256("README.md"), 10)], [readme]).result()
    assert index.missing(REPO, COMMIT, limit=99) == sorted(
        set(paths) - {"README.md", "model.safetensors"}
    )
    before = index.drops
    index.dropped([sha256("README.md")]).result()
    assert index.drops > before
    assert "README.md" in index.missing(REPO, COMMIT, limit=99)


def test_size_of_finds_a_blob_by_any_name(index: Index) -> None:
    """Its sha256, what git calls it, and where it came from name the same bytes, while they are here."""
    source = source_of("https://host/file")
    index.stored([(sha256("a"), 12)], [(git_sha1("a"), sha256("a")), (source, sha256("a"))])
    index.stored([]).result()

    assert [index.size_of(name) for name in (sha256("a"), git_sha1("a"), source)] == [12] * 3
    assert index.size_of(git_sha1("b")) is None
    index.dropped([sha256("a")]).result()
    assert [index.size_of(name) for name in (sha256("a"), git_sha1("a"), source)] == [None] * 3


def test_keys_are_read_in_pages(index: Index) -> None:
    """The keys of what is kept under one beginning, in order, from where the last page ended."""
    keys = ["GET https://a/x", "HEAD https://a/x", "HEAD https://a/é", "HEAD https://b/y"]
    index.record([reply(key) for key in keys]).result()

    assert index.keys("HEAD https://", after="", limit=9) == keys[1:]
    assert index.keys("HEAD https://", after="", limit=2) == keys[1:3]
    assert index.keys("HEAD https://", after=keys[2], limit=2) == keys[3:]
    assert index.keys("HEAD https://c", after="", limit=9) == []


def test_look_ups_answer_on_any_thread(index: Index) -> None:
    """What was recorded is seen by threads that never asked before, several at once."""
    index.record([Entries(REPO, COMMIT, TREE)]).result()

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda entry: index.entry(REPO, COMMIT, entry.path), TREE))

    assert found == list(TREE)


def test_close_ends_writing(index: Index) -> None:
    """What was handed in is written; what comes after is refused; closing twice is no error."""
    pending = [index.record([Ref(REPO, f"v{number}", COMMIT, NOON)]) for number in range(200)]
    index.close()
    index.close()

    assert [future.result(timeout=0) for future in pending] == [None] * 200
    with pytest.raises(StoreUnusableError, match="closed"):
        index.record([Ref(REPO, "late", COMMIT, NOON)]).result()
