"""Replies survive being bytes, and bytes that are no reply do nothing."""

import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.index.codec import decode_reply, encode_reply
from mirror.messages import Response
from mirror.names import Reply
from tests.unit.index.samples import reply

TEXT = st.text(alphabet=st.characters(codec=None), max_size=30)
TIMES = st.floats(allow_nan=False, allow_infinity=False)
REPLIES = st.builds(
    Reply,
    TEXT,
    st.builds(
        Response, st.integers(100, 599), st.dictionaries(TEXT, TEXT), st.binary(), TEXT, TEXT
    ),
    TIMES,
    TIMES,
    st.booleans(),
    st.booleans(),
)


@given(REPLIES)
def test_reply_any_comes_back_exactly(value: Reply) -> None:
    """Writing and reading a reply changes nothing of it."""
    assert decode_reply(encode_reply(value)) == value


@given(st.binary(max_size=200))
def test_reply_of_any_bytes_is_no_error(value: bytes) -> None:
    """Bytes that are no reply are none, whatever they are."""
    assert decode_reply(value) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("form", 2),
        ("key", 7),
        ("status", "200"),
        ("headers", ["a"]),
        ("headers", {"a": 1}),
        ("body", "not base64!"),
        ("body", None),
        ("seen_at", "noon"),
        ("lasting", 1),
        ("url", None),
    ],
)
def test_reply_with_a_field_of_another_kind_is_none(name: str, value: object) -> None:
    """Every field is checked before anything is made of it."""
    fields = json.loads(encode_reply(reply("k")))
    fields[name] = value

    assert decode_reply(json.dumps(fields).encode()) is None


def test_reply_is_no_pickle() -> None:
    """A pickle is not read as one, and nesting without end does not exhaust the stack."""
    assert decode_reply(pickle.dumps(reply("k"))) is None
    assert decode_reply(b"[" * 100_000) is None
