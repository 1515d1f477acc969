"""What secrets look like in a text, and that nothing of them is left; what is none stays as it is."""

import pytest

from mirror.redaction import escaped, one_line, redacted

CANARY = "Canary0123456789abcdef"


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {CANARY}",
        f"authorization: token {CANARY}; more",
        f"{{'Authorization': 'Bearer {CANARY}', 'Accept': '*/*'}}",
        f"{{b'authorization': b'{CANARY}'}}",
        f"('Authorization', 'Basic {CANARY}')",
        f'"Authorization": "Bearer a\\"{CANARY}"',
        f"Proxy-Authorization={CANARY}",
        f"Cookie: session={CANARY}; other={CANARY}",
        f"Set-Cookie: a={CANARY}; Path=/",
        f"sent bearer {CANARY} to somebody",
        f"Basic {CANARY}==",
        f"the token hf_{CANARY} is not valid",
        f"/acme/hf_{CANARY}/resolve",
        f"eyJhbGciOiJI.{CANARY}.{CANARY}",
        f"https://alice:{CANARY}@host.example/a",
        f"https://{CANARY}@host.example:8080/a/b",
        f"https://cdn.example/x?Signature={CANARY}&Policy={CANARY}",
        f"/xorbs/default/00?X-Amz-Signature={CANARY}&X-Amz-Credential={CANARY}%2F20260101",
        f"URL('https://cas.example/a?X-Xet-Signed-Range=bytes%3D0-1&Key-Pair-Id={CANARY}')",
        f"Policy={CANARY}&x=1",
        f"access_token={CANARY}",
        f"no answer from /api/x?a={CANARY}: timed out",
    ],
)
def test_secrets_of_known_shape_are_gone(text: str) -> None:
    """Header values, tokens, passwords and queries are replaced, whatever surrounds them."""
    shown = redacted(text)
    assert CANARY not in shown
    assert "…" in shown


@pytest.mark.parametrize(
    "text",
    [
        "A request failed: huggingface.co could not be asked: it refused the connection.",
        "The request has more than one Authorization.",
        "digest-mismatch: models/acme/tiny: The bytes that came for sha256:00ff are others.",
        "https://huggingface.co/acme/tiny/resolve/main/config.json",
        "Did it work?",
        "/acme/tiny_hf_v2/resolve/main/a=b.bin",
        "User 1000 cannot use the data folder /srv/models (/srv/models/v1: Permission denied).",
    ],
)
def test_plain_sentences_stay(text: str) -> None:
    """What holds no secret is not touched."""
    assert redacted(text) == text


def test_escaped_forges_nothing() -> None:
    """Every character that is no printable ASCII is spelled out, and length is bounded."""
    assert escaped("a b\n\x1b\udcffé", 99) == "a\\u0020b\\u000a\\u001b\\udcff\\u00e9"
    assert escaped("abc", 2) == "ab..."


def test_one_line_keeps_letters_and_nothing_that_steers() -> None:
    """Line ends, terminal commands and marks that turn the writing around are spelled out."""
    assert one_line("Grüße, 世界 a\r\n\x1b[2J\u202eb\udcff\u2028") == (
        "Grüße, 世界 a\\u000d\\u000a\\u001b[2J\\u202eb\\udcff\\u2028"
    )
