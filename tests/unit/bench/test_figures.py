"""The arithmetic of the measurements: medians, pairs, spreads, and how they are told."""

import json
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.figures import Notebook, Row, document, table


def test_row_ratio_is_the_median_of_the_pairs() -> None:
    """A machine that slows down between rounds changes both halves of a pair and not their ratio."""
    row = Row("GET", "s", "less", mirror=(2.0, 20.0, 3.0), baseline=(1.0, 10.0, 3.0))

    assert row.ratios == (2.0, 2.0, 1.0)
    assert row.ratio == 2.0
    assert row.value / (row.base or 0) == 1.0  # what the ratio of the medians would have said


def test_row_median_of_an_even_number_lies_between_the_middle_two() -> None:
    """Medians are those of the statistics module, for the mirror and for its baseline."""
    row = Row("GET", "s", "less", mirror=(1.0, 4.0, 2.0, 9.0), baseline=(1.0, 1.0, 1.0, 3.0))

    assert (row.value, row.base) == (3.0, 1.0)


@given(
    st.lists(st.tuples(st.floats(0.1, 1e6), st.floats(0.1, 1e6), st.floats(0.1, 1e3)), min_size=1)
)
def test_row_ratio_ignores_the_speed_of_each_round(
    rounds: list[tuple[float, float, float]],
) -> None:
    """Slowing each round by a factor of its own leaves the ratio where it was."""
    quiet = Row("x", "s", "less", [m for m, _, _ in rounds], [b for _, b, _ in rounds])
    noisy = Row("x", "s", "less", [m * f for m, _, f in rounds], [b * f for _, b, f in rounds])

    assert quiet.ratio == pytest.approx(median(m / b for m, b, _ in rounds))
    assert noisy.ratio == pytest.approx(quiet.ratio)


@pytest.mark.parametrize(
    ("mirror", "baseline", "why"),
    [
        ((), (), "no samples"),
        ((1.0, 2.0), (1.0,), "2 samples beside 1"),
        ((1.0,), (0.0,), "not above zero"),
    ],
)
def test_row_refuses_samples_that_do_not_pair(
    mirror: tuple[float, ...], baseline: tuple[float, ...], why: str
) -> None:
    """Half a pair, or a baseline that nothing can be divided by, is an error and no figure."""
    with pytest.raises(ValueError, match=why):
        Row("GET", "s", "less", mirror, baseline)


def test_row_without_baseline_has_no_ratio() -> None:
    """Where nothing comparable exists, nothing is compared."""
    row = Row("memory", "MiB", "less", mirror=(40.0, 42.0))

    assert (row.base, row.ratio, row.ratios) == (None, None, ())


def test_row_is_steady_only_with_a_quiet_baseline() -> None:
    """A quarter of the median between the baseline's extremes is the most that counts as quiet."""
    quiet = Row("x", "s", "less", mirror=(1.0, 9.0, 1.0), baseline=(1.0, 1.25, 1.0))
    noisy = Row("x", "s", "less", mirror=(1.0, 1.0, 1.0), baseline=(1.0, 1.3, 1.0))

    assert (quiet.spread, quiet.steady) == (0.25, True)
    assert not noisy.steady


def test_row_spread_of_zeros_is_none_and_around_zero_infinite() -> None:
    """A median of zero has no relative distance: equal samples are steady, others are not."""
    assert Row("x", "s", "less", mirror=(0.0, 0.0)).spread == 0.0
    assert Row("x", "s", "less", mirror=(0.0, 0.0, 1.0)).spread == float("inf")


def test_notebook_keeps_pairs_together_in_order_of_first_note() -> None:
    """What was measured in one round stays one pair, however the quantities take turns."""
    book = Notebook()
    for turn in range(2):
        book.note("CPU", "s", "less", 2.0 + turn, 1.0 + turn)
        book.note("memory", "MiB", "less", 40.0 + turn)

    cpu, memory = book.rows()
    assert (cpu.name, cpu.mirror, cpu.baseline) == ("CPU", (2.0, 3.0), (1.0, 2.0))
    assert (memory.name, memory.mirror, memory.baseline) == ("memory", (40.0, 41.0), ())


def test_notebook_refuses_a_round_without_its_baseline() -> None:
    """A quantity compared in one round and not in the next does not pair."""
    book = Notebook()
    book.note("CPU", "s", "less", 2.0, 1.0)
    book.note("CPU", "s", "less", 2.0)

    with pytest.raises(ValueError, match="2 samples beside 1"):
        book.rows()


def test_table_shows_medians_ratio_and_range_of_each_row() -> None:
    """One line per row; a tilde where the baseline was not quiet, a dash where there is none."""
    rows = [
        Row("CPU", "s/GiB", "less", mirror=(0.22, 0.2, 0.3), baseline=(0.11, 0.1, 0.1)),
        Row("HEAD", "1/s", "more", mirror=(9000.0,), baseline=(18000.0,)),
        Row("time", "s", "less", mirror=(1.0, 1.0), baseline=(1.0, 2.0)),
        Row("memory", "MiB", "less", mirror=(40.25,)),
    ]

    lines = [line.split() for line in table(rows).splitlines()]
    assert lines[1] == ["CPU,", "s/GiB", "0.220", "0.100", "2.00", "2.00", "3.00"]
    assert lines[2] == ["HEAD,", "1/s", "9,000", "18,000", "0.50", "0.50", "0.50"]
    assert lines[3] == ["time,", "s", "1", "1.5", "0.75", "0.50", "1.00", "~"]
    assert lines[4] == ["memory,", "MiB", "40.2", "-", "-", "-", "-"]


def test_document_holds_every_sample_and_survives_json() -> None:
    """The file has what the table has, and the samples behind it."""
    rows = [Row("CPU", "s/GiB", "less", mirror=(0.2, 0.4), baseline=(0.1, 0.1))]

    told = json.loads(json.dumps(document(rows, {"date": "2026-01-01"})))
    assert told["date"] == "2026-01-01"
    assert told["rows"][0]["mirror"] == [0.2, 0.4]
    assert told["rows"][0]["baseline"] == [0.1, 0.1]
    assert told["rows"][0]["ratio"] == pytest.approx(3.0)
