"""spaCy's table of models, and the pages that are made of it."""

import json
from typing import Final

import pytest

from mirror.hubs.spacy import _checksum, _guess, models

DIGEST: Final = "ab" * 32


def test_models_are_listed_newest_first() -> None:
    """By numbers, a version of spaCy before those in the making, each model once."""
    assert models(json.dumps({"spacy": {
        "3.7.0.dev0": {"a": ["3.7.0a1"]},
        "3.7": {"a": ["3.7.1", "3.7.0"]},
        "3.10": {"a": ["3.10.0", "3.7.1"], "b": ["3.10.0"]},
        "2.3.9": {"a": ["2.3.0"]},
    }}).encode()) == (
        "a-3.10.0", "a-3.7.1", "b-3.10.0", "a-3.7.0", "a-3.7.0a1", "a-2.3.0",
    )  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"spacy": 1}',
        b'{"spacy": {"3.8": []}}',
        b'{"spacy": {"3.8": {"a": 1}}}',
    ],
)
def test_what_is_no_table_has_no_models(text: bytes) -> None:
    """Whatever it is."""
    assert models(text) == ()


def test_names_that_are_none_are_left_out() -> None:
    """No page shows them, and no address is made of them."""
    names = ["../x", "x/y", 'x"><script>', "", "X", "x-1"]
    strange = {name: ["3.8.0"] for name in names} | {"ok": ["3.8.0", "../1", "", "x"]}
    assert models(json.dumps({"spacy": {"3.8": strange}}).encode()) == ("ok-3.8.0",)


@pytest.mark.parametrize(
    ("tag", "file"),
    [
        ("a-3.8.0", "a-3.8.0-py3-none-any.whl"),
        ("a-3.10.0", "a-3.10.0-py3-none-any.whl"),
        ("a-3.1.0", "a-3.1.0-py3-none-any.whl"),
        ("a-3.0.0", "a-3.0.0.tar.gz"),
        ("a-2.3.1", "a-2.3.1.tar.gz"),
    ],
)
def test_what_a_model_is_likely_to_have(tag: str, file: str) -> None:
    """Wheels began with 3.1."""
    assert _guess(tag) == file


@pytest.mark.parametrize(
    ("meta", "wheel", "sdist"),
    [
        ({"checksum_whl": DIGEST}, DIGEST, None),
        ({"checksum_whl": DIGEST, "checksum": "cd" * 32}, DIGEST, "cd" * 32),
        ({"checksum_whl": None, "checksum": "md5"}, None, None),
        ({"checksum_whl": DIGEST.upper()}, None, None),
        ([], None, None),
    ],
)
def test_what_is_told_of_packages(meta: object, wheel: str | None, sdist: str | None) -> None:
    """A sha256 of each, or nothing."""
    body = json.dumps(meta).encode()
    for suffix, expected in (("-py3-none-any.whl", wheel), (".tar.gz", sdist)):
        told = _checksum(suffix, body)
        assert (told and told.digest and told.digest.hex) == expected
