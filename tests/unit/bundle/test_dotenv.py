"""Variables as files have them."""

import pytest

from mirror.bundle.dotenv import read
from mirror.errors import QuestionError


def test_every_form_of_a_line_is_read() -> None:
    """Comments, exports, quotes, and names without a value, which compose takes from elsewhere."""
    text = """
# where models are
HF_HOME=/app/models
export TORCH_HOME = "/app/a \\"b\\"" # comment
XDG_CACHE_HOME='/app/$x # y'
EMPTY=
PASSED_ON
PLAIN=/a#b # comment
"""
    assert read(text, ".env") == {
        "HF_HOME": "/app/models",
        "TORCH_HOME": '/app/a "b"',
        "XDG_CACHE_HOME": "/app/$x # y",
        "EMPTY": "",
        "PLAIN": "/a#b",
    }


def test_a_line_that_is_none_is_named() -> None:
    """With the file and its number."""
    with pytest.raises(QuestionError, match=r"Line 2 of x\.env"):
        read("A=1\n- B\n", "x.env")
