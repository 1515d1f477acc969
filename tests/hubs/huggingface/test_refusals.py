"""Every error in words that Hub clients understand."""

import json

import pytest

from mirror import errors
from mirror.digest import SHA256, Digest
from mirror.hubs.huggingface.refusals import refuse
from mirror.messages import Answer
from tests.hubs.huggingface.scripts import header, parsed

DIGEST = Digest(SHA256, "a" * 64)


def denied(*, gated: bool, anonymous: bool) -> errors.NotAdmittedError:
    """A caller who is not let in."""
    return errors.NotAdmittedError("No.", repo="models/a/b", gated=gated, anonymous=anonymous)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.MalformedQuestionError("No."), 400, None),
        (errors.MethodRefusedError("No."), 405, None),
        (errors.TooLargeError("No."), 413, None),
        (errors.QuestionError("No."), 400, None),
        (denied(gated=True, anonymous=True), 401, "GatedRepo"),
        (denied(gated=True, anonymous=False), 403, "GatedRepo"),
        (denied(gated=False, anonymous=True), 501, None),
        (denied(gated=False, anonymous=False), 501, None),
        (errors.UpstreamUnreachableError("No."), 502, None),
        (errors.TruncatedBodyError("No.", expected=2, got=1), 502, None),
        (errors.ForbiddenTargetError("No."), 502, None),
        (errors.UpstreamBusyError("No.", retry_after=2.5), 429, None),
        (errors.OfflineError("No."), 501, None),
        (errors.StoreFullError("No.", needed=2, free=1), 507, None),
        (errors.StoreCorruptError("No."), 500, None),
        (errors.DigestMismatchError("No.", expected=DIGEST, got=DIGEST), 502, None),
        (errors.StoreUnusableError("No."), 503, None),
        (errors.ConfigError("No."), 500, None),
        (errors.MirrorError("No."), 500, None),
    ],
)
def test_refusal_has_a_status_a_code_and_a_sentence(
    error: errors.MirrorError, status: int, code: str | None
) -> None:
    """The table of statuses; the sentence stands where clients print it and in the body."""
    answer = refuse(error)
    assert answer.status == status
    assert header(answer, "x-error-code") == code
    assert header(answer, "x-repo-commit") is None
    assert header(answer, "x-error-message")
    assert parsed(answer)["error"]


def test_refusal_offline_warns_in_the_one_place_that_clients_log() -> None:
    """501 with the same text in three places; never a code."""
    answer = refuse(errors.OfflineError("No file.", hint="Fetch it."))
    assert header(answer, "x-hf-warning") == "modelmirror; No file. Fetch it."
    assert header(answer, "x-error-message") == "No file. Fetch it."


def test_refusal_of_a_private_repo_reads_like_that_of_an_unknown_one() -> None:
    """Whether it exists is not told: anonymous or not, the same words and headers."""
    first = refuse(denied(gated=False, anonymous=True))
    second = refuse(denied(gated=False, anonymous=False))
    assert first == second
    unknown = refuse(errors.OfflineError("x"))
    assert [name for name, _ in first.headers] == [name for name, _ in unknown.headers]


def test_refusal_says_when_to_come_back() -> None:
    """Both dialects of it: seconds, and the Hub's own rate-limit header."""
    answer = refuse(errors.UpstreamBusyError("No.", retry_after=2.5))
    assert (header(answer, "retry-after"), header(answer, "ratelimit")) == ("3", '"api";r=0;t=3')
    answer = refuse(errors.UpstreamBusyError("No.", retry_after=None))
    assert int(header(answer, "retry-after") or 0) > 0


def test_refusal_of_a_method_names_the_allowed_ones() -> None:
    """RFC 9110 §15.5.6 wants Allow with 405."""
    assert header(refuse(errors.MethodRefusedError("No.")), "allow") == "GET, HEAD"


def test_refusal_of_upstream_is_passed_on_in_its_words() -> None:
    """Status, code and message are upstream's; no other header of it is."""
    headers = {
        "x-error-code": "GatedRepo",
        "x-error-message": "Ask for access.",
        "set-cookie": "a=b",
    }
    answer = refuse(errors.UpstreamRefusedError("No.", status=403, headers=headers))
    assert answer.status == 403
    assert header(answer, "x-error-code") == "GatedRepo"
    assert header(answer, "x-error-message") == "Ask for access."
    assert header(answer, "set-cookie") is None


@pytest.mark.parametrize("text", ["a\r\nX-Evil: 1", "naïve …\x00\x7f", "x" * 5000, "\udce9"])
def test_refusal_headers_hold_one_line_of_ascii(text: str) -> None:
    """Whatever a file is called or upstream says, a header stays one header."""
    for error in (
        errors.OfflineError(text),
        errors.UpstreamRefusedError(text, status=404, headers={"x-error-code": text}),
        errors.MalformedQuestionError(text),
    ):
        answer: Answer = refuse(error)
        for name, value in answer.headers:
            assert (name + value).isascii()
            assert value.isprintable()
            assert len(value) <= 1100
        (body,) = answer.body
        assert isinstance(body, bytes)
        assert json.loads(body)
