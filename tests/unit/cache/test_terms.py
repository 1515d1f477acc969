"""How long what a view judged stays so, whoever asks."""

from collections.abc import Callable
from math import inf

import pytest

from mirror.cache.facts import VISIBILITY_LIFETIME, Lifetimes, View
from mirror.index.codec import encode_reply
from mirror.messages import Response
from mirror.names import Access, Alias, Fact, Ref, Reply, Repo, Verdict, Visibility
from tests.doubles.memory_index import MemoryIndex
from tests.unit.cache.test_facts import COMMIT, LIFETIMES, NOW, REPO, _Memo

OPEN = Visibility(REPO, private=False, gated=False, seen_at=NOW - 100.0)
OTHER = Repo("hub", "models/acme/other")


def _view(*facts: Fact, caller: str = "", lifetimes: Lifetimes = LIFETIMES) -> View:
    index = MemoryIndex()
    index.record(facts).result()
    return View(index, _Memo(), lifetimes, caller, NOW, NOW)


def test_view_judges_until_the_first_of_its_facts_runs_out() -> None:
    """The end is that of the fact that ends first, and of those alone that were looked at."""
    view = _view(OPEN, Ref(REPO, "main", COMMIT, NOW - 20.0), Ref(REPO, "dev", COMMIT, NOW - 59.0))
    assert view.until == inf
    assert view.admitted(REPO, Access.READ)
    assert view.until == OPEN.seen_at + VISIBILITY_LIFETIME
    assert view.ref(REPO, "main") is not None
    assert view.until == NOW + 40.0
    assert view.ref(REPO, "dev") is not None
    assert view.until == NOW + 1.0
    assert set(view.repos) == {REPO}


def test_view_that_follows_another_name_rests_on_both_repos() -> None:
    """A name that leads elsewhere ends with its own lifetime, and both repos are told."""
    view = _view(Alias(REPO, OTHER, "id", NOW - 50.0))
    assert view.canonical(REPO) == OTHER
    view.snapshot(OTHER, COMMIT)

    assert view.until == NOW + 10.0
    assert set(view.repos) == {REPO, OTHER}


def test_what_ran_out_stays_so() -> None:
    """A fact that is too old sets no end: only a newer one changes that."""
    view = _view(Ref(REPO, "main", COMMIT, NOW - 61.0))
    assert view.ref(REPO, "main") is None
    assert view.until == inf


def test_fact_that_is_good_for_this_question_alone_ends_at_once() -> None:
    """With a lifetime of nothing the next question asks again, so nothing is kept."""
    view = _view(Ref(REPO, "main", COMMIT, NOW), lifetimes=Lifetimes({}, 0.0, 0.0))
    assert view.ref(REPO, "main") is not None
    assert view.until <= NOW


def _judged(view: View) -> object:
    view.catalog.record_verdict(
        "alice", Verdict(REPO, Access.READ, accepted=True, seen_at=NOW)
    ).result()
    return view.admitted(REPO, Access.READ)


def _remembered(view: View) -> object:
    assert view.memo is not None
    reply = Reply("GET /x", Response(200, {}, b"{}", "", ""), NOW, lifetime=60.0)
    view.memo.set("GET /x", encode_reply(reply), 60.0)
    return view.reply("GET /x")


@pytest.mark.parametrize(
    "look",
    [
        lambda view: view.now,
        lambda view: view.caller,
        _judged,
        _remembered,
        lambda view: view.reply("GET /y") is None,
        lambda view: view.canonical(Repo("hub", "models/to/come")),
    ],
    ids=["time", "caller", "verdict", "memo", "no reply", "from the future"],
)
def test_what_is_so_for_once_has_no_time(look: Callable[[View], object]) -> None:
    """An answer that tells the time or its caller, or rests on what may be forgotten, is good for once."""
    later = Alias(Repo("hub", "models/to/come"), REPO, "id", NOW + 500.0)
    view = _view(Visibility(REPO, private=False, gated=True, seen_at=NOW), later, caller="alice")
    assert look(view)
    assert view.until == -inf
