"""Passes: signed, readable, for one purpose."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.hubs.huggingface.grammar import HUB
from mirror.hubs.huggingface.tokens import Pass, Seal
from mirror.names import Repo

SEAL = Seal(b"s" * 32)
GRANTED = Pass(Repo(HUB, "models/acme/x"), "c" * 40, "alice", 1_750_000_000, "sha256:x 12")


def test_pass_is_read_back_for_its_purpose_alone() -> None:
    """What was signed is what is read, by the same key for the same purpose."""
    token = SEAL.sign("a", GRANTED)
    assert SEAL.read("a", token) == GRANTED
    assert SEAL.read("b", token) is None
    assert Seal(b"t" * 32).read("a", token) is None


def test_pass_fits_a_url_and_a_header() -> None:
    """Only characters that need no quoting anywhere, and few of them."""
    token = SEAL.sign("a", GRANTED)
    assert token.replace("-", "").replace("_", "").replace(".", "").isalnum()
    assert len(token) < 300


@pytest.mark.parametrize("text", ["", ".", "a", "a.b", "\u00e9.\u00e9", "." * 10_000, "A" * 5000])
def test_pass_that_was_not_made_here_is_none(text: str) -> None:
    """Rubbish is refused, not raised."""
    assert SEAL.read("a", text) is None


@given(st.data())
def test_pass_altered_anywhere_is_none(data: st.DataObject) -> None:
    """No other token says anything, but for the unused bits of its last character."""
    token = SEAL.sign("a", GRANTED)
    position = data.draw(st.integers(0, len(token) - 2).filter(lambda at: token[at + 1] != "."))
    letter = data.draw(st.sampled_from("ABCDabcd0189-_.").filter(lambda c: c != token[position]))
    assert SEAL.read("a", token[:position] + letter + token[position + 1 :]) is None
