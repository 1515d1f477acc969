"""What a mirror leaves behind of those who asked: no secret, no forged line, no folder of its machine."""

import base64
import contextlib
import http.client
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.faults.audit import traces
from tests.mirror.running import Running
from tests.origin import Fault, Origin

# Of the Hub's shape, and of none: what the log must not hold does not depend on how it looks.
CANARIES: Final = ("hf_CanaryAlice0123456789abcdefghij", "canary-of-no-shape-7c1f")
WEIGHTS: Final = b"weights " * (1 << 17)  # 1 MiB


@pytest.fixture(params=["text", "json"])
def canaried(
    request: pytest.FixtureRequest, tmp_path: Path, origin: Origin
) -> Iterator[tuple[Running, Origin]]:
    """A mirror with either log, before an origin whose readers have canaries for tokens."""
    origin.tokens = dict.fromkeys(CANARIES, "alice")
    origin.add_repo(
        "models",
        "acme/private",
        files={"config.json": b"{}", "m.safetensors": WEIGHTS, "big.safetensors": WEIGHTS * 3},
        private=True,
        readers=CANARIES,
    )
    with Running(tmp_path / "data", origin, ("--log-format", request.param)) as mirror:
        yield mirror, origin


def test_a_canary_token_appears_nowhere(canaried: tuple[Running, Origin]) -> None:
    """Not in the log, the store, the index, the memo, the journal, the metrics, the pages or other hosts."""
    mirror, origin = canaried
    for canary in CANARIES:
        _ask_in_every_way(mirror, origin, canary)
    shown = b"".join(mirror.ask(path).body for path in ("/", "/-/status", "/-/metrics"))
    mirror.settle()
    mirror.stop()

    files = [mirror.log, *mirror.data.rglob("*")]
    encoded = [base64.b64encode(canary.encode()).decode().rstrip("=") for canary in CANARIES]
    assert traces(files, [*CANARIES, *encoded, "Signature=", "X-Amz-", "alice:"]) == []
    assert not any(canary.encode() in shown for canary in CANARIES)
    for seen in origin.seen("cdn"):
        assert not any(canary in f"{seen.path}{seen.headers}" for canary in CANARIES)
    assert len(mirror.log.read_text().splitlines()) > 40


def _ask_in_every_way(mirror: Running, origin: Origin, canary: str) -> None:
    file = "/acme/private/resolve/main"
    basic = base64.b64encode(f"alice:{canary}".encode()).decode()
    assert mirror.ask(f"{file}/config.json", token=canary).status == 200
    assert mirror.ask(f"{file}/m.safetensors", token=canary).body == WEIGHTS
    for headers in (
        {"Authorization": f"Basic {basic}"},
        {"Authorization": canary},
        {"Authorization": f"Bearer {canary} and more"},
        {"Cookie": f"token={canary}", "Proxy-Authorization": f"Bearer {canary}"},
        {"X-Forwarded-For": canary, "Referer": f"http://h/?t={canary}", "User-Agent": canary},
    ):
        mirror.ask(f"{file}/config.json", headers=headers)
    for query in (f"?token={canary}", f"?X-Amz-Signature={canary}&download=true"):
        mirror.ask(f"{file}/config.json{query}", token=canary)
        mirror.ask(f"/api/models/acme/private{query}", token=canary)
        mirror.ask(f"/api/whoami-v2{query}", token=canary)
        mirror.ask(f"/-/cas/v2/reconstructions/{'0' * 64}{query}", token=canary)
    # What upstream, or the way to it, does wrong while the token is under way.
    for number, fault in enumerate(
        (
            Fault("status", server="hub", path="/api/odd", status=500, times=None),
            Fault("rst", server="hub", path="/api/odd", at=0, times=None),
            Fault("status", server="hub", path="/api/odd", status=302, times=None,
                  headers={"Location": f"https://u:{canary}@evil.test/?Signature={canary}"}),
            Fault("headers", server="hub", path="/api/odd", times=None,
                  headers={"X-Error-Message": f"no\r\nX: {canary}", "X-Error-Code": "x"}),
        )
    ):  # fmt: skip
        origin.clear_faults()
        origin.fault(fault)
        mirror.ask(f"/api/odd/{number}", token=canary)
    origin.clear_faults()
    origin.fault(Fault("rst", server="cdn", at=1 << 16, times=None))
    with contextlib.suppress(OSError, http.client.HTTPException):
        mirror.ask(f"{file}/big.safetensors", token=canary)
    origin.clear_faults()


def test_the_log_as_json_is_one_object_a_line(tmp_path: Path, origin: Origin) -> None:
    """From the start to the end, a failure with a traceback among it, every line is a whole record."""
    origin.add_repo("models", "acme/tiny", files={"config.json": b"{}"})
    # What nobody foresaw cannot be brought about from outside: a part of the mirror is replaced.
    broken_part = (
        "from mirror.cache.local import LocalKeeper; LocalKeeper.report = lambda _: 1 / 0;"
        "from mirror.cli import main; main()"
    )
    flags = ("--log-format", "json")
    with Running(tmp_path / "data", origin, flags, program=("-c", broken_part)) as mirror:
        assert mirror.ask("/acme/tiny/resolve/main/config.json?a=b").status == 200
        assert mirror.ask("/a%0ab").status == 400
        broken = mirror.ask("/-/status")
        assert broken.status == 500
        mirror.stop()
        rows = [json.loads(line) for line in mirror.log.read_text().splitlines()]

    assert {"time", "level", "event"} <= set.intersection(*(set(row) for row in rows))
    served = [row for row in rows if row["event"] == "request"]
    assert [(row["status"], row["query"]) for row in served] == [
        (200, True),
        (400, False),
        (500, False),
    ]
    assert served[0]["path"] == "/acme/tiny/resolve/main/config.json"
    name = broken.json()["error"].split()[-1].rstrip(".")
    (told,) = [row for row in rows if name in row.get("message", "")]
    assert told["traceback"].startswith("Traceback")
    assert rows[-1]["message"] == "modelmirror stopped."


@pytest.mark.parametrize("folder", ["partial", "records", "blobs"])
def test_an_answer_tells_nothing_of_this_machine(
    mirror: Running, origin: Origin, folder: str
) -> None:
    """What fails here is one sentence and a name, under which the log has the folder and the reason."""
    origin.add_repo("models", "acme/tiny", files={"config.json": b"{}", "m.bin": WEIGHTS})
    _break(mirror, folder)
    failed = 0
    for path in ("config.json", "m.bin"):
        for method in ("GET", "HEAD"):
            got = mirror.ask(f"/acme/tiny/resolve/main/{path}", method=method)
            told = f"{got.headers}{got.body!r}"
            assert not any(part in told for part in (str(mirror.data), "/v1/", folder, "Errno"))
            if got.status == 200:
                continue
            failed += 1
            name = got.headers["x-error-message"].split()[-1].rstrip(".")
            (line,) = [row for row in mirror.log.read_text().splitlines() if f" {name}: " in row]
            assert f"/{path} failed" in line
    # What cannot be written down is served all the same; what cannot be read is not.
    assert bool(failed) is (folder == "blobs")


def _break(mirror: Running, folder: str) -> None:
    """Put a file where a folder of the store should be, as no disk fault can be made without root."""
    path = mirror.data / "v1" / folder
    shutil.rmtree(path)
    path.write_bytes(b"")
