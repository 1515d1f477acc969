"""The fuzzer's targets hold for everything that once broke them, and for what Hypothesis thinks of."""

import importlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.__main__ import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_every_seed_holds(name: str) -> None:
    """What is in a target's `SEEDS` breaks nothing: sound inputs, hostile ones, and old findings."""
    target = _target(name)
    for data in target.SEEDS:
        target.check(data)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_break_a_target(name: str, data: bytes) -> None:
    """Nor do any bytes at all."""
    _target(name).check(data)


def _target(name: str) -> Any:
    return importlib.import_module(f"tests.fuzz.{name}")
