"""The journal gives back what was said, whatever a crash did to its end."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.errors import StoreUnusableError
from mirror.index.journal import Journal
from mirror.index.lines import Forget, Line, Link, Note, Unlink, decode, encode
from mirror.names import Alias, Ref, Repo, Visibility
from tests.unit.index.disk import Syncs, write
from tests.unit.index.samples import COMMIT, LATER, NOON, OTHER, REPO, git_sha1, sha256

LINES: list[Line] = [
    Link(git_sha1("a"), sha256("a")),
    Ref(REPO, "main", COMMIT, NOON),
    Alias(Repo("huggingface", "models/old"), REPO, "65f0", NOON),
    Visibility(REPO, private=True, gated=False, seen_at=NOON),
    Note("pin", "huggingface:models/acme/tiny-bert", {"revision": "main"}),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a journal may be."""
    return tmp_path / "journal.jsonl"


@pytest.fixture
def syncs() -> Syncs:
    """The syncs of one test."""
    return Syncs()


@pytest.fixture
def reopened(path: Path, syncs: Syncs) -> Iterator[Callable[[], tuple[Journal, list[str]]]]:
    """Open the journal again, with what it says of damage; all are closed at the end."""
    opened: list[Journal] = []

    def reopen() -> tuple[Journal, list[str]]:
        for journal in opened:
            journal.close()
        said: list[str] = []
        opened.append(Journal.open(path, write, syncs, said.append))
        return opened[-1], said

    yield reopen
    for journal in opened:
        journal.close()


Reopen = Callable[[], tuple[Journal, list[str]]]


def test_append_comes_back_after_a_restart(reopened: Reopen) -> None:
    """Every kind of line is replayed as it was said, in order."""
    journal, _ = reopened()
    journal.append(LINES[:2])
    journal.append(LINES[2:])

    journal, said = reopened()

    assert list(journal.replay()) == LINES
    assert said == []


def test_append_one_batch_is_one_sync(reopened: Reopen, syncs: Syncs) -> None:
    """However many lines a batch has, it waits for the disk once; an empty one does not."""
    journal, _ = reopened()
    journal.append(LINES)
    journal.append([])
    journal.link([(git_sha1("b"), sha256("b")), (git_sha1("c"), sha256("c"))])

    assert syncs.count == 2


def test_append_that_fails_leaves_no_trace(reopened: Reopen, syncs: Syncs, path: Path) -> None:
    """A batch that cannot be brought to the disk is refused and taken back; the next one is good."""
    journal, _ = reopened()
    journal.append(LINES[:1])
    before = path.read_bytes()
    syncs.failing = True

    with pytest.raises(StoreUnusableError, match="Input/output error"):
        journal.append(LINES[1:])

    assert path.read_bytes() == before
    syncs.failing = False
    journal.append(LINES[1:])
    assert list(journal.replay()) == LINES


@pytest.mark.parametrize("lost", range(1, len(encode(LINES[-1])) + 1, 7))
def test_open_cuts_off_a_torn_line(reopened: Reopen, path: Path, lost: int) -> None:
    """A last line that is short by any number of bytes is cut off, told of, and in nobody's way."""
    journal, _ = reopened()
    journal.append(LINES)
    whole = path.read_bytes()
    path.write_bytes(whole[:-lost])

    journal, said = reopened()
    assert list(journal.replay()) == LINES[:-1]
    journal.append(LINES[-1:])

    assert path.read_bytes() == whole
    assert len(said) == (1 if lost < len(encode(LINES[-1])) else 0)


@pytest.mark.parametrize(
    "torn", [b"\0" * 5000, b"\n\n\n", b"{}\n", b'{"link": 3}\n\0\0\n', b"[1,2]\n"]
)
def test_open_cuts_off_blocks_that_never_reached_the_disk(
    reopened: Reopen, path: Path, torn: bytes
) -> None:
    """A file that grew before its bytes were written ends in anything; all of that goes."""
    journal, _ = reopened()
    journal.append(LINES)
    whole = path.read_bytes()
    path.write_bytes(whole + torn)

    journal, said = reopened()

    assert path.read_bytes() == whole
    assert list(journal.replay()) == LINES
    assert len(said) == 1


def test_open_finds_the_end_behind_much_that_is_torn(reopened: Reopen, path: Path) -> None:
    """A torn end longer than one look back does not take a good line with it."""
    journal, _ = reopened()
    journal.append(LINES)
    whole = path.read_bytes()
    path.write_bytes(whole + b"\0" * (3 << 20))

    journal, _ = reopened()

    assert path.read_bytes() == whole


def test_replay_skips_a_damaged_line_inside_and_says_so(reopened: Reopen, path: Path) -> None:
    """Rot in one line costs that line alone."""
    journal, _ = reopened()
    journal.append(LINES)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b'"ref"', b'"r\xff"')
    path.write_bytes(b"".join(lines))

    journal, said = reopened()

    assert list(journal.replay()) == [LINES[0], *LINES[2:]]
    assert said == ["Line 2 of journal.jsonl cannot be read: skipped."]


def test_replay_tells_the_latest_word_once(reopened: Reopen) -> None:
    """Later lines overrule earlier ones about the same thing; of links the first word stands."""
    journal, _ = reopened()
    moved = Ref(REPO, "main", LATER, NOON + 1)
    opened = Visibility(REPO, private=False, gated=False, seen_at=NOON + 1)
    renamed = Alias(Repo("huggingface", "models/old"), OTHER, "65f0", NOON + 1)
    journal.append(LINES)
    journal.ref(moved)
    journal.visibility(opened)
    journal.alias(renamed)
    journal.link([(git_sha1("a"), sha256("forged"))])

    assert list(journal.replay()) == [LINES[0], LINES[4], moved, opened, renamed]


def test_notes_hold_until_withdrawn(reopened: Reopen) -> None:
    """A pin said again is replaced, and one withdrawn is gone; other kinds are not told."""
    journal, _ = reopened()
    journal.note(Note("pin", "a", {"n": 1}))
    journal.note(Note("pin", "b", {}))
    journal.note(Note("grant", "a", {"to": "everyone"}))
    journal.note(Note("pin", "a", {"n": 2}))
    journal.note(Note("pin", "b", None))

    assert journal.notes("pin") == {"a": {"n": 2}}
    assert journal.notes("grant") == {"a": {"to": "everyone"}}
    assert journal.notes("serial") == {}


def test_compact_keeps_what_holds_and_what_it_does_not_know(reopened: Reopen, path: Path) -> None:
    """The rewritten file says the same in fewer lines; a line of a later version stays as it is."""
    journal, _ = reopened()
    for number in range(50):
        journal.append([Ref(REPO, "main", COMMIT, NOON + number), Note("pin", "a", None)])
    journal.append(LINES[2:])
    unknown = b'{"novelty":{"of":"tomorrow"}}\n'
    path.write_bytes(path.read_bytes() + unknown)
    before = list(journal.replay())
    lines = len(path.read_bytes().splitlines())

    assert journal.compact(redundant=1000) == 0
    assert len(path.read_bytes().splitlines()) == lines
    assert journal.compact(redundant=10) == 99

    assert list(journal.replay()) == before
    assert unknown in path.read_bytes()
    journal.append(LINES[:1])
    assert list(reopened()[0].replay()) == [*before, LINES[0]]
    assert journal.compact(redundant=0) == 0


def test_links_may_be_taken_back(reopened: Reopen) -> None:
    """After that the next word stands, also once the journal was compacted."""
    journal, _ = reopened()
    name = git_sha1("a")
    journal.append([Link(name, sha256("a")), Link(name, sha256("b")), Unlink(name)])
    assert list(journal.replay()) == []
    journal.append([Link(name, sha256("c")), Link(name, sha256("d"))])
    assert list(journal.replay()) == [Link(name, sha256("c"))]

    assert journal.compact(1) == 4
    assert list(journal.replay()) == [Link(name, sha256("c"))]


def test_what_was_said_of_a_repo_may_be_forgotten(reopened: Reopen) -> None:
    """Of one commit its refs, of all of it names and audience too; what is said afterwards holds."""
    journal, _ = reopened()
    moved, tagged = Ref(REPO, "main", LATER, NOON), Ref(REPO, "v1", COMMIT, NOON)
    seen = Visibility(REPO, private=True, gated=False, seen_at=NOON)
    former = Alias(OTHER, REPO, "id", NOON)
    elsewhere = Ref(OTHER, "main", COMMIT, NOON)
    pin = Note("pin", "a", {"hub": REPO.hub})
    journal.append([moved, tagged, seen, former, elsewhere, pin])

    journal.append([Forget(REPO, COMMIT)])
    assert list(journal.replay()) == [moved, seen, former, elsewhere, pin]
    journal.append([Forget(REPO, "")])
    assert list(journal.replay()) == [elsewhere, pin]
    journal.append([tagged])
    assert list(journal.replay()) == [elsewhere, pin, tagged]
    assert journal.compact(1) == 6
    assert list(journal.replay()) == [elsewhere, pin, tagged]


def test_append_from_many_threads_keeps_lines_whole(reopened: Reopen) -> None:
    """Batches that come at once follow one another; none is mixed into another."""
    journal, _ = reopened()

    def say(writer: int) -> None:
        for number in range(20):
            journal.append([Ref(REPO, f"{writer}-{number}", COMMIT, NOON)] * 3)

    threads = [threading.Thread(target=say, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(list(journal.replay())) == 80
    assert journal.compact(redundant=1) == 160


def test_close_ends_writing(reopened: Reopen) -> None:
    """A closed journal refuses, and may be closed again."""
    journal, _ = reopened()
    journal.close()
    journal.close()

    with pytest.raises(StoreUnusableError, match="closed"):
        journal.append(LINES)


def test_open_refuses_a_place_where_no_file_can_be(tmp_path: Path, syncs: Syncs) -> None:
    """A folder in the way is an error that names the journal."""
    with pytest.raises(StoreUnusableError, match="journal"):
        Journal.open(tmp_path, write, syncs)


TEXT = st.text(alphabet=st.characters(codec=None), max_size=30)
REPOS = st.builds(Repo, TEXT, TEXT)
TIMES = st.floats(allow_nan=False, allow_infinity=False)
ANY_LINE = st.one_of(
    st.builds(Link, st.just(git_sha1("a")), st.just(sha256("a"))),
    st.builds(Ref, REPOS, TEXT, TEXT, TIMES),
    st.builds(Alias, REPOS, REPOS, TEXT, TIMES),
    st.builds(Visibility, REPOS, st.booleans(), st.booleans(), TIMES),
    st.builds(Note, TEXT, TEXT, st.one_of(st.none(), st.dictionaries(TEXT, st.integers()))),
    st.builds(Unlink, st.just(git_sha1("a"))),
    st.builds(Forget, REPOS, TEXT),
)


@given(ANY_LINE)
def test_line_any_comes_back_and_is_one_line_of_json(line: Line) -> None:
    """Whatever a name holds, a line is one line, is JSON, and says the same when read."""
    text = encode(line)

    assert text.count(b"\n") == 1
    assert text.endswith(b"\n")
    assert len(json.loads(text)) == 1
    assert decode(text) == line


@given(st.binary(max_size=80))
def test_line_of_anything_else_is_no_error(text: bytes) -> None:
    """Reading a line never raises, whatever it holds."""
    decode(text)
