"""What every test may ask for; fixtures of one folder live in that folder's own conftest.py."""

import signal

import pytest

# Whoever runs tests in the background of a shell, or with nohup, has them started with these ignored; so
# would be all programs that the tests start, and those that are to heed Ctrl-C would not.
for _number, _handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)


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
