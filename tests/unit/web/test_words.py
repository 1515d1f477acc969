"""Preconditions, refusals, heads, the log's words, the home page and the metrics: text in, text out."""

import asyncio
import json
from collections.abc import Mapping

import pytest

from mirror import errors
from mirror.clock import FixedClock
from mirror.digest import sha256_of
from mirror.events import Alarm, Asked, FillEnded, FillStarted, Served
from mirror.telemetry import MAX_HOSTS, Telemetry
from mirror.web.accesslog import BATCH, AccessLog
from mirror.web.conditional import Verdict, judge, range_applies
from mirror.web.heads import Heads
from mirror.web.refusals import fault, foreseen, header_text, refuse
from mirror.web.trace import Trace


@pytest.mark.parametrize(
    ("headers", "verdict"),
    [
        ({}, Verdict.PROCEED),
        ({"if-none-match": '"t"'}, Verdict.UNCHANGED),
        ({"if-none-match": 'W/"t"'}, Verdict.UNCHANGED),
        ({"if-none-match": '"a", W/"t" , "b"'}, Verdict.UNCHANGED),
        ({"if-none-match": ', ,"a",, "t",'}, Verdict.UNCHANGED),
        ({"if-none-match": " * "}, Verdict.UNCHANGED),
        ({"if-none-match": '"T"'}, Verdict.PROCEED),
        ({"if-none-match": "t"}, Verdict.PROCEED),
        ({"if-none-match": '"t" "t"'}, Verdict.PROCEED),
        ({"if-none-match": 'w/"t"'}, Verdict.PROCEED),
        ({"if-none-match": '"t'}, Verdict.PROCEED),
        ({"if-match": '"t"'}, Verdict.PROCEED),
        ({"if-match": "*"}, Verdict.PROCEED),
        ({"if-match": 'W/"t"'}, Verdict.FAILED),
        ({"if-match": '"a"'}, Verdict.FAILED),
        ({"if-match": ""}, Verdict.FAILED),
        ({"if-match": '"a"', "if-none-match": '"t"'}, Verdict.FAILED),
        ({"if-match": '"t"', "if-none-match": '"t"'}, Verdict.UNCHANGED),
    ],
)
def test_preconditions_follow_the_rfc(headers: Mapping[str, str], verdict: Verdict) -> None:
    """If-Match compares strongly, If-None-Match weakly, in this order (RFC 9110 §13)."""
    assert judge("GET", headers, "t") is verdict
    expected = Verdict.FAILED if verdict is Verdict.UNCHANGED else verdict
    assert judge("POST", headers, "t") is expected


def test_if_range_takes_our_strong_tag_alone() -> None:
    """Weak tags, dates and other tags send the whole body."""
    assert range_applies({}, "t")
    assert range_applies({"if-range": '"t"'}, "t")
    for value in ('W/"t"', '"u"', "t", "", "Wed, 21 Oct 2015 07:28:00 GMT"):
        assert not range_applies({"if-range": value}, "t")
    assert not range_applies({"if-range": '"t"'}, None)


DIGEST = sha256_of(b"")


@pytest.mark.parametrize(
    ("error", "status", "header"),
    [
        (errors.QuestionError("x"), 400, None),
        (errors.MethodRefusedError("x", allowed=("GET",)), 405, ("Allow", "GET")),
        (errors.TooLargeError("x"), 413, None),
        (
            errors.NotAdmittedError("x", repo="r", gated=False, anonymous=True),
            401,
            ("X-Error-Code", "RepoNotFound"),
        ),
        (
            errors.NotAdmittedError("x", repo="r", gated=True, anonymous=False),
            403,
            ("X-Error-Code", "GatedRepo"),
        ),
        (errors.UpstreamRefusedError("x", status=404, headers={}), 404, None),
        (errors.UpstreamRefusedError("x", status=302, headers={}), 502, None),
        (errors.UpstreamError("x"), 500, None),
        (errors.UpstreamBusyError("x", retry_after=None), 503, ("Retry-After", "30")),
        (errors.UpstreamUnreachableError("x"), 502, ("Retry-After", "10")),
        (errors.TruncatedBodyError("x", expected=2, got=1), 502, ("Retry-After", "1")),
        (errors.ForbiddenTargetError("x"), 502, None),
        (errors.OfflineError("x"), 501, None),
    ],
)
def test_each_error_has_its_status(
    error: errors.MirrorError, status: int, header: tuple[str, str] | None
) -> None:
    """The table gives every class its status, and Retry-After only where a retry can succeed."""
    answer = refuse(error)
    assert answer.status == status
    assert (header is None) == (
        "Retry-After" not in dict(answer.headers)
    ) or header in answer.headers
    assert header is None or header in answer.headers
    (body,) = answer.body
    assert isinstance(body, bytes)
    assert json.loads(body) == {"error": "x"}


@pytest.mark.parametrize(
    ("error", "status", "retry"),
    [
        (errors.DigestMismatchError("/x", expected=DIGEST, got=DIGEST), 502, "10"),
        (errors.StoreFullError("/x", needed=1, free=0), 507, None),
        (errors.StoreCorruptError("/x"), 503, "5"),
        (errors.StoreUnusableError("/x", hint="/x"), 500, None),
        (errors.StoreError("/x"), 500, None),
        (errors.ConfigError("/x"), 500, None),
        (errors.MirrorError("/x"), 500, None),
        (OSError(5, "Input/output error", "/x"), 500, None),
        (KeyError("/x"), 500, None),
    ],
)
def test_faults_of_ours_show_their_name_alone(
    error: Exception, status: int, retry: str | None
) -> None:
    """What may tell of folders stays here: the answer has the kind's sentence and the log's name for it."""
    assert not foreseen(error)
    answer = fault(error, "5eed5eed5eed")
    headers = dict(answer.headers)
    (body,) = answer.body
    assert isinstance(body, bytes)
    assert (answer.status, headers.get("Retry-After")) == (status, retry)
    assert "/x" not in f"{headers}{body!r}"
    assert json.loads(body)["error"].endswith(" Its log tells why under 5eed5eed5eed.")
    assert headers["X-Error-Message"] == json.loads(body)["error"]


def test_header_text_is_one_short_line() -> None:
    """No message can end its header or outgrow a client's line."""
    assert header_text("a\r\nSet-Cookie: é\x00") == "a  Set-Cookie: ? "
    assert len(header_text("x" * 10_000)) == 500


def test_date_follows_the_clock() -> None:
    """The Date line is that of the second, and is made again in the next."""
    clock = FixedClock(1_750_000_000.0)
    heads = Heads(clock)
    assert b"\r\nDate: Sun, 15 Jun 2025 15:06:40 GMT\r\n" in heads.write(200, [])
    clock.advance(1)
    head = heads.write(299, [("A", "b")])
    assert head.startswith(b"HTTP/1.1 299 \r\nA: b\r\nDate: Sun, 15 Jun 2025 15:06:41 GMT\r\n")
    assert head.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("value", ["a\r\nb", "a\nb", "a\rb", "a\0b", "a\x1bb", "a\x7fb"])
def test_head_refuses_control_characters(value: str) -> None:
    """Neither a name nor a value can end its line."""
    heads = Heads(FixedClock())
    with pytest.raises(ValueError, match="control"):
        heads.write(200, [("A", value)])
    with pytest.raises(ValueError, match="control"):
        heads.write(200, [(value, "a")])


def test_log_is_written_in_batches() -> None:
    """256 lines are one write, fewer are written within a second, and nothing is kept without a writer."""
    written: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        log = AccessLog(written.append, FixedClock(), loop)
        for _ in range(BATCH + 3):
            log.note(Trace("GET", keep=True, status=200, found="hit"), 0.1)
        assert [text.count("\n") for text in written] == [BATCH]
        log.flush()
        log.flush()
        assert [text.count("\n") for text in written] == [BATCH, 3]
        AccessLog(None, FixedClock(), loop).note(Trace("GET", keep=True), 0.1)

    asyncio.run(main())


@pytest.mark.parametrize("as_json", [False, True])
def test_log_holds_no_secret_and_no_second_line(as_json: bool) -> None:  # noqa: FBT001
    """A client's own path and address cannot put a token, a line or a terminal's command into the log."""
    written: list[str] = []

    async def main() -> None:
        log = AccessLog(written.append, FixedClock(), asyncio.get_running_loop(), as_json=as_json)
        path = "/a\n1970 GET /forged\x1b[2J/hf_CanaryCanaryCanary/" + "x" * 1000
        trace = Trace("G\nT", keep=True, path=path, query=True, client="1\n2", status=404)
        trace.cut = 'https://u:pw@h/x?Signature=canary "\n'
        log.note(trace, 0.1)
        log.flush()

    asyncio.run(main())
    (line,) = written
    assert line.count("\n") == 1
    assert line.isascii() or "…" in line
    for hidden in ("Canary", "canary", "pw@", "\x1b", "x" * 600):
        assert hidden not in line
    if as_json:
        row = json.loads(line)
        assert (row["event"], row["status"], row["query"]) == ("request", 404, True)
        assert row["path"].startswith("/a\\u000a1970")


def test_telemetry_has_no_more_series_than_hosts_are_known() -> None:
    """Whatever names upstream leads through, the metrics stay within their bound (200 KiB)."""
    telemetry = Telemetry()
    for number in range(10_000):
        telemetry(Asked("huggingface", f"a{number}.hf.co", 200, 0.1))
    text = telemetry.render()
    assert b'host="other"' in text
    assert text.count(b"modelmirror_upstream_requests_total{") == MAX_HOSTS + 1
    assert len(text) < 200 << 10


def test_telemetry_counts_every_event() -> None:
    """Each kind of event moves its series, labels are closed, and two instances share nothing."""
    telemetry, other = Telemetry(), Telemetry()
    for _ in range(2):
        telemetry(Served("huggingface", "hit", 206, 100, 0.2))
    telemetry(Served("", "refused", 0, 0, 0.1))
    telemetry(Asked("huggingface", "huggingface.co", 200, 0.1))
    telemetry(FillStarted("huggingface", 7))
    telemetry(FillEnded("huggingface", "stored", 7, 1.5, 7))
    telemetry(Alarm("mismatch", "A blob is not what it says."))
    telemetry.gauge("tasks", "Tasks.", lambda: 3)
    text = telemetry.render().decode()
    for line in (
        'modelmirror_requests_total{found="hit",hub="huggingface",status="2xx"} 2.0',
        'modelmirror_requests_total{found="refused",hub="none",status="cut"} 1.0',
        'modelmirror_request_duration_seconds_count{found="hit"} 2.0',
        'modelmirror_sent_bytes_total{found="hit",hub="huggingface"} 200.0',
        'modelmirror_upstream_requests_total{host="huggingface.co",hub="huggingface",status="200"} 1.0',
        'modelmirror_upstream_request_duration_seconds_count{hub="huggingface"} 1.0',
        'modelmirror_fills_started_total{hub="huggingface"} 1.0',
        'modelmirror_fills_total{hub="huggingface",outcome="stored"} 1.0',
        'modelmirror_fill_duration_seconds_count{hub="huggingface"} 1.0',
        'modelmirror_received_bytes_total{hub="huggingface"} 7.0',
        'modelmirror_alarms_total{kind="mismatch"} 1.0',
        "modelmirror_tasks 3.0",
    ):
        assert f"\n{line}\n" in text, line
    assert "_count" not in other.render().decode()
