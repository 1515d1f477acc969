"""Sizes and spans of time as people write them: ``50GiB``, ``7d``, and back."""

import re
from typing import Final

_SIZES: Final = {
    "": 1, "B": 1,
    "K": 1 << 10, "KiB": 1 << 10, "KB": 10**3,
    "M": 1 << 20, "MiB": 1 << 20, "MB": 10**6,
    "G": 1 << 30, "GiB": 1 << 30, "GB": 10**9,
    "T": 1 << 40, "TiB": 1 << 40, "TB": 10**12,
}  # fmt: skip
_SPANS: Final = {
    "ms": 0.001,
    "s": 1.0,
    "": 1.0,
    "m": 60.0,
    "min": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 604800.0,
}
_NUMBER: Final = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*\Z", re.ASCII)


def parse_size(text: str) -> int:
    """Read a size in bytes: a number and ``KiB … TiB`` (1024), ``KB … TB`` (1000) or nothing.

    Raises `ValueError` with a sentence that shows the accepted forms.
    """
    match = _NUMBER.match(text)
    if match is None or match[2] not in _SIZES:
        msg = f"{text!r} is not a size; write it like 500MB or 50GiB"
        raise ValueError(msg)
    return int(float(match[1]) * _SIZES[match[2]])


def parse_span(text: str) -> float:
    """Read a span of time in seconds: a number and ``ms s m h d w``, or seconds without a unit.

    Raises `ValueError` with a sentence that shows the accepted forms.
    """
    match = _NUMBER.match(text)
    if match is None or match[2] not in _SPANS:
        msg = f"{text!r} is not a span of time; write it like 60s, 12h or 7d"
        raise ValueError(msg)
    return float(match[1]) * _SPANS[match[2]]


def format_size(size: float) -> str:
    """Write *size* bytes for people, in units of 1024 with at most one decimal."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def format_span(seconds: float) -> str:
    """Write a span of *seconds* for people and for the settings file, in its largest whole unit."""
    for unit in ("w", "d", "h", "m"):
        if seconds >= _SPANS[unit] and seconds % _SPANS[unit] == 0:
            return f"{seconds / _SPANS[unit]:.0f}{unit}"
    return f"{seconds:g}s"
