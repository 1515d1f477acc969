"""Conditional requests, by RFC 9110 section 13, for entity tags alone.

The mirror sends no Last-Modified: the time a blob arrived here says nothing about the blob, and a client
that compared it would be wrong. So dates in preconditions are ignored, as §13.1 demands of a server
without a modification date; in ``If-Range`` a date matches nothing and the whole body is sent.
"""

import re
from collections.abc import Mapping
from enum import Enum, auto
from typing import Final

_TAG: Final = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\U0010ffff]*)"')
_LIST: Final = re.compile(rf"\s*(?:,\s*)*(?:{_TAG.pattern}\s*(?:,\s*|\Z)+)+\Z")


class Verdict(Enum):
    """What the preconditions of a request say about its answer."""

    PROCEED = auto()
    """They hold, or there are none."""
    UNCHANGED = auto()
    """The client has this already: 304."""
    FAILED = auto()
    """The client meant another version: 412."""


def judge(method: str, headers: Mapping[str, str], etag: str) -> Verdict:
    """Evaluate ``If-Match``, then ``If-None-Match``, in the order of RFC 9110 §13.2.2.

    *headers* have lower-case names; *etag* is the strong entity tag of the answer, without quotes.
    """
    wanted = headers.get("if-match")
    if wanted is not None and not _matches(wanted, etag, strong=True):
        return Verdict.FAILED
    unwanted = headers.get("if-none-match")
    if unwanted is not None and _matches(unwanted, etag, strong=False):
        return Verdict.UNCHANGED if method in {"GET", "HEAD"} else Verdict.FAILED
    return Verdict.PROCEED


def range_applies(headers: Mapping[str, str], etag: str | None) -> bool:
    """Tell whether ``If-Range`` lets a ``Range`` count: absent, or exactly our strong tag (§13.1.5)."""
    condition = headers.get("if-range")
    return condition is None or (etag is not None and condition.strip() == f'"{etag}"')


def _matches(condition: str, etag: str, *, strong: bool) -> bool:
    """Compare by §8.8.3.2; a list that is not one matches nothing."""
    if condition.strip() == "*":
        return True
    if _LIST.match(condition) is None:
        return False
    return any(tag[2] == etag and not (strong and tag[1]) for tag in _TAG.finditer(condition))
