"""The home page: what the mirror is doing, what it holds, and how to point clients at it.

Server-rendered, so that it works in a text browser and with scripts off; ``static/home.js`` only keeps
the numbers fresh. Every value is escaped on its way in: repo names are upstream's words, and the base
URL is the client's. There is no inline style or script, so the page's policy can forbid both.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Final
from urllib.parse import urlsplit

from mirror.units import format_size

# A page with more rows than this is no overview; the rest is counted.
MAX_REPOS: Final = 200
_UNREACHABLE: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_STATES: Final = {
    "online": "Online",
    "offline": "Offline: serving what is stored",
    "degraded": "Upstream does not answer: serving what is stored",
}

_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>modelmirror</title>
<link rel="stylesheet" href="/-/static/home.css">
<script src="/-/static/home.js" defer></script>
</head>
<body>
<header>
<h1>modelmirror</h1>
<p class="state" id="state" data-state="{state}">{state_text}</p>
<p class="about">version {version}, up <span id="uptime">{uptime}</span></p>
</header>
<main>
<section aria-labelledby="store">
<h2 id="store">Stored</h2>
<dl class="figures">
<div><dt>Held</dt><dd id="bytes">{held}</dd></div>
<div><dt>Blobs</dt><dd id="blobs">{blobs}</dd></div>
<div><dt>{room_word}</dt><dd id="room">{room}</dd></div>
</dl>
{repos}
</section>
<section aria-labelledby="fills-title">
<h2 id="fills-title">Being fetched</h2>
<ul class="fills" id="fills" aria-live="off">{fills}</ul>
</section>
<section aria-labelledby="use">
<h2 id="use">Use it</h2>
<p>Tools built on <code>huggingface_hub</code> need one variable: transformers, datasets, diffusers,
vLLM, the <code>hf</code> command.</p>
{clients}
</section>
</main>
<footer>{upstreams}<nav><a href="/-/status">status</a> <a href="/-/metrics">metrics</a>
<a href="/-/hook/">hook</a></nav></footer>
</body>
</html>
"""


def render(report: Mapping[str, object], base_url: str) -> bytes:
    """Render the page from the keeper's report, for a client that reaches the mirror at *base_url*."""
    store = _mapping(report.get("store"))
    quota = store.get("quota")
    state = _text(report.get("state"))
    page = _PAGE.format(
        state=escape(state),
        state_text=escape(_STATES.get(state, state)),
        version=escape(_text(report.get("version"))),
        uptime=_uptime(_number(report.get("uptime"))),
        held=format_size(_number(store.get("bytes"))),
        blobs=f"{_number(store.get('blobs')):,.0f}",
        room_word="Free on disk" if quota is None else "Quota",
        room=format_size(_number(store.get("free") if quota is None else quota)),
        repos=_repos(_rows(report.get("repos"))),
        fills=_fills(_rows(report.get("fills"))),
        clients=_clients(base_url),
        upstreams=_upstreams(report.get("upstreams")),
    )
    return page.encode("utf-8", "replace")


def _repos(rows: Sequence[Mapping[str, object]]) -> str:
    if not rows:
        return '<p class="none">Nothing yet. The first download through the mirror fills it.</p>'
    lines = "".join(
        f"<tr><th scope=row>{escape(_text(row.get('name')))}</th>"
        f"<td>{escape(_text(row.get('hub')))}</td>"
        f"<td class=n>{_files(row)}</td><td class=n>{format_size(_number(row.get('bytes')))}</td></tr>"
        for row in rows[:MAX_REPOS]
    )
    more = len(rows) - MAX_REPOS
    rest = f'<p class="none">and {more:,} more</p>' if more > 0 else ""
    return (
        '<div class="table"><table><thead><tr><th scope=col>Repo</th>'
        "<th scope=col>Hub</th><th scope=col class=n>Files</th><th scope=col class=n>Size</th></tr>"
        f"</thead><tbody>{lines}</tbody></table></div>{rest}"
    )


def _files(row: Mapping[str, object]) -> str:
    stored, files = _number(row.get("stored")), _number(row.get("files"))
    return f"{stored:,.0f} of {files:,.0f}" if stored < files else f"{stored:,.0f}"


def _fills(rows: Sequence[Mapping[str, object]]) -> str:
    if not rows:
        return '<li class="none">Nothing at the moment.</li>'
    lines = []
    for row in rows:
        size, received = _number(row.get("size")), _number(row.get("received"))
        name = _text(row.get("repo")) or "a private repo"
        readers = _number(row.get("readers"))
        lines.append(
            f"<li><span class=name>{escape(name)}</span>"
            f"<progress max={size:.0f} value={received:.0f}></progress>"
            f"<span class=note>{format_size(received)} of {format_size(size)}, "
            f"{format_size(_number(row.get('rate')))}/s, "
            f"{readers:.0f} {'reader' if readers == 1 else 'readers'}</span></li>"
        )
    return "".join(lines)


def _clients(base_url: str) -> str:
    ways = (
        ("Shell", f"export HF_ENDPOINT={base_url}\nhf download openai-community/gpt2"),
        ("Docker", f"docker run -e HF_ENDPOINT={base_url} IMAGE"),
        (
            "Python, before the first import of a Hugging Face library",
            f'import os\nos.environ["HF_ENDPOINT"] = "{base_url}"',
        ),
    )
    lines = "".join(
        f"<h3>{escape(name)}</h3><pre><code>{escape(text)}</code></pre>" for name, text in ways
    )
    if urlsplit(base_url).hostname in _UNREACHABLE:
        lines += (
            '<p class="none">This address means the machine itself: containers and other machines '
            "need one that reaches it from there.</p>"
        )
    return lines


def _upstreams(value: object) -> str:
    hubs = value.values() if isinstance(value, Mapping) else ()
    urls = [_text(url) for hub in hubs if isinstance(hub, list | tuple) for url in hub]
    return f"<p>Upstream: {escape(', '.join(urls))}</p>" if urls else ""


def _uptime(seconds: float) -> str:
    minutes = int(seconds) // 60
    days, hours = minutes // 1440, minutes // 60 % 24
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"


def _rows(value: object) -> list[Mapping[str, object]]:
    items: Iterable[object] = value if isinstance(value, list | tuple) else ()
    return [item for item in items if isinstance(item, Mapping)]


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
