"""What may be written into a log: text without secrets, and without characters that forge a line.

The first line of defence is that secrets are never put into a message: a `Credential` does not print, and
foreign errors are worded anew. This is the second, for what a library, a traceback or a client's own path
may carry. It knows secrets by their shape: authorization and cookie values, the Hub's tokens, signed JSON
tokens, passwords in URLs, and every query (the CDNs sign in it).
"""

import re
from typing import Final

# Whatever none of this is in holds no secret that the patterns below would know.
_SUSPECT: Final = re.compile(r"(?i)authoriz|cookie|bearer|basic|hf_|api_org_|eyJ|[?=@]")

_PATTERNS: Final = (
    # A header with its value, as a line, a pair or an entry of a dict.
    (
        re.compile(
            r"""(?i)\b((?:proxy-)?authorization|(?:set-)?cookie)(["']?\s*[:=,]\s*)"""
            r"""(?:b?(["'])(?:\\.|(?!\3).)*\3|[^\r\n"'})\]]+)"""
        ),
        r"\1\2…",
    ),
    (re.compile(r"(?i)\b(bearer|basic)(\s+)[\w+/.~:=-]{4,}"), r"\1\2…"),
    (re.compile(r"\b(hf_|api_org_)[A-Za-z0-9]{6,}"), r"\1…"),
    (re.compile(r"\beyJ[\w-]{8,}(?:\.[\w-]*){0,2}"), "eyJ…"),
    (re.compile(r"""(?i)\b([a-z][a-z0-9+.-]*://)[^/\s"'<>@]+@"""), r"\1…@"),
    (re.compile(r"""\?[^\s"'<>?=]*=[^\s"'<>]*"""), "?…"),
    (
        re.compile(
            r"""(?i)\b((?:x-amz-)?(?:signature|credential|security-token)|policy|key-pair-id|"""
            r"""(?:access_?)?token|sig|secret|password|api_?key)=[^\s&"'<>]+"""
        ),
        r"\1=…",
    ),
)

_UNSAFE: Final = re.compile(r"[^\x21-\x7e]")
# A sentence keeps its spaces and its letters of any language; what steers a terminal or ends a line goes.
_CONTROL: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)


def redacted(text: str) -> str:
    """Return *text* with every secret that has a known shape replaced by ``…``."""
    if _SUSPECT.search(text) is None:
        return text
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return text


def escaped(text: str, limit: int, unsafe: re.Pattern[str] = _UNSAFE) -> str:
    """Make *text* printable ASCII of at most *limit* characters, dots where it was cut.

    What *unsafe* matches is written as its code point; by default that includes spaces.
    """
    short = text if len(text) <= limit else text[:limit] + "..."
    return unsafe.sub(_code_point, short)


def one_line(text: str) -> str:
    """Return *text* as one line for people: control characters as code points, everything else as it is."""
    return _CONTROL.sub(_code_point, text)


def _code_point(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
