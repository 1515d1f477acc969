"""What our own pages share: their frame, and how they write numbers, times and addresses.

Every value is escaped on its way in: names of repos and files are upstream's words, the base URL is the
client's. There is no inline style or script, so the pages' policy can forbid both.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from html import escape
from typing import Final
from urllib.parse import quote

_FRAME: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="stylesheet" href="/-/static/home.css">
{script}</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
<header>
{header}
</header>
<main id="main">
{main}
</main>
<footer><nav aria-label="Pages of the mirror"><a href="/">home</a> <a href="/-/status">status</a>
<a href="/-/metrics">metrics</a> <a href="/-/hook/">start-up hook</a></nav></footer>
</body>
</html>
"""
_SCRIPT: Final = '<script src="/-/static/home.js" defer></script>\n'


def framed(title: str, header: str, main: str, *, live: bool = False) -> bytes:
    """A whole page; *header* and *main* are HTML, *title* is text, *live* loads the script."""
    script = _SCRIPT if live else ""
    page = _FRAME.format(title=escape(title), header=header, main=main, script=script)
    return page.encode("utf-8", "replace")


def address(*words: str, **query: str) -> str:
    """The address below the root that *words* lead to, with what of *query* is not empty, as HTML."""
    path = "/".join(quote(word, safe="") for word in words)
    asked = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items() if value)
    return escape(f"/{path}?{asked}" if asked else f"/{path}")


def repo_address(hub: str, name: str, **query: str) -> str:
    """The address of the page of a repo, as HTML."""
    return address("-", "repo", hub, *name.split("/"), **query)


def count(number: float, one: str, many: str = "") -> str:
    """*number* with its noun."""
    return f"{number:,.0f} {one if number == 1 else many or f'{one}s'}"


def moment(seconds: float) -> str:
    """A wall time as HTML."""
    try:
        at = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return ""
    return f'<time datetime="{at:%Y-%m-%dT%H:%M:%SZ}">{at:%Y-%m-%d %H:%M} UTC</time>'


def lasting(seconds: float) -> str:
    """A span of time in its two largest units."""
    minutes = int(seconds) // 60
    days, hours = minutes // 1440, minutes // 60 % 24
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"


# ── reading a report, which another version may have written ───────────────────────────────────


def rows(value: object) -> list[Mapping[str, object]]:
    """The mappings in a list."""
    items: Iterable[object] = value if isinstance(value, list | tuple) else ()
    return [item for item in items if isinstance(item, Mapping)]


def texts(value: object) -> list[str]:
    """The strings in a list."""
    items: Iterable[object] = value if isinstance(value, list | tuple) else ()
    return [item for item in items if isinstance(item, str)]


def mapping(value: object) -> Mapping[str, object]:
    """A mapping, an empty one for anything else."""
    return value if isinstance(value, Mapping) else {}


def text(value: object) -> str:
    """A string, "" for nothing."""
    return value if isinstance(value, str) else "" if value is None else str(value)


def number(value: object) -> float:
    """A number, 0 for anything else."""
    return float(value) if isinstance(value, int | float) else 0.0
