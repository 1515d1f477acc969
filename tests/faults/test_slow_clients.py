"""S-15: two thousand slow connections beside sixty-four brisk ones, with the limits that everybody has."""

import json
import resource
import selectors
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.bench.figures import STEADY
from tests.faults.audit import held
from tests.faults.site import MIB, Site, noise
from tests.house.checkout import ROOT
from tests.mirror.running import Running

pytestmark = [pytest.mark.torture, pytest.mark.timeout(900)]

SLOW = 2000
BRISK = 64
PAIRS = 5
SECONDS = 2.0
TRICKLE = 5.0
# 75 s for what sends no whole request, 60 s for a reader that takes nothing, 30 s for a body; and some
# more, for the machine may be busy.
LONGEST = 75.0 + 60.0

HEAD = b"GET /acme/model/resolve/main/small.json HTTP/1.1\r\nHost: m\r\n"
BIG = b"GET /acme/model/resolve/main/model.bin HTTP/1.1\r\nHost: m\r\n\r\n"
BODY = b"POST /api/models/acme/model/paths-info/main HTTP/1.1\r\nHost: m\r\nContent-Length: 1000\r\n\r\npaths"
# What each kind sends at once, and a byte at a time from then on.
KINDS = (
    (b"", b""),
    (HEAD, b""),
    (HEAD + b"X-Slow: ", b"a"),
    (HEAD + b"\r\n" + HEAD + b"X-Slow: ", b"a"),
    (BODY, b""),
    (BODY, b"a"),
    (BIG, b""),
    (HEAD.replace(b"GET", b"POST") + b"Transfer-Encoding: chunked\r\n\r\n1\r\n", b""),
)


@contextmanager
def _crowd(mirror: Running) -> Iterator[list[socket.socket]]:
    """Open the slow connections, in equal shares of each kind, and keep the trickling ones trickling."""
    wires: list[socket.socket] = []
    done = threading.Event()

    def trickle() -> None:
        while not done.wait(TRICKLE):
            for number, wire in enumerate(wires):
                with suppress(OSError):
                    wire.send(KINDS[number % len(KINDS)][1])

    thread = threading.Thread(target=trickle, daemon=True)
    try:
        for number in range(SLOW):
            wire = socket.socket()
            wires.append(wire)
            # A reader that takes nothing must not be given a whole file by the kernels.
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            wire.settimeout(30)
            wire.connect(mirror.address)
            wire.sendall(KINDS[number % len(KINDS)][0])
            wire.settimeout(0)
        thread.start()
        yield wires
    finally:
        done.set()
        if thread.is_alive():
            thread.join()
        for wire in wires:
            wire.close()


def _rate(mirror: Running) -> float:
    """Small requests a second over the brisk connections, measured from a process of its own."""
    wish = {
        "do": "heads",
        "address": mirror.address,
        "path": "/acme/model/resolve/main/small.json",
        "clients": BRISK,
        "seconds": SECONDS,
    }
    done = subprocess.run(
        [sys.executable, "-S", str(ROOT / "tests/bench/load.py"), json.dumps(wish)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    told = json.loads(done.stdout)
    return float(told["count"] / told["seconds"])


def _open(mirror: Running) -> int:
    return held(mirror).clients


def test_s15_slow_connections_hold_up_nobody_and_are_cut(site: Site) -> None:
    """Brisk requests keep half their rate, memory grows by less than 64 MiB, and the limits end the rest."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < SLOW + 500:
        pytest.skip(f"{SLOW} connections need as many descriptors; the limit here is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, SLOW + 500), hard))
    site.origin.add_repo(
        "models",
        "acme/model",
        files={"small.json": b"{}", "model.bin": noise(16 * MIB)},
        lfs=("*.bin",),
    )
    assert site.get(path="small.json").body == b"{}"
    assert site.get().size == 16 * MIB
    site.restart({"MODELMIRROR_HUGGINGFACE_REF_LIFETIME": "1h"})
    assert site.get(path="small.json").body == b"{}"
    _rate(site.mirror)
    before = site.mirror.rss()

    alone, ratios = [], []
    for _ in range(PAIRS):
        alone.append(_rate(site.mirror))
        with _crowd(site.mirror):
            ratios.append(_rate(site.mirror) / alone[-1])
        site.mirror.wait_for(lambda: _open(site.mirror) == 0, timeout=60)
    grown = site.mirror.rss() - before
    ratio = statistics.median(ratios)
    print(f"\nrate kept {ratio:.2f} ({ratios}), memory {grown / MIB:.1f} MiB")  # noqa: T201

    with _crowd(site.mirror) as wires:
        began = time.monotonic()
        site.mirror.wait_for(lambda: _open(site.mirror) > SLOW * 0.9, timeout=20)
        while (left := _open(site.mirror)) and time.monotonic() - began < LONGEST:
            time.sleep(1)
        took = time.monotonic() - began
        ended = _over(wires)
    grown = site.mirror.rss() - before
    print(f"{left} left after {took:.0f} s, memory {grown / MIB:.1f} MiB")  # noqa: T201
    assert left == 0
    assert ended == SLOW
    assert site.get(path="small.json").body == b"{}"
    assert grown < 64 * MIB
    # On a machine that others use, the rate alone says whether a comparison says anything.
    assert ratio >= 0.5 or (max(alone) - min(alone)) / statistics.median(alone) > STEADY


def _over(wires: list[socket.socket]) -> int:
    """How many of the connections are at their end, once what was sent on them is read."""
    ended = 0
    with selectors.DefaultSelector() as watch:
        for wire in wires:
            watch.register(wire, selectors.EVENT_READ)
        while events := watch.select(timeout=1):
            for key, _ in events:
                ready = key.fileobj
                assert isinstance(ready, socket.socket)
                try:
                    if ready.recv(1 << 20):
                        continue
                except OSError:
                    pass
                ended += 1
                watch.unregister(ready)
    return ended
