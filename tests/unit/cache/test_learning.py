"""Where each fact goes, and what a rebuilt index still knows."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from mirror.cache.learning import MAX_FORMS, Learning
from mirror.digest import Digest
from mirror.events import Alarm, Event
from mirror.index.arrears import Arrears
from mirror.index.catalog import Catalog
from mirror.index.journal import Journal
from mirror.index.memo import Memo
from mirror.index.rebuild import rebuild
from mirror.index.records import Records
from mirror.messages import Response
from mirror.names import (
    Access,
    Alias,
    Entries,
    Entry,
    Fact,
    Ref,
    Reply,
    Repo,
    Snapshot,
    SnapshotState,
    Verdict,
    Visibility,
)
from mirror.store import durable
from mirror.store.layout import Layout

REPO = Repo("hub", "models/acme/tiny")
COMMIT, LATER = "a" * 40, "b" * 40
FILE = Entry("a.txt", "file", 1, Digest("git-sha1", "c" * 40), "c" * 40, None, b'{"path":"a.txt"}')


class House:
    """Everything that remembers, in one folder."""

    def __init__(self, layout: Layout, stack: ExitStack) -> None:
        self.layout = layout
        self.writes: list[Path] = []
        self.events: list[Event] = []
        self.catalog = Catalog.open(layout.index)
        stack.callback(self.close)
        self.catalog.finish()
        self.records = Records(layout.records, self._write)
        self.journal = Journal.open(layout.journal, self._write, durable.sync_file)
        stack.callback(self.journal.close)
        memo = Memo.open(layout.memo)
        stack.callback(memo.close)
        self.learning = Learning(
            catalog=self.catalog,
            memo=memo,
            arrears=Arrears(self.catalog, self.journal, self.records),
            observe=self.events.append,
        )

    def learn(self, *facts: Fact, fingerprint: str = "") -> None:
        """Take facts in."""
        asyncio.run(self.learning.learn(facts, fingerprint))

    def lose_the_index(self) -> Catalog:
        """Begin the catalog again from records and journal."""
        self.catalog.close()
        for file in self.layout.root.glob("index.sqlite3*"):
            file.unlink()
        self.catalog = Catalog.open(self.layout.index)
        rebuild(self.catalog, self.records, self.journal, ())
        return self.catalog

    def close(self) -> None:
        """Close the catalog that is open now."""
        self.catalog.close()

    def _write(self, path: Path, data: bytes) -> None:
        self.writes.append(path)
        durable.write(self.layout.temporary(), path, data)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A prepared data folder with a catalog, records, a journal and a memo."""
    layout = Layout(tmp_path / "data")
    layout.prepare()
    with ExitStack() as stack:
        yield House(layout, stack)


def _whole(commit: str, at: float, view: str = "full") -> tuple[Fact, ...]:
    return (
        Ref(REPO, "main", commit, at),
        Visibility(REPO, private=False, gated=False, seen_at=at),
        Snapshot(REPO, commit, SnapshotState.PENDING, "", b"{}", at),
        Entries(REPO, commit, (FILE,)),
        Snapshot(REPO, commit, SnapshotState.COMPLETE, view, b"", at),
    )


def test_learning_writes_a_record_once(house: House) -> None:
    """A complete list is recorded when it completes and not again with every fresh look at its head."""
    house.learn(*_whole(COMMIT, 1.0))
    written = len(house.writes)

    for at in (2.0, 3.0):
        house.learn(
            Ref(REPO, "main", COMMIT, at),
            Snapshot(REPO, COMMIT, SnapshotState.PENDING, "", b"{}", at),
        )

    assert len(house.writes) == written
    snapshot = house.catalog.snapshot(REPO, COMMIT)
    assert snapshot is not None
    assert snapshot.state is SnapshotState.COMPLETE


def test_learning_writes_a_record_again_when_more_is_seen(house: House) -> None:
    """A list with hidden hashes is recorded anew once somebody saw all of it."""
    house.learn(*_whole(COMMIT, 1.0, view="redacted"))
    written = len(house.writes)
    house.learn(*_whole(COMMIT, 2.0, view="full"))

    assert len(house.writes) == written + 1


def test_learning_remembers_that_a_repo_went_private_when_the_index_is_lost(house: House) -> None:
    """The record says public, the journal says private since: a rebuilt index believes the journal."""
    house.learn(*_whole(COMMIT, 1.0))
    house.learn(Visibility(REPO, private=True, gated=False, seen_at=2.0))

    seen = house.lose_the_index().visibility(REPO)

    assert seen is not None
    assert seen.private


def test_learning_remembers_refs_aliases_and_replies_when_the_index_is_lost(house: House) -> None:
    """A ref that moved back, another name and a lasting reply survive the loss of the index."""
    other = Repo("hub", "models/acme/old")
    response = Response(200, {}, b"[]", "https://hub", "https://hub/refs")
    house.learn(*_whole(COMMIT, 1.0))
    house.learn(*_whole(LATER, 2.0))
    house.learn(Ref(REPO, "main", COMMIT, 3.0))
    house.learn(Alias(other, REPO, "id", 3.0), Reply("refs", response, 3.0, 60.0, lasting=True))

    catalog = house.lose_the_index()

    ref, alias = catalog.ref(REPO, "main"), catalog.alias(other)
    assert ref is not None
    assert ref.commit == COMMIT
    assert alias is not None
    assert alias.repo == REPO
    assert catalog.reply("refs") is not None
    assert catalog.entry(REPO, LATER, "a.txt") == FILE


def test_learning_accepts_nobody_without_a_credential(house: House) -> None:
    """A verdict learned without a credential is not written down for anybody."""
    house.learn(Verdict(REPO, Access.READ, accepted=True, seen_at=1.0))
    house.learn(Verdict(REPO, Access.READ, accepted=True, seen_at=1.0), fingerprint="alice")

    assert house.catalog.verdict("", REPO, Access.READ) is None
    assert house.catalog.verdict("alice", REPO, Access.READ) is not None


def test_learning_keeps_no_refusal_of_a_credential_that_was_never_accepted(house: House) -> None:
    """A thousand made-up tokens leave nothing; what was accepted once is not, once it is refused."""
    for number in range(1000):
        house.learn(
            Verdict(REPO, Access.READ, accepted=False, seen_at=1.0), fingerprint=f"made-up {number}"
        )
        assert house.catalog.verdict(f"made-up {number}", REPO, Access.READ) is None
    house.learn(Verdict(REPO, Access.READ, accepted=True, seen_at=1.0), fingerprint="alice")
    house.learn(Verdict(REPO, Access.READ, accepted=False, seen_at=2.0), fingerprint="alice")

    verdict = house.catalog.verdict("alice", REPO, Access.READ)
    assert verdict is not None
    assert not verdict.accepted


def test_learning_keeps_a_document_in_so_many_forms_and_no_more(house: House) -> None:
    """Queries are made up by callers: beyond the bound a form may be forgotten, and is used all the same."""
    response = Response(200, {}, b"[]", "https://hub", "https://hub/x")

    def told(key: str) -> Reply:
        return Reply(key, response, 1.0, 60.0, lasting=True)

    path = "GET /api/models/acme/tiny/commits/main"
    for number in range(MAX_FORMS + 50):
        house.learn(told(f"{path}?p={number}"))
    written = len(list(house.layout.records.rglob("*.json")))
    kept = sum(house.catalog.reply(f"{path}?p={number}") is not None for number in range(400))
    assert kept == written == MAX_FORMS
    # What is kept is still renewed, and others are not crowded out: its neighbours, and longer paths.
    for key in (
        f"{path}?p=0",
        path,
        f"{path}2?p=1",
        "POST /api/models/acme/tiny/commits/main body=ab",
    ):
        house.learn(replace(told(key), seen_at=2.0))
        kept_reply = house.catalog.reply(key)
        assert kept_reply is not None
        assert kept_reply.seen_at == 2.0


def test_learning_raises_the_alarm_over_a_name_that_changed_hands(house: House) -> None:
    """Another id under a known name is told once, also where the name leads elsewhere."""
    old = Repo("hub", "models/acme/old")
    for facts in ((REPO, REPO), (old, REPO)):
        asked, repo = facts
        house.learn(Alias(asked, repo, "first", 1.0))
        house.learn(Alias(asked, repo, "first", 2.0))
        house.learn(Alias(asked, repo, "", 3.0))
        assert house.events == []
        for at in (4.0, 5.0):
            house.learn(Alias(asked, repo, "second", at))
        (alarm,) = house.events
        assert isinstance(alarm, Alarm)
        assert alarm.kind == "takeover"
        assert asked.name in alarm.detail
        house.events.clear()


def test_learning_frees_a_name_that_answers_for_itself_again(house: House) -> None:
    """A repo made anew under an old name is nobody's alias any longer."""
    old = Repo("hub", "models/acme/old")
    house.learn(Alias(old, REPO, "id", 1.0))
    house.learn(Alias(old, old, "id", 2.0))

    assert house.catalog.alias(old) == Alias(old, old, "id", 0.0)


@pytest.mark.parametrize(
    ("known", "told", "since"),
    [
        (None, "first", 0.0),
        ("first", "first", 0.0),
        ("first", "second", 3.0),
        ("", "first", 0.0),
        ("first", "", 0.0),
    ],
)
def test_learning_dates_a_name_from_the_repo_that_took_it_over(
    house: House, known: str | None, told: str, since: float
) -> None:
    """A name is its repo's since ever, until upstream shows another id there: then since that moment."""
    if known is not None:
        house.learn(Alias(REPO, REPO, known, 1.0))
    house.learn(Alias(REPO, REPO, told, 3.0))

    alias = house.catalog.alias(REPO)

    assert alias is not None
    assert alias.seen_at == since
