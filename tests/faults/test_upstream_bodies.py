"""Upstream breaks in the middle of a file: everyone gets the file, or can tell that they did not."""

import time

import pytest

from tests.faults.clients import download, together
from tests.faults.site import MIB, Site, noise, wait_for, while_running
from tests.origin import Fault

CONTENT = noise(8 * MIB)
RATE = 8 * MIB
HTML = b"<html><body>Please log in to the network.</body></html>"


def _resumed(site: Site, content: bytes) -> None:
    """One request more, for the rest alone, on a strong validator; next to nothing twice."""
    # The Hub is asked for its redirect again, for a signed URL expires.
    assert len(site.origin.seen(method="GET", path="/resolve/")) <= 2
    first, second = site.bodies()
    begin = int(second.headers["range"].removeprefix("bytes=").rstrip("-"))
    assert "range" not in first.headers
    assert 0 < begin <= 0.6 * len(content) + MIB
    assert second.headers["if-range"].startswith('"')
    assert first.bytes_sent + second.bytes_sent <= 1.05 * len(content)


def test_f01_upstream_closes_in_the_middle(site: Site) -> None:
    """Eight clients get the whole file over a connection that closes at 60 %, at most 2 s later."""
    site.add(CONTENT)
    site.origin.fault(Fault(server="cdn", method="GET", action="cut", at=0.6, rate=RATE))

    results = site.eight()

    assert [one.clean(CONTENT) for one in results] == [True] * 8
    assert max(one.gap for one in results) <= 2
    _resumed(site, CONTENT)


def test_f01_upstream_closes_three_times(site: Site) -> None:
    """Sixty-four clients get the whole file over three closed connections."""
    site.add(CONTENT)
    site.origin.fault(Fault(server="cdn", method="GET", action="cut", at=0.5, rate=RATE, times=3))

    results = together(64, lambda: download(site.url()))

    assert [one.clean(CONTENT) for one in results] == [True] * 64
    assert len(site.bodies()) == 4
    assert sum(seen.bytes_sent for seen in site.bodies()) <= 1.05 * len(CONTENT)


def test_f02_upstream_resets_in_the_middle(site: Site) -> None:
    """A reset is survived like a close."""
    site.add(CONTENT)
    site.origin.fault(Fault(server="cdn", method="GET", action="rst", at=0.6, rate=RATE))

    results = site.eight()

    assert [one.clean(CONTENT) for one in results] == [True] * 8
    _resumed(site, CONTENT)


@pytest.mark.torture
def test_f03_upstream_falls_silent(site: Site) -> None:
    """A connection without a byte for 30 s is given up, and the rest comes over another."""
    site.add(CONTENT)
    site.origin.fault(Fault(server="cdn", method="GET", action="stall", at=0.6))
    began = time.monotonic()

    results = site.eight()

    assert [one.clean(CONTENT) for one in results] == [True] * 8
    assert time.monotonic() - began <= 35
    _resumed(site, CONTENT)


def test_f04_upstream_always_closes(site: Site) -> None:
    """A file that never comes whole cuts everybody after a few tries, and what came is kept."""
    site.add(CONTENT)
    site.origin.fault(
        Fault(server="cdn", method="GET", action="cut", at=200_000, times=None, rate=RATE)
    )

    results = site.eight()

    assert not any(one.whole for one in results)
    assert len(site.bodies()) <= 4
    assert site.blobs() == []
    site.mirror.settle()
    (left,) = site.partials()
    assert 0 < (left / "data").stat().st_size < len(CONTENT)
    site.origin.clear_faults()
    site.origin.clear_log()
    assert site.get().clean(CONTENT)
    assert "range" in site.bodies()[0].headers


def test_f04_upstream_sends_no_byte(site: Site) -> None:
    """Where no byte came the answer says so, and upstream is asked a few times in all."""
    site.add(CONTENT)
    site.origin.fault(Fault(server="cdn", action="cut", at=0, times=None))

    results = site.eight()

    assert {one.status for one in results} <= {200, 501, 502, 503}
    assert not any(one.whole and one.status == 200 for one in results)
    assert len(site.bodies()) <= 4


@pytest.mark.parametrize("action", ["short-length", "long-length"])
def test_f05_upstream_lies_about_the_length(site: Site, action: str) -> None:
    """A wrong Content-Length stores nothing, sends nothing wrong and ends its connection."""
    site.add(CONTENT)
    site.origin.fault(Fault(server="cdn", method="GET", action=action, at=1000))  # type: ignore[arg-type]

    got = site.get()

    assert got.harmless(CONTENT)
    assert not got.clean(CONTENT)
    assert site.blobs() == []
    liar = site.bodies()[0].client
    assert site.get().clean(CONTENT)
    assert site.bodies()[-1].client != liar


def test_f06_upstream_breaks_its_chunks(site: Site) -> None:
    """A broken chunk is a broken connection: all get the file over the next one."""
    site.add(CONTENT)
    site.origin.fault(Fault(server="cdn", method="GET", action="bad-chunk", at=0.6, rate=RATE))

    results = site.eight()

    assert [one.clean(CONTENT) for one in results] == [True] * 8


def test_f06_upstream_always_breaks_its_chunks(site: Site) -> None:
    """Chunks that always break cut everybody and store nothing."""
    site.add(CONTENT)
    site.origin.fault(Fault(server="cdn", method="GET", action="bad-chunk", at=1000, times=None))

    results = site.eight()

    assert not any(one.whole and one.status == 200 for one in results)
    assert site.blobs() == []


@pytest.mark.parametrize("at", [0, 0.3, 0.999999])
def test_f07_upstream_sends_a_wrong_byte(site: Site, at: float) -> None:
    """One wrong byte: no whole 200, nothing stored, an alarm counted, and the next fill is right."""
    site.add(CONTENT)
    site.origin.fault(Fault(server="cdn", method="GET", action="flip", at=at, rate=4 * RATE))

    results = site.eight()

    assert all(one.harmless(CONTENT) for one in results)
    assert site.metric("modelmirror_alarms_total", "digest-mismatch") == 1
    assert site.get().clean(CONTENT)


@pytest.mark.parametrize("length", [len(HTML), len(CONTENT)], ids=["short", "as-long-as-the-file"])
def test_f08_a_page_comes_instead_of_the_file(site: Site, length: int) -> None:
    """A captive portal's 200 is never stored, nor sent as the file."""
    site.add(CONTENT)
    site.origin.fault(
        Fault(
            server="cdn",
            action="status",
            status=200,
            headers={"Content-Type": "text/html"},
            body=HTML.ljust(length),
            times=1,
        )
    )

    got = site.get()

    assert got.harmless(CONTENT)
    assert not got.clean(CONTENT)
    assert site.blobs() == []
    if got.status != 200:
        assert got.status in {501, 502}
        assert "x-error-message" in got.headers
    assert site.get().clean(CONTENT)


def test_f08_a_page_comes_instead_of_the_list(site: Site) -> None:
    """A captive portal's 200 on the Hub's API is no fact: it is refused and forgotten."""
    site.add(CONTENT)
    page = {"Content-Type": "text/html"}
    site.origin.fault(
        Fault(server="hub", action="status", status=200, headers=page, body=HTML, times=None)
    )

    assert site.get().status in {501, 502}
    site.origin.clear_faults()
    assert site.get().clean(CONTENT)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(server="cdn", method="GET", action="bad-range"),
        Fault(server="cdn", method="GET", action="no-range", times=2),
        Fault(server="cdn", method="GET", action="etag"),
    ],
    ids=["another-range", "no-range", "another-version"],
)
def test_f09_upstream_answers_a_resume_with_other_bytes(site: Site, fault: Fault) -> None:
    """A resume answered with another range, none, or another version never mixes into the file."""
    site.add(CONTENT)
    site.origin.fault(Fault(server="cdn", method="GET", action="cut", at=0.6, rate=RATE))
    site.origin.fault(fault)

    results = site.eight()

    assert all(one.harmless(CONTENT) for one in results)
    assert len(site.bodies()) >= 2
    assert site.get().clean(CONTENT)


def test_f10_the_file_is_replaced_in_the_middle(site: Site) -> None:
    """Those who began get the old file whole, those who come later the new one: never a mix."""
    site.restart({"MODELMIRROR_HUGGINGFACE_REF_LIFETIME": "0s"})
    repo, other = site.add(CONTENT), noise(8 * MIB, seed=2)
    site.origin.fault(Fault(server="cdn", method="GET", action="cut", at=0.6, rate=RATE))

    def replace() -> None:
        wait_for(lambda: bool(site.bodies()))
        repo.push({"model.bin": other}, "another version")

    with while_running(replace):
        results = site.eight()

    assert all(one.harmless(CONTENT) or one.clean(other) for one in results)
    assert site.get().clean(other)


def test_f11_upstream_has_no_strong_validator(site: Site) -> None:
    """Without a strong ETag nothing is resumed blindly: no range without If-Range, and no mix."""
    site.add(CONTENT)
    site.origin.fault(Fault(server="cdn", method="GET", action="cut", at=0.6, rate=RATE))
    site.origin.fault(Fault(server="cdn", action="weak-etag", times=None))

    results = site.eight()

    assert [one.clean(CONTENT) for one in results] == [True] * 8
    for seen in site.bodies():
        assert not seen.headers.get("if-range", "").startswith("W/")
        assert "range" not in seen.headers or "if-range" in seen.headers


def test_f18_a_slow_line_is_used_fully(site: Site) -> None:
    """A file comes as fast as upstream sends it, to within a tenth."""
    site.add(CONTENT)
    site.origin.fault(Fault(server="cdn", method="GET", action="drip", rate=4 * MIB))
    began = time.monotonic()

    assert site.get().clean(CONTENT)

    assert time.monotonic() - began <= 8 / 4 / 0.9 + 0.3


@pytest.mark.torture
def test_f18_a_trickle_is_no_stall(site: Site) -> None:
    """At 1 KiB/s a file comes whole, however long it takes."""
    content = noise(40 << 10)
    site.add(content)
    site.origin.fault(Fault(server="cdn", method="GET", action="drip", rate=1024))

    assert site.get(timeout=90).clean(content)


def test_f19_one_of_eight_clients_leaves(site: Site) -> None:
    """Who hangs up takes nobody along."""
    site.add(CONTENT)
    site.origin.fault(Fault(server="cdn", method="GET", action="drip", rate=2 * RATE))

    with while_running(lambda: _leave(site)):
        results = together(7, site.get)

    assert [one.clean(CONTENT) for one in results] == [True] * 7
    assert len(site.bodies()) == 1


def test_f19_all_clients_leave(site: Site) -> None:
    """A fill belongs to the cache: when everybody hung up it goes on, and nothing stays open."""
    site.add(CONTENT)
    site.origin.fault(Fault(server="cdn", method="GET", action="drip", rate=2 * RATE))

    together(8, lambda: site.get(stop_at=100_000))
    site.mirror.settle()

    assert len(site.blobs()) == 1
    assert len(site.bodies()) == 1
    assert site.get().clean(CONTENT)
    assert len(site.bodies()) == 1


def _leave(site: Site) -> None:
    assert site.get(stop_at=100_000).error == "left"


def test_f37_a_slow_client_holds_up_nobody(site: Site) -> None:
    """Seven clients are as fast beside a slow one as alone, and memory stays flat."""
    site.add(CONTENT)
    other = noise(8 * MIB, seed=3)
    site.add(other, "acme/other")
    drip = Fault(server="cdn", method="GET", action="drip", rate=4 * MIB, times=None)
    site.origin.fault(drip)
    began = time.monotonic()
    assert site.get().clean(CONTENT)
    alone = time.monotonic() - began
    memory = site.mirror.rss()
    fast: list[float] = []

    def seven() -> None:
        begun = time.monotonic()
        results = together(7, lambda: site.get("acme/other"))
        fast.append(time.monotonic() - begun)
        assert all(one.clean(other) for one in results)

    with while_running(seven):
        slow = site.get("acme/other", rate=2 * MIB)

    assert slow.clean(other)
    assert fast[0] <= 1.1 * alone + 0.3
    assert site.mirror.rss() - memory <= 32 * MIB
