"""What one caller may be shown: freshness and audience, fact by fact."""

import pytest

from mirror.cache.facts import Lifetimes, View, own_key
from mirror.index.codec import encode_reply
from mirror.index.memo import Memo
from mirror.messages import Response
from mirror.names import (
    Access,
    Alias,
    Fact,
    Ref,
    Reply,
    Repo,
    Snapshot,
    SnapshotState,
    Verdict,
    Visibility,
)
from tests.doubles.memory_index import MemoryIndex

NOW = 1_750_000_000.0
REPO = Repo("hub", "models/acme/tiny")
COMMIT = "c" * 40
LIFETIMES = Lifetimes(refs={"hub": 60.0}, audience=300.0, grace=1000.0)


class _Memo(Memo):
    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    def get(self, key: str) -> bytes | None:
        return self.values.get(key)

    def set(self, key: str, value: bytes, lifetime: float) -> None:
        del lifetime
        self.values[key] = value


def _view(*facts: Fact, caller: str = "", offline: bool = False, memo: _Memo | None = None) -> View:
    index = MemoryIndex()
    index.record(facts).result()
    return View(index, memo or _Memo(), LIFETIMES, caller, NOW, NOW, offline=offline)


def _judged(view: View, caller: str, verdict: Verdict) -> None:
    view.catalog.record_verdict(caller, verdict).result()


@pytest.mark.parametrize(
    ("age", "shown"), [(0.0, True), (60.0, True), (60.1, False), (1e9, False), (-5.0, True)]
)
def test_view_believes_a_ref_for_its_lifetime(age: float, shown: bool) -> None:  # noqa: FBT001
    """A ref is shown while fresh; one seen since the question began is fresh in any case."""
    view = _view(Ref(REPO, "main", COMMIT, NOW - age))

    assert (view.ref(REPO, "main") is not None) is shown


def test_view_distrusts_a_ref_from_the_future_of_an_earlier_question() -> None:
    """A clock set back does not make a ref fresh for ever: it counts as expired."""
    view = _view(Ref(REPO, "main", COMMIT, NOW + 500.0))
    view.started = NOW + 1000.0
    view.now = NOW + 100.0

    assert view.ref(REPO, "main") is None


@pytest.mark.parametrize(("ahead", "shown"), [(0.0, True), (5.0, True), (3600.0, False)])
def test_view_distrusts_what_a_clock_set_back_left(ahead: float, shown: bool) -> None:  # noqa: FBT001
    """A ref or a verdict from the future is asked again, unless a question beside this one saw it."""
    verdict = Verdict(REPO, Access.READ, accepted=True, seen_at=NOW + ahead)
    view = _view(_PRIVATE, Ref(REPO, "main", COMMIT, NOW + ahead), caller="alice")
    _judged(view, "alice", verdict)
    assert (view.ref(REPO, "main") is not None) == shown
    assert view.admitted(REPO, Access.READ) == shown


def test_view_shows_stale_refs_when_upstream_cannot_be_asked() -> None:
    """Offline, a ref of any age is shown, and a commit points at itself at any time."""
    ref = Ref(REPO, "main", COMMIT, NOW - 1e7)
    own = Ref(REPO, COMMIT, COMMIT, NOW - 1e7)

    assert _view(ref, offline=True).ref(REPO, "main") == ref
    assert _view(own).ref(REPO, COMMIT) == own


_OPEN = Visibility(REPO, private=False, gated=False, seen_at=NOW)
_GATED = Visibility(REPO, private=False, gated=True, seen_at=NOW)
_PRIVATE = Visibility(REPO, private=True, gated=False, seen_at=NOW)
_BOTH = Visibility(REPO, private=True, gated=True, seen_at=NOW)
_LISTED = Verdict(REPO, Access.LIST, accepted=True, seen_at=NOW - 200)
_READ = Verdict(REPO, Access.READ, accepted=True, seen_at=NOW - 200)
_OLD = Verdict(REPO, Access.READ, accepted=True, seen_at=NOW - 400)
_REFUSED = Verdict(REPO, Access.READ, accepted=False, seen_at=NOW)


@pytest.mark.parametrize(
    ("visibility", "verdicts", "list_online", "read_online", "list_offline", "read_offline"),
    [
        (None, (), False, False, False, False),
        (None, (_READ,), False, False, False, False),
        (_OPEN, (), True, True, True, True),
        (_OPEN, (_REFUSED,), True, True, True, True),
        (_GATED, (), True, False, True, False),
        (_GATED, (_LISTED,), True, False, True, False),
        (_GATED, (_READ,), True, True, True, True),
        (_GATED, (_OLD,), True, False, True, True),
        (_GATED, (_READ, _REFUSED), True, False, True, False),
        (_PRIVATE, (), False, False, False, False),
        (_PRIVATE, (_LISTED,), True, True, True, True),
        (_PRIVATE, (_READ,), True, True, True, True),
        (_PRIVATE, (_OLD,), False, False, True, True),
        (_BOTH, (_LISTED,), True, False, True, False),
        (_BOTH, (_LISTED, _READ), True, True, True, True),
    ],
)
def test_view_admits_by_recorded_facts_alone(
    visibility: Visibility | None,
    verdicts: tuple[Verdict, ...],
    list_online: bool,  # noqa: FBT001
    read_online: bool,  # noqa: FBT001
    list_offline: bool,  # noqa: FBT001
    read_offline: bool,  # noqa: FBT001
) -> None:
    """Public, accepted within the lifetime, within the grace when offline: nothing else opens a repo."""
    view = _view(*([visibility] if visibility else []), caller="alice")
    for verdict in verdicts:
        _judged(view, "alice", verdict)
    stale = view.stale()

    got = tuple(
        v.admitted(REPO, access) for v in (view, stale) for access in (Access.LIST, Access.READ)
    )

    assert got == (list_online, read_online, list_offline, read_offline)


def test_view_keeps_one_callers_verdict_from_another() -> None:
    """What upstream took from alice opens nothing to bob or to nobody."""
    for caller in ("bob", ""):
        view = _view(_PRIVATE, caller=caller)
        _judged(view, "alice", _READ)

        assert not view.admitted(REPO, Access.READ)
        assert not view.stale().admitted(REPO, Access.LIST)


def test_view_asks_again_about_a_public_repo_after_a_day() -> None:
    """Public as last seen is renewed daily while online, and holds while upstream cannot be asked."""
    old = Visibility(REPO, private=False, gated=False, seen_at=NOW - 90_000)
    view = _view(old)

    assert view.visibility(REPO) is None
    assert not view.admitted(REPO, Access.LIST)
    assert view.stale().admitted(REPO, Access.READ)


def test_view_shows_a_list_being_read_as_not_begun_until_it_was_waited_for() -> None:
    """Who has not waited joins the reading; who has goes by path; offline it is shown as it is."""
    view = _view(Snapshot(REPO, COMMIT, SnapshotState.PENDING, "full", b"{}", NOW))

    def shown(view: View) -> str | None:
        snapshot = view.snapshot(REPO, COMMIT)
        return None if snapshot is None else snapshot.view

    assert (shown(view), shown(view.stale())) == ("", "full")
    view.waited.add((REPO, COMMIT))
    assert shown(view) == "full"


def test_view_follows_an_alias_for_a_refs_lifetime() -> None:
    """Another name leads to the repo while fresh, and is asked about again afterwards."""
    other = Repo("hub", "models/acme/old")

    assert _view(Alias(other, REPO, "1", NOW - 30)).canonical(other) == REPO
    assert _view(Alias(other, REPO, "1", NOW - 90)).canonical(other) == other
    assert _view(Alias(other, REPO, "1", NOW - 90), offline=True).canonical(other) == REPO


def test_view_shows_a_private_reply_to_its_own_caller_only() -> None:
    """A reply kept under one caller's own key is not found by another."""
    memo = _Memo()
    response = Response(200, {}, b"[]", "https://hub", "https://hub/api")
    reply = Reply(own_key("alice", "search"), response, NOW, 60.0, private=True)
    memo.set(reply.key, encode_reply(reply), 60.0)

    assert _view(caller="alice", memo=memo).reply("search") is not None
    assert _view(caller="bob", memo=memo).reply("search") is None
    assert _view(memo=memo).reply("search") is None
