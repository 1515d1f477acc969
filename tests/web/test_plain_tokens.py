"""A token in the clear from beyond this machine is warned of: once, and for so many addresses."""

import logging

import pytest

from mirror.web.plaintext import MOST, PlainTokens
from tests.doubles.scripted_keeper import ScriptedKeeper
from tests.web.client import get
from tests.web.door import door, run

TOKEN = "Authorization: Bearer hf_canaryTokenInTheClear"


def _said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if "plain HTTP" in r.getMessage()]


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("10.0.0.7", "10.0.0.7"),
        ("fe80::1%eth0", "fe80::1"),
        ("::ffff:10.0.0.7", "10.0.0.7"),
        ("127.0.0.1", ""),
        ("127.8.8.8", ""),
        ("::1", ""),
        ("::ffff:127.0.0.1", ""),
        ("-", ""),
        ("", ""),
        ("10.0.0.7\nforged line", ""),
    ],
)
def test_only_from_beyond_this_machine(
    caplog: pytest.LogCaptureFixture, address: str, said: str
) -> None:
    """Loopback in every spelling is this machine; the same address is named once."""
    tokens = PlainTokens()
    for _ in range(3):
        tokens.came_from(address)
    lines = _said(caplog)
    assert len(lines) == (1 if said else 0)
    assert all(f"A token from {said} came" in line for line in lines)


def test_many_addresses_end_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever makes up addresses fills neither the log nor memory."""
    tokens = PlainTokens()
    for number in range(3 * MOST):
        tokens.came_from(f"10.0.{number // 256}.{number % 256}")
    lines = _said(caplog)
    assert len(lines) == MOST + 1
    assert "no more are named" in lines[-1]
    assert len(tokens._said) == MOST + 1


@pytest.mark.parametrize(
    ("lines", "warned"),
    [
        ((TOKEN, "X-Forwarded-For: 10.0.0.7", "X-Forwarded-Proto: http"), True),
        ((TOKEN, "X-Forwarded-For: 10.0.0.7"), True),
        ((TOKEN, "X-Forwarded-For: 10.0.0.7", "X-Forwarded-Proto: https"), False),
        ((TOKEN, "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Proto: http"), False),
        (("X-Forwarded-For: 10.0.0.7", "X-Forwarded-Proto: http"), False),
        ((TOKEN,), False),
    ],
    ids=["plain", "unsaid", "https", "this machine", "no token", "direct from this machine"],
)
def test_behind_a_front_server(
    caplog: pytest.LogCaptureFixture, lines: tuple[str, ...], *, warned: bool
) -> None:
    """What a trusted front server says of the client's way counts, and the token is in no line."""

    async def main() -> None:
        keeper = ScriptedKeeper()
        keeper.serve("/file")
        async with door(keeper, trusted_proxies=("127.0.0.1",)) as url:
            for _ in range(2):
                assert (await get(url, "/file", *lines)).status == 200

    with caplog.at_level(logging.DEBUG):
        run("uvloop", main())
    assert len(_said(caplog)) == (1 if warned else 0)
    assert "canaryToken" not in caplog.text
