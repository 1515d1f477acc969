"""Records keep upstream's answers unaltered, one file per snapshot, and the catalog comes back from them."""

import json
from pathlib import Path

import pytest

from mirror.index.catalog import Catalog
from mirror.index.journal import Journal
from mirror.index.protocol import Index
from mirror.index.rebuild import rebuild
from mirror.index.records import PAGE, Records, SnapshotRecord
from mirror.names import (
    Access,
    Alias,
    Entries,
    Entry,
    Ref,
    Repo,
    SnapshotState,
    Verdict,
    Visibility,
)
from tests.doubles.memory_index import MemoryIndex
from tests.unit.index.disk import Syncs, write
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
    small("README.md"),
    small("data/naïve 模型\udcff"),
    large("model.safetensors"),
)
INFO = b'{"id":"acme/tiny-bert" ,\n "odd":"\xff\xed\xa0\x80"}'
PUBLIC = Visibility(REPO, private=False, gated=False, seen_at=NOON)


@pytest.fixture
def said() -> list[str]:
    """What the records said of damage."""
    return []


@pytest.fixture
def records(tmp_path: Path, said: list[str]) -> Records:
    """Records in an empty folder."""
    return Records(tmp_path / "records", write, said.append)


@pytest.fixture
def index() -> Index:
    """An index that knows one snapshot."""
    index = MemoryIndex()
    main = Ref(REPO, "main", COMMIT, NOON)
    index.record([PUBLIC, main, Ref(REPO, "v1", COMMIT, NOON), Ref(REPO, "dev", LATER, NOON)])
    index.record([head(info=INFO), Entries(REPO, COMMIT, TREE)])
    return index


def _saved(records: Records, index: Index) -> Path:
    return records.save(index, REPO, COMMIT)


def test_save_keeps_all_that_is_known_of_a_snapshot(records: Records, index: Index) -> None:
    """A record holds description, audience, the refs on this commit, and every entry to the byte."""
    _saved(records, index)

    (record,) = records.walk()

    assert record == SnapshotRecord(
        head(info=INFO),
        PUBLIC,
        (Ref(REPO, "main", COMMIT, NOON), Ref(REPO, "v1", COMMIT, NOON)),
        tuple(sorted(TREE, key=lambda entry: entry.path)),
        (),
    )


def test_save_names_no_file_after_a_repo(records: Records, tmp_path: Path) -> None:
    """Whatever a repo is called, its record lies at two levels of hexadecimal."""
    index = MemoryIndex()
    names = ["../../canary", "/etc/passwd", "a/b", "a", "\ud800", "x" * 5000, ""]
    for name in names:
        repo = Repo("huggingface", name)
        index.record([head(repo=repo)])
        path = records.save(index, repo, COMMIT)
        below = path.relative_to(tmp_path / "records")
        assert below.suffix == ".json"
        assert below.parts[0] == below.stem[:2]
        assert int(below.stem, 16) >= 0

    assert sorted(
        r.snapshot.repo.name for r in records.walk() if isinstance(r, SnapshotRecord)
    ) == (sorted(names))
    assert [path.name for path in tmp_path.iterdir()] == ["records"]


def test_save_keeps_apart_what_runs_together(records: Records) -> None:
    """Two names whose parts join to the same text have two records."""
    one = records.path(Repo("hub", "a/b"), "c")

    assert records.path(Repo("hub", "a"), "b/c") != one
    assert records.path(Repo("hub/a", "b"), "c") != one


def test_save_again_replaces_and_forget_removes(records: Records, index: Index) -> None:
    """There is one record per snapshot, the last one; a forgotten one is gone."""
    _saved(records, index)
    index.record([head(info=b"new", seen_at=NOON + 1)])
    _saved(records, index)
    (record,) = records.walk()
    assert isinstance(record, SnapshotRecord)
    assert record.snapshot == head(info=b"new", seen_at=NOON + 1)

    records.forget(REPO, COMMIT)
    records.forget(REPO, COMMIT)

    assert list(records.walk()) == []


def test_save_of_a_snapshot_longer_than_a_page_is_whole(records: Records) -> None:
    """Entries are read in pages; none is lost or doubled where they meet."""
    index = MemoryIndex()
    tree = tuple(small(f"{number:05}") for number in range(2 * PAGE))
    index.record([head(), Entries(REPO, COMMIT, tree)])
    _saved(records, index)

    (record,) = records.walk()

    assert isinstance(record, SnapshotRecord)
    assert record.entries == tree


def test_save_of_an_unknown_snapshot_is_refused(records: Records, index: Index) -> None:
    """There is no record of what was never seen."""
    with pytest.raises(LookupError, match=LATER):
        records.save(index, REPO, LATER)


def test_record_is_json_that_a_person_can_read(records: Records, index: Index) -> None:
    """One entry a line, ASCII, parsed by any JSON reader."""
    data = _saved(records, index).read_bytes()

    assert data.isascii()
    assert len(data.splitlines()) == len(TREE) + 2
    assert json.loads(data)["repo"] == REPO.name


@pytest.mark.parametrize(
    "damage", [b"", b"\0" * 100, b"{}", b"[]", b'{"form":1}', b"null", b'{"form":99}', None]
)
def test_walk_skips_a_damaged_record_and_says_so(
    records: Records, index: Index, said: list[str], damage: bytes | None
) -> None:
    """A file that is torn, empty or of another form costs itself alone."""
    path = _saved(records, index)
    path.write_bytes(path.read_bytes()[:-20] if damage is None else damage)
    records.save_reply(reply("kept"))

    assert list(records.walk()) == [reply("kept")]
    assert said == [f"The record {path.parent.name}/{path.name} cannot be read: skipped."]


def test_walk_believes_no_record_under_another_name(
    records: Records, index: Index, said: list[str]
) -> None:
    """A record that lies where another belongs speaks for nobody."""
    path = _saved(records, index)
    elsewhere = records.path(OTHER, COMMIT)
    elsewhere.parent.mkdir(exist_ok=True)
    path.rename(elsewhere)

    assert list(records.walk()) == []
    assert len(said) == 1


def _told(index: Index) -> None:
    """Everything lasting that an index can be told."""
    old = Repo("huggingface", "models/acme/old")
    index.record(
        [
            Visibility(REPO, private=True, gated=True, seen_at=NOON - 9),
            Visibility(OTHER, private=False, gated=True, seen_at=NOON),
            PUBLIC,
            Ref(REPO, "main", LATER, NOON - 9),
            head(commit=LATER, info=b"later", seen_at=NOON - 9),
            Entries(REPO, LATER, (large("model.safetensors", "older"), large("n", hidden=True))),
        ]
    ).result()
    index.record([head(info=INFO), Entries(REPO, COMMIT, TREE)]).result()
    index.record(
        [
            head(SnapshotState.LARGE, repo=OTHER, view="redacted"),
            Entries(OTHER, COMMIT, (small("seen"),), absent=("not/there",)),
            Alias(old, REPO, "65f0", NOON),
            reply("lasting"),
        ]
    ).result()
    index.record([Ref(REPO, "main", COMMIT, NOON), Ref(REPO, "v1", LATER, NOON)]).result()
    readme = (git_sha1("README.md"), sha256("README.md"))
    blobs = [(sha256("model.safetensors"), 10**9), (sha256("README.md"), 10), (sha256("gone"), 3)]
    index.stored(blobs, [readme]).result()


def _answers(index: Index) -> dict[str, object]:
    """Everything lasting that an index can be asked."""
    answers: dict[str, object] = {
        "alias": index.alias(Repo("huggingface", "models/acme/old")),
        "reply": index.reply("lasting"),
        "link": index.sha256_of(git_sha1("README.md")),
        "totals": index.totals(),
        "blobs": {(blob.digest, blob.size) for blob in index.least_recent(after=0, limit=99)},
        "repos": list(index.repos(public_only=False)),
        "public": list(index.repos(public_only=True)),
    }
    for repo in (REPO, OTHER):
        answers |= {
            f"visibility {repo}": index.visibility(repo),
            f"refs {repo}": list(index.refs(repo)),
            f"readme {repo}": index.by_digest(repo, sha256("README.md").hex),
            f"digest {repo}": index.by_digest(repo, sha256("model.safetensors").hex),
            f"xet {repo}": index.by_xet(repo, xet("older")),
        }
        for commit in (COMMIT, LATER):
            tree: list[Entry] = list(
                index.listing(repo, commit, "", recursive=True, after="", limit=99)
            )
            answers |= {
                f"snapshot {repo} {commit}": index.snapshot(repo, commit),
                f"tree {repo} {commit}": tree,
                f"absences {repo} {commit}": list(index.absences(repo, commit)),
                f"absent {repo} {commit}": index.absent(repo, commit, "not/there"),
                f"complete {repo} {commit}": index.absent(repo, commit, "nowhere"),
            }
    return answers


@pytest.mark.parametrize("begun", ["empty", "level", "behind"])
def test_rebuild_gives_equal_answers_for_all_that_lasts(
    records: Records, tmp_path: Path, begun: str
) -> None:
    """Thrown away, complete, or short of its last transactions: records, journal and blobs mend it."""
    syncs = Syncs()
    journal = Journal.open(tmp_path / "journal.jsonl", write, syncs)
    first = Catalog.open(tmp_path / "first.sqlite3")
    _told(first)
    records.save(first, REPO, LATER)
    records.save(first, REPO, COMMIT)
    records.save(first, OTHER, COMMIT)
    records.save_reply(reply("lasting"))
    old = first.alias(Repo("huggingface", "models/acme/old"))
    assert old is not None
    journal.alias(old)
    journal.ref(Ref(REPO, "v1", LATER, NOON - 5))
    journal.link([(git_sha1("README.md"), sha256("README.md"))])
    # What changed after the records were written is in the journal alone.
    gated = Visibility(REPO, private=False, gated=True, seen_at=NOON + 5)
    moved = Ref(REPO, "v1", COMMIT, NOON + 5)
    first.record([gated, moved]).result()
    journal.visibility(gated)
    journal.ref(moved)
    first.dropped([sha256("gone")]).result()
    expected = _answers(first)
    first.finish()
    first.close()

    second = Catalog.open(tmp_path / ("first.sqlite3" if begun == "level" else "second.sqlite3"))
    if begun == "behind":
        _told(second)
    assert second.fresh == (begun != "level")
    held = [(sha256("model.safetensors"), 10**9), (sha256("README.md"), 10)]
    rebuild(second, records, journal, held)

    assert _answers(second) == expected
    assert not second.fresh
    second.close()
    journal.close()


def test_rebuild_brings_back_no_credential(records: Records, index: Index, tmp_path: Path) -> None:
    """What a credential was allowed is asked of upstream again, never restored from disk."""
    index.record_verdict("ab12", Verdict(REPO, Access.READ, accepted=True, seen_at=NOON))
    _saved(records, index)
    journal = Journal.open(tmp_path / "journal.jsonl", write, Syncs())

    mended = MemoryIndex()
    rebuild(mended, records, journal, [])

    assert mended.snapshot(REPO, COMMIT) is not None
    assert mended.verdict("ab12", REPO, Access.READ) is None
    journal.close()


def test_rebuild_keeps_the_last_use_of_blobs_it_knew(records: Records, tmp_path: Path) -> None:
    """Bringing a catalog level does not make its oldest blob look used."""
    index = MemoryIndex()
    index.stored([(sha256("old"), 1), (sha256("new"), 1)])
    journal = Journal.open(tmp_path / "journal.jsonl", write, Syncs())

    rebuild(index, records, journal, [(sha256("new"), 1), (sha256("old"), 1), (sha256("found"), 1)])

    order = [blob.digest for blob in index.least_recent(after=0, limit=9)]
    assert order == [sha256("old"), sha256("new"), sha256("found")]
    journal.close()
