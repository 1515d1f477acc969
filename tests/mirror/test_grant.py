"""`modelmirror grant`: the operator's word, given to a running mirror and to a folder at rest."""

import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mirror.running import Running
from tests.origin import Origin

WEIGHTS = bytes(range(256)) * 8192
FILE = "/acme/private/resolve/main/model.safetensors"


def _grant(data: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mirror", "grant", "--data", str(data), *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={k: v for k, v in os.environ.items() if not k.startswith("MODELMIRROR_")},
    )


@pytest.fixture
def private(origin: Origin) -> None:
    """A private repo that only alice may read."""
    origin.add_repo(
        "models",
        "acme/private",
        files={"config.json": b"{}", "model.safetensors": WEIGHTS},
        private=True,
        readers=("tokenA",),
    )


@pytest.mark.usefixtures("private")
def test_a_grant_opens_what_is_stored_and_its_withdrawal_closes_it(
    origin: Origin, tmp_path: Path
) -> None:
    """Online, in an outage and offline, at once and after a restart."""
    data = tmp_path / "data"
    with Running(data, origin) as mirror:
        assert mirror.ask(FILE, token="tokenA").body == WEIGHTS
        mirror.settle()
        assert mirror.ask(FILE).status in {401, 404}

        done = _grant(data, "acme/*", "everyone")
        assert (done.returncode, done.stdout) == (0, "acme/*  everyone\n"), done.stderr
        assert mirror.ask(FILE).body == WEIGHTS
        assert mirror.ask(FILE, token="tokenB").body == WEIGHTS
        listed = mirror.ask("/api/models/acme/private/tree/main").json()
        assert {entry["path"] for entry in listed} == {"config.json", "model.safetensors"}
        # What is not here the hub still refuses: a grant is no credential.
        assert mirror.ask("/acme/private/resolve/main/config.json").status in {401, 404}
        # The pages name public repos only, and a grant does not make it one.
        assert "acme/private" not in mirror.ask("/-/status").body.decode()
        assert mirror.ask(FILE).headers["cache-control"].startswith("private")

    with Running(data, origin, flags=("--offline",)) as mirror:
        assert mirror.ask(FILE).body == WEIGHTS
        done = _grant(data, "acme/*", "--remove")
        assert done.stdout.startswith("Nothing is granted")
        assert mirror.ask(FILE).status == 501


@pytest.mark.usefixtures("private")
def test_a_folder_at_rest_takes_the_same_words(origin: Origin, tmp_path: Path) -> None:
    """Where no server runs the command opens the folder itself."""
    data = tmp_path / "data"
    with Running(data, origin) as mirror:
        assert mirror.ask(FILE, token="tokenA").body == WEIGHTS
        mirror.settle()
    assert _grant(data, "acme/private", "everyone").returncode == 0
    listed = _grant(data, "--json")
    assert json.loads(listed.stdout) == {"grants": {"acme/private": ["everyone"]}}
    with Running(data, origin, flags=("--offline",)) as mirror:
        assert mirror.ask(FILE).body == WEIGHTS


def test_mistakes_are_told_and_change_nothing(origin: Origin, tmp_path: Path) -> None:
    """Each in a sentence that says what to write instead."""
    data = tmp_path / "data"
    missing = _grant(data)
    assert missing.returncode == 4
    assert "There is no store in" in missing.stderr
    with Running(data, origin):
        for words, sentence in (
            (("acme/* x", "everyone"), "is no pattern of repos; write it like"),
            (("acme/*",), "Say who may read it"),
            (("--remove",), "which PATTERN"),
            (("acme/*", "--remove"), "Nothing of the kind is granted"),
            (("acme/*", "a\tb"), "is not the name of a user"),
        ):
            done = _grant(data, *words)
            assert done.returncode in {1, 2}, words
            assert sentence in done.stderr, words
            assert "Traceback" not in done.stderr
        assert json.loads(_grant(data, "--json").stdout) == {"grants": {}}


def test_orders_are_taken_over_the_socket_alone(origin: Origin, tmp_path: Path) -> None:
    """The socket is its owner's, and no request over TCP gives an order."""
    data = tmp_path / "data"
    with Running(data, origin) as mirror:
        path = data / "v1" / "control.sock"
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        body = b'{"pattern": "*", "readers": ["everyone"]}'
        for target in ("/grant", "/-/grant", "/-/control/grant"):
            assert mirror.ask(target, method="POST", body=body).status in {400, 404, 405}
        with socket.socket(socket.AF_UNIX) as plain:
            plain.connect(str(path))
            connection = http.client.HTTPConnection("mirror")
            connection.sock = plain
            for target, said, sentence in (
                ("/conquer", b"{}", "does not know the order"),
                ("/grant", b"[]", "one JSON object"),
                ("/grant", b"{", "cannot be read"),
            ):
                connection.request("POST", target, said)
                answer = connection.getresponse()
                assert answer.status == 400
                assert sentence in answer.read().decode()
        assert json.loads(_grant(data, "--json").stdout) == {"grants": {}}
    assert not path.exists()


def test_a_socket_that_a_crash_left_is_replaced_and_a_deep_folder_has_one(
    origin: Origin, tmp_path: Path
) -> None:
    """A socket address holds 107 bytes; data folders may lie deeper."""
    data = tmp_path.joinpath(*["a-folder-with-a-long-name"] * 6)
    mirror = Running(data, origin)
    data.parent.mkdir(parents=True)
    mirror.start()
    mirror.stop(signal.SIGKILL)
    assert (data / "v1" / "control.sock").exists()
    with Running(data, origin):
        assert _grant(data, "acme/*", "everyone").stdout == "acme/*  everyone\n"
