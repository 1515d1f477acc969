"""Repos as people write them, and patterns over them."""

import pytest

from mirror.names import Repo
from mirror.patterns import RepoPattern, spell

TINY = Repo("huggingface", "models/acme/tiny-bert")
WORDS = Repo("huggingface", "datasets/acme/words")
OLD = Repo("huggingface", "models/gpt2")
BASE = Repo("whisper", "base")


@pytest.mark.parametrize(
    ("repo", "written"),
    [
        (TINY, "acme/tiny-bert"),
        (WORDS, "dataset:acme/words"),
        (OLD, "gpt2"),
        (BASE, "whisper:base"),
        (Repo("huggingface", "spaces/acme/show"), "space:acme/show"),
    ],
)
def test_repos_are_spelled_as_people_write_them(repo: Repo, written: str) -> None:
    """Models of the Hub have no prefix, everything else says what it is."""
    assert spell(repo) == written
    assert RepoPattern.parse(written).matches(repo)


@pytest.mark.parametrize(
    ("pattern", "matched"),
    [
        ("acme/tiny-bert", {TINY}),
        ("ACME/Tiny-BERT", {TINY}),
        ("acme/*", {TINY}),
        ("models/acme/*", {TINY}),
        ("dataset:acme/*", {WORDS}),
        ("datasets/acme/words", {WORDS}),
        ("dataset:*", {WORDS}),
        ("gpt?", {OLD}),
        ("acme", set()),
        ("tiny-bert", set()),
        ("*", {TINY, WORDS, OLD, BASE}),
    ],
)
def test_a_pattern_matches_whole_names(pattern: str, matched: set[Repo]) -> None:
    """A glob over the whole spelling, without regard to case."""
    found = RepoPattern.parse(pattern)
    assert {repo for repo in (TINY, WORDS, OLD, BASE) if found.matches(repo)} == matched


@pytest.mark.parametrize("text", ["", " ", "a b", "acme/\n", "a:b:c", "x" * 300, "ä/b", "a{b}"])
def test_what_can_match_nothing_is_refused(text: str) -> None:
    """A typing error is told, not kept as a pattern that never matches."""
    with pytest.raises(ValueError, match="write it like acme/tiny-bert"):
        RepoPattern.parse(text)
