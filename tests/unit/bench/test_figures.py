"""The arithmetic of the measurements: medians, pairs, spreads, floors and goals."""

from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.figures import Notebook, Row, Sample, joined
from tests.bench.goals import BY_KEY, GOALS, MARKS, chosen

RATIO = BY_KEY["hot-1-cpu"]
MORE = BY_KEY["head-rate"]
ADDED = BY_KEY["cold-1-first"]
PLAIN = BY_KEY["idle-memory"]


def _pairs(*pairs: tuple[float, float]) -> tuple[Sample, ...]:
    return tuple(Sample(mine, its) for mine, its in pairs)


def test_figure_is_the_median_of_the_pairs() -> None:
    """A machine that slows down between rounds changes both halves of a pair and not their ratio."""
    row = Row(RATIO, _pairs((2.0, 1.0), (20.0, 10.0), (3.0, 3.0)))

    assert row.figures == (2.0, 2.0, 1.0)
    assert row.figure == 2.0
    assert (row.mirror, row.baseline) == (3.0, 3.0)  # their ratio would have said 1


@given(
    st.lists(st.tuples(st.floats(0.1, 1e6), st.floats(0.1, 1e6), st.floats(0.1, 1e3)), min_size=1)
)
def test_ratio_ignores_the_speed_of_each_round(rounds: list[tuple[float, float, float]]) -> None:
    """Slowing each round by a factor of its own leaves the figure where it was."""
    quiet = Row(RATIO, _pairs(*((mine, its) for mine, its, _ in rounds)))
    noisy = Row(RATIO, _pairs(*((mine * f, its * f) for mine, its, f in rounds)))

    assert quiet.figure == pytest.approx(median(mine / its for mine, its, _ in rounds))
    assert noisy.figure == pytest.approx(quiet.figure)


def test_figure_is_made_as_its_goal_says() -> None:
    """A ratio divides, what is added is a difference, a plain figure is the mirror's own."""
    assert Row(RATIO, _pairs((3.0, 2.0))).figure == 1.5
    assert Row(ADDED, _pairs((3.0, 2.0))).figure == 1.0
    assert Row(PLAIN, (Sample(3.0, 2.0),)).figure == 3.0
    assert Row(PLAIN, (Sample(3.0),)).figure == 3.0


@pytest.mark.parametrize(
    ("sample", "why"), [(Sample(1.0), "half a pair"), (Sample(1.0, 0.0), "not above zero")]
)
def test_row_refuses_samples_that_do_not_pair(sample: Sample, why: str) -> None:
    """Half a pair, or a baseline that nothing can be divided by, is an error and no figure."""
    with pytest.raises(ValueError, match=why):
        Row(RATIO, (sample,))


@pytest.mark.parametrize(
    ("goal", "figure", "verdict"),
    [
        (RATIO, RATIO.goal, "reaches"),
        (RATIO, RATIO.goal + 0.001, "holds"),
        (RATIO, RATIO.floor, "holds"),
        (RATIO, RATIO.floor + 0.001, "misses"),
        (MORE, MORE.goal, "reaches"),
        (MORE, MORE.goal - 0.001, "holds"),
        (MORE, MORE.floor, "holds"),
        (MORE, MORE.floor - 0.001, "misses"),
    ],
)
def test_verdict_knows_which_side_of_a_limit_is_good(
    goal: object, figure: float, verdict: str
) -> None:
    """A figure on a limit is on the good side of it, whichever side that is."""
    row = Row(RATIO if goal is RATIO else MORE, _pairs((figure, 1.0)))

    assert row.verdict == verdict
    assert row.missed is (verdict == "misses")


def test_row_without_samples_is_skipped_and_misses_nothing() -> None:
    """What could not be measured has no figure and says why; it does not end a run in failure."""
    row = Row(RATIO, (), "nginx is not installed")

    assert (row.figure, row.verdict, row.missed) == (None, "skipped", False)


def test_peer_is_compared_with_the_baseline_of_its_round() -> None:
    """A peer's figure is made of the rounds that have it, with the arithmetic of the mirror's."""
    row = Row(
        RATIO, (Sample(1.0, 1.0, {"olah": 8.0}), Sample(4.0, 4.0), Sample(2.0, 2.0, {"olah": 8.0}))
    )

    assert row.peers == ("olah",)
    assert row.peer("olah") == 6.0
    assert row.peer("other") is None


def test_steadiness_is_the_baselines() -> None:
    """A baseline that wanders marks the row; without one the mirror's own samples do."""
    assert Row(RATIO, _pairs((1.0, 1.0), (9.0, 1.2))).steady
    assert not Row(RATIO, _pairs((1.0, 1.0), (1.0, 1.4))).steady
    assert not Row(PLAIN, (Sample(0.0), Sample(1.0), Sample(-1.0))).steady
    assert Row(PLAIN).steady


def test_notebook_gives_a_row_for_each_goal_that_is_wanted() -> None:
    """Rows come in the order of the table, with their samples or with the reason why there are none."""
    book = Notebook()
    book.note("hot-4-cpu", 2.0, 1.0, olah=None)
    book.note("hot-4-cpu", 4.0, 1.0, olah=5.0)
    book.lack(("G1", "G5"), "no nginx")

    rows = book.rows(frozenset({"G1", "G5", "G6"}))

    assert [row.goal.key for row in rows] == ["hot-1-cpu", "hot-4-cpu", "tls-cpu", "head-rate"]
    assert [row.lack for row in rows] == ["no nginx", "", "no nginx", "not measured"]
    assert rows[1].samples == (Sample(2.0, 1.0), Sample(4.0, 1.0, {"olah": 5.0}))
    with pytest.raises(KeyError):
        book.note("no-such-row", 1.0)


def test_joined_runs_have_the_samples_of_all() -> None:
    """Rows that one run skipped and another measured are measured."""
    first = [Row(RATIO, _pairs((1.0, 1.0))), Row(PLAIN, (), "no time left")]
    second = [Row(RATIO, _pairs((3.0, 1.0))), Row(PLAIN, (Sample(5.0),))]

    assert joined([first, second]) == [Row(RATIO, _pairs((1.0, 1.0), (3.0, 1.0))), second[1]]


def test_goals_are_harder_than_floors() -> None:
    """Each row has a key of its own, and whatever reaches its goal holds its floor."""
    assert len(BY_KEY) == len(GOALS)
    assert [goal.key for goal in GOALS if not goal.meets(goal.goal, goal.floor)] == []


def test_chosen_marks_are_those_of_the_table() -> None:
    """Marks may be written small; one that no row has is refused by name."""
    assert chosen("g6, G8") == {"G6", "G8"}
    assert chosen(",".join(MARKS)) == set(MARKS)
    for words in ("G7", "G6,hot", ""):
        with pytest.raises(ValueError, match="no row"):
            chosen(words)
