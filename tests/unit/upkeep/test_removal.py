"""What is removed is gone for good, whenever the process dies, and nothing else is."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from mirror.digest import sha256_of
from mirror.errors import QuestionError, StoreError
from mirror.index.lines import Note
from mirror.store.layout import Layout
from mirror.upkeep.desk import Desk
from mirror.upkeep.findings import Finding, Level
from mirror.upkeep.naming import named
from mirror.upkeep.orders import Orders
from mirror.upkeep.removal import REMOVAL, Removals
from mirror.upkeep.running import boot_id
from mirror.upkeep.verify import Options, Verification
from tests.house.checkout import ROOT
from tests.unit.index.disk import refuse, relent
from tests.unit.upkeep.desks import (
    FORMER,
    NEW,
    OLD,
    OTHER,
    OWN,
    REPO,
    SHARED,
    at_rest,
    commit,
    fill,
    repo,
)


class _Ears:
    """Hears what a check finds."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    def begin(self, step: str, total: int) -> None:
        """A step of the check begins."""

    def advance(self, amount: int) -> None:
        """It goes on."""

    def found(self, finding: Finding) -> None:
        """It found something."""
        self.findings.append(finding)


def _damage(data: Path) -> list[str]:
    """What a check of the folder calls damage."""
    ears = _Ears()
    layout = Layout(data)
    Verification(layout, Options(), ears, boot=boot_id(), draw=random.Random(0)).run()
    return [
        f"{finding.what}: {finding.detail}"
        for finding in ears.findings
        if finding.level is Level.DAMAGE
    ]


def _known(desk: Desk) -> dict[str, set[str]]:
    """Which commits of which repos are known, and which refs."""
    catalog = desk.index.catalog
    return {
        row.repo.name.removeprefix("models/"): {
            *catalog.commits(row.repo),
            *(ref.revision for ref in catalog.refs(row.repo)),
        }
        for row in catalog.repos(public_only=False)
    }


def _stored(desk: Desk) -> set[bytes]:
    contents = {sha256_of(content): content for content in (SHARED, OWN, FORMER)}
    return {contents[blob.digest] for blob in desk.store.walk() if blob.size}


WHOLE = {REPO: {OLD, NEW, "main", "v1"}, OTHER: {OLD, "main"}}
GONE = {OTHER: {OLD, "main"}}


def test_removal_killed_at_every_step_is_all_or_nothing(tmp_path: Path) -> None:
    """Each folder passes its check; after the next start the repo is as it was, or gone and stays so."""
    fill(tmp_path / "store")
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.upkeep.remove_and_die", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    runs = int(done.stdout)
    assert runs > 12
    ends = []
    for step in range(runs):
        data = tmp_path / str(step)
        assert _damage(data) == [], step
        with at_rest(data) as desk:
            Orders.ready(desk)
            known, stored = _known(desk), _stored(desk)
            assert desk.index.journal.notes(REMOVAL) == {}
        assert (known, stored) in [(WHOLE, {SHARED, OWN, FORMER}), (GONE, {SHARED})], step
        # An index that is made again from records and journal says the same.
        Layout(data).index.unlink()
        with at_rest(data) as desk:
            assert _known(desk) == known, step
        assert _damage(data) == []
        ends.append(known == GONE)
    # Before the journal said so nothing went; from then on all of it did.
    assert ends == sorted(ends)
    assert not ends[0]
    assert ends[-1]


def test_removal_leaves_the_commit_that_a_pin_names(tmp_path: Path) -> None:
    """By its branch or by itself, nor the repo as a whole; another commit of it goes, a pinned file stays."""
    fill(tmp_path)
    with at_rest(tmp_path) as desk:
        desk.pins.give(named(f"{REPO}@main"), "chat")
        planner = Removals(desk).planner
        for kept in (f"{REPO}@{NEW}", f"{REPO}@main", REPO):
            with pytest.raises(QuestionError, match=f"{REPO}@main is pinned for chat"):
                planner.plan(named(kept))
        assert [blob.digest for blob in planner.plan(named(f"{REPO}@{OLD}")).free] == [
            sha256_of(FORMER)
        ]
        kept_files = planner.plan(named(REPO), "own.bin").kept
        assert {blob.digest: why for blob, why in kept_files.items()} == {
            sha256_of(OWN): f"the pin of {REPO}@main"
        }


def test_removal_that_a_kill_interrupted_is_finished_before_anything_else(tmp_path: Path) -> None:
    """The note alone is enough: what it names goes at the next start."""
    fill(tmp_path)
    with at_rest(tmp_path) as desk:
        plan = Removals(desk).planner.plan(named(f"{REPO}@{OLD}"))
        desk.index.journal.note(Note(REMOVAL, plan.what, plan.form()))
    with at_rest(tmp_path) as desk:
        Orders.ready(desk)
        assert _known(desk) == {REPO: {NEW, "main"}, OTHER: {OLD, "main"}}
        assert _stored(desk) == {SHARED, OWN}
    assert _damage(tmp_path) == []


def test_removal_of_a_repo_lets_it_be_learned_anew(tmp_path: Path) -> None:
    """What comes afterwards counts, also in an index made again."""
    fill(tmp_path)
    with at_rest(tmp_path) as desk:
        removals = Removals(desk)
        removals.carry_out(removals.planner.plan(named(REPO)))
        assert _known(desk) == GONE
        commit(desk, REPO, "main", OLD, {"own.bin": OWN})
    Layout(tmp_path).index.unlink()
    with at_rest(tmp_path) as desk:
        assert _known(desk) == {REPO: {OLD, "main"}, OTHER: {OLD, "main"}}
    assert _damage(tmp_path) == []


def test_removal_frees_no_blob_that_another_commit_needs(tmp_path: Path) -> None:
    """Of the old revision its own file goes; what is kept is told with who needs it."""
    fill(tmp_path)
    with at_rest(tmp_path) as desk:
        removals = Removals(desk)
        plan = removals.planner.plan(named(f"{REPO}@{OLD[:7]}"))
        assert [blob.size for blob in plan.free] == [len(FORMER)]
        assert set(plan.kept.values()) == {f"{REPO}@{NEW[:12]}"}
        assert removals.carry_out(plan) == len(FORMER)
        assert removals.planner.plan(named(REPO)).kept.keys()


def test_removal_of_what_cannot_be_is_refused(tmp_path: Path) -> None:
    """Nothing is known of it, it has no such file, or a path makes no sense."""
    fill(tmp_path)
    with at_rest(tmp_path) as desk:
        planner = Removals(desk).planner
        for target, path in (
            ("acme/three", ""),
            (f"{REPO}@v9", ""),
            (REPO, "missing.bin"),
            ("https://download.pytorch.org/models/x.pt", ""),
            ("https://download.pytorch.org/models/x.pt", "file"),
            ("https://huggingface.co/acme/one/resolve/main/own.bin", ""),
            ("sha256:" + "0" * 64, ""),
        ):
            with pytest.raises(QuestionError):
                planner.plan(named(target), path)
        assert repo(REPO) in {row.repo for row in desk.index.catalog.repos(public_only=False)}


def test_removal_waits_for_a_disk_that_takes_nothing(tmp_path: Path) -> None:
    """It is refused in a sentence, nothing has gone, and later it goes."""
    fill(tmp_path)
    with at_rest(tmp_path) as desk:
        removals = Removals(desk)
        plan = removals.planner.plan(named(REPO))
        refuse(desk.index.catalog)
        desk.index.catalog.touch([sha256_of(OWN)]).result()  # it notices
        with pytest.raises(StoreError, match="while the disk takes nothing"):
            removals.carry_out(plan)
        assert _stored(desk) == {SHARED, OWN, FORMER}
        assert desk.index.journal.notes(REMOVAL) == {}
        relent(desk.index.catalog)
        desk.index.catalog.forget_replies([])
        removals.carry_out(plan)
        assert (_known(desk), _stored(desk)) == (GONE, {SHARED})
