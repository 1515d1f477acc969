"""Grants: held in memory, kept in the journal."""

import os
from pathlib import Path

import pytest

from mirror.errors import StoreError
from mirror.index.grants import EVERYONE, Grants
from mirror.index.journal import Journal
from mirror.index.lines import Note
from mirror.names import Repo
from mirror.patterns import RepoPattern
from tests.unit.index.disk import write

SECRET = Repo("huggingface", "models/acme/secret")
OTHER = Repo("huggingface", "models/other/secret")
ACME = RepoPattern.parse("acme/*")


def _journal(folder: Path) -> Journal:
    return Journal.open(folder / "journal.jsonl", write, lambda fd, _: os.fsync(fd))


def test_a_grant_opens_what_its_pattern_matches_to_whom_it_names(tmp_path: Path) -> None:
    """Everyone is everyone; a user is that user alone."""
    grants = Grants(_journal(tmp_path))
    assert not grants.admits(SECRET)
    grants.give(ACME, ["alice"])
    assert grants.admits(SECRET, "alice")
    assert not grants.admits(SECRET)
    assert not grants.admits(SECRET, "bob")
    grants.give(ACME, [EVERYONE])
    assert grants.admits(SECRET)
    assert grants.admits(SECRET, "bob")
    assert not grants.admits(OTHER, "alice")
    assert grants.held() == {"acme/*": ("alice", EVERYONE)}


def test_grants_outlive_a_restart_and_what_is_withdrawn_does_not_come_back(tmp_path: Path) -> None:
    """The journal has them; the last word holds."""
    journal = _journal(tmp_path)
    grants = Grants(journal)
    grants.give(ACME, ["alice", "bob"])
    grants.give(RepoPattern.parse("other/*"), [EVERYONE])
    assert grants.withdraw(ACME, ["bob"])
    assert grants.withdraw(RepoPattern.parse("other/*"))
    assert not grants.withdraw(ACME, ["carol"])
    assert not grants.withdraw(RepoPattern.parse("never/*"))
    journal.close()

    again = Grants(_journal(tmp_path))
    assert again.held() == {"acme/*": ("alice",)}
    assert not again.admits(OTHER)


def test_what_cannot_be_read_admits_nobody(tmp_path: Path) -> None:
    """A later version's note is not guessed at, and the others hold."""
    journal = _journal(tmp_path)
    journal.note(Note("grant", "acme/* except x", {"readers": [EVERYONE]}))
    journal.note(Note("grant", "other/*", {"readers": "everyone"}))
    journal.note(Note("grant", "acme/*", {"readers": [EVERYONE, 7]}))
    assert Grants(journal).held() == {"acme/*": (EVERYONE,)}


def test_a_withdrawal_counts_though_the_disk_refuses_it(tmp_path: Path) -> None:
    """Whoever lost a grant does not read on because a disk is full."""
    journal = _journal(tmp_path)
    grants = Grants(journal)
    grants.give(ACME, [EVERYONE])
    journal.close()
    with pytest.raises(StoreError):
        grants.withdraw(ACME)
    assert not grants.admits(SECRET)


def test_a_grant_that_cannot_be_kept_is_none(tmp_path: Path) -> None:
    """What would be gone after a restart is not promised now."""
    journal = _journal(tmp_path)
    grants = Grants(journal)
    journal.close()
    with pytest.raises(StoreError):
        grants.give(ACME, [EVERYONE])
    assert not grants.admits(SECRET)
