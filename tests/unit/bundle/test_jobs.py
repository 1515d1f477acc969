"""Adoptions as orders: one at a time, looked at, stopped, and not outliving whoever gave them."""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mirror.bundle import adoptjobs
from mirror.bundle.adoptjobs import Adoptions
from mirror.bundle.adoptoptions import Options
from mirror.bundle.adoptreport import Report
from mirror.bundle.jobs import Job, Jobs, Watch
from mirror.bundle.parts import Parts
from mirror.errors import QuestionError, StoreFullError

PATHS = {"paths": ["/somewhere"]}


class Endless:
    """An adoption that goes on until it is told to stop."""

    going = threading.Event()
    options: list[Options]

    def __init__(self, _parts: Parts, options: Options, watch: Watch) -> None:
        self._watch = watch
        type(self).options = [options]

    def run(self, _paths: Sequence[Path]) -> Report:
        """Go on."""
        self._watch.begin("take", 100)
        while True:
            self._watch.advance(1)
            self.going.set()


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Adoptions]:
    """Adoptions whose adoptions are endless."""
    monkeypatch.setattr(adoptjobs, "Adoption", Endless)
    Endless.going.clear()
    jobs = Adoptions(cast("Parts", SimpleNamespace()))
    yield jobs
    jobs.close()


def _over(jobs: Adoptions, job: Any) -> Any:
    for _ in range(1000):
        state = jobs.orders["adopt-look"](job)
        if state["over"]:
            return state
        threading.Event().wait(0.01)
    raise AssertionError("it did not end")


def test_job_is_one_at_a_time_and_ends_when_it_is_told_to(jobs: Adoptions) -> None:
    """A second one is refused meanwhile; afterwards another may begin."""
    job = jobs.orders["adopt"](PATHS)
    Endless.going.wait(10)
    state = jobs.orders["adopt-look"](job)
    assert (state["step"], state["total"], state["over"]) == ("take", 100, False)
    assert state["done"] > 0
    with pytest.raises(QuestionError, match="another cache already"):
        jobs.orders["adopt"](PATHS)
    jobs.orders["adopt-stop"](job)
    assert _over(jobs, job)["failed"]["error"] == "It was stopped."
    assert jobs.orders["adopt"](PATHS) != job
    with pytest.raises(QuestionError, match="no such adoption"):
        jobs.orders["adopt-look"](job)


def test_job_ends_when_nobody_looks_any_more(
    jobs: Adoptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever gave the order is gone: it was killed, say."""
    monkeypatch.setattr(adoptjobs, "LEASE", -1.0)
    job = jobs.orders["adopt"](PATHS)
    assert _over(jobs, job)["failed"]["error"] == "It was stopped."


def test_job_that_fails_says_why(jobs: Adoptions, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the words of the mirror, with what to do."""

    class Full(Endless):
        def run(self, _paths: Sequence[Path]) -> Report:
            """Fail."""
            raise StoreFullError("There is no room.", needed=1, free=0, hint="Raise --quota.")

    monkeypatch.setattr(adoptjobs, "Adoption", Full)
    state = _over(jobs, jobs.orders["adopt"](PATHS))
    assert state["failed"] == {"error": "There is no room.", "hint": "Raise --quota."}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, "Name the folders"),
        ({"paths": []}, "Name the folders"),
        ({"paths": ["relative"]}, "whole paths"),
        ({"paths": ["/a\0b"]}, "whole paths"),
        ({"paths": [1]}, "whole paths"),
        ({"paths": ["/a"], "link": "soft"}, "soft"),
        ({"paths": ["/a"], "grants": ["a b"]}, "no pattern of repos"),
        ({"paths": ["/a"], "grants": 1}, "not iterable"),
    ],
)
def test_order_that_makes_no_sense_is_refused(
    jobs: Adoptions, arguments: dict[str, Any], sentence: str
) -> None:
    """Before anything begins."""
    with pytest.raises(QuestionError, match=sentence):
        jobs.orders["adopt"](arguments)


def test_order_says_what_is_wanted(jobs: Adoptions) -> None:
    """As it was given on the command line."""
    said = {"link": "hard", "unverified": True, "dry_run": True, "ask": False, "grants": ["acme/*"]}
    jobs.orders["adopt"]({**PATHS, **said})
    Endless.going.wait(10)
    (options,) = Endless.options
    assert (options.link.value, options.unverified, options.dry_run) == ("hard", True, True)
    assert not options.ask
    assert [pattern.text for pattern in options.grants] == ["acme/*"]


def test_job_is_not_stopped_in_the_step_that_is_to_be_whole() -> None:
    """What is half published would be worse than what is published late."""
    going, on, steps = threading.Event(), threading.Event(), list[str]()

    def work(watch: Watch) -> dict[str, Any]:
        for step in ("check", "publish", "clear"):
            watch.begin(step, 1)
            steps.append(step)
            if step == "publish":
                going.set()
                on.wait(10)
            watch.advance(1)
        return {}

    job = Job("import", work, lease=60.0, kept="It is kept.", whole="publish")
    jobs: Jobs[Job] = Jobs("import")
    jobs.start(job)
    going.wait(10)
    job.stop()
    on.set()
    job.join(10)
    assert steps == ["check", "publish", "clear"]
    assert job.look()["failed"] == {"error": "It was stopped.", "hint": "It is kept."}


def test_job_that_is_over_is_told_how_to_begin_again() -> None:
    """A server that was started again knows none."""
    with pytest.raises(QuestionError, match="no such import") as caught:
        Jobs[Job]("import").look({"job": 7})
    assert "Give the order again" in caught.value.hint
