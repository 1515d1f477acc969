"""What every test may ask for; fixtures of one folder live in that folder's own conftest.py."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """How far `make torture` goes."""
    group = parser.getgroup("torture")
    group.addoption(
        "--rounds", type=int, default=None, help="rounds of each torture (default: many)"
    )
    group.addoption("--seed", type=int, default=None, help="seed of every random choice")
    group.addoption(
        "--seconds", type=float, default=60.0, help="most seconds of each torture (default: 60)"
    )
