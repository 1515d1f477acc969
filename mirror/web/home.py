"""The home page: what the mirror is doing, what it holds, and how to point clients at it.

Server-rendered, so that it works in a text browser and with scripts off; ``static/home.js`` only keeps
the numbers fresh.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Final

from mirror.index.protocol import RepoRow, Totals
from mirror.names import Repo
from mirror.units import format_size
from mirror.web.clientlines import client_lines, reaches_itself
from mirror.web.frame import (
    address,
    count,
    framed,
    lasting,
    mapping,
    number,
    repo_address,
    rows,
    text,
    texts,
)
from mirror.web.plot import Traffic, percent, plot

_STATES: Final = {
    "online": "Online",
    "offline": "Offline: serving what is stored",
    "degraded": "Degraded",
}
# What is said of each kind of the Hub's repos, one and many.
_KINDS: Final = {
    "models": ("model", "models"),
    "datasets": ("dataset", "datasets"),
    "spaces": ("space", "spaces"),
}
_HUBS: Final = {
    "huggingface": "Hugging Face Hub",
    "whisper": "Whisper",
    "torch": "PyTorch",
    "github": "GitHub",
    "tfhub": "TensorFlow Hub",
    "kaggle": "Kaggle",
    "spacy": "spaCy",
    "ollama": "Ollama",
    "nltk": "NLTK",
    "keras": "Keras",
    "tiktoken": "tiktoken",
    "vision_transformers": "timm, from Google",
    "beit": "timm, from Microsoft",
    "fbaipublicfiles": "Facebook AI",
}


@dataclass(frozen=True, slots=True)
class Stored:
    """What the page shows of the shelf: *repos* that were found for *search* from behind *after*.

    *more* tells whether the list goes on; *elsewhere* are the files of other hosts, by hub.
    """

    repos: Sequence[RepoRow] = ()
    more: bool = False
    search: str = ""
    after: Repo | None = None
    elsewhere: Mapping[str, Totals] = field(default_factory=dict)


def render(report: Mapping[str, object], stored: Stored, base_url: str, now: float) -> bytes:
    """Render the page from the keeper's report, for a client that reaches the mirror at *base_url*.

    *now* is the wall time.
    """
    state = text(report.get("state"))
    header = (
        f'<h1>modelmirror</h1>\n<p class="state" id="state" data-state="{escape(state)}" role="status">'
        f"{escape(_STATES.get(state, state))}</p>\n"
        f'<p class="about">version {escape(text(report.get("version")))}, up <span id="uptime">'
        f"{lasting(number(report.get('uptime')))}</span></p>\n"
        f'<ul class="reasons" id="reasons">{_reasons(report)}</ul>'
    )
    sections = [
        ("overview", "Overview", _figures(report) + _room(mapping(report.get("store")))),
        ("fetching", "Being fetched", _fills(report)),
        ("traffic", "Saved over time", _traffic(mapping(report.get("traffic")), now)),
        ("stored", "Stored", _search(stored) + _repos(stored) + _elsewhere(stored)),
        ("upstream", "Upstream", _upstreams(report)),
        ("use", "Use it", _clients(base_url)),
    ]
    if not (number(mapping(report.get("store")).get("bytes")) or rows(report.get("fills"))):
        sections.insert(1, sections.pop())  # Nothing is here yet: that is what there is to do.
    links = "".join(f'<a href="#{name}">{title}</a>' for name, title, _ in sections[1:])
    header += f'\n<nav class="jump" aria-label="Sections">{links}</nav>'
    main = "\n".join(
        f'<section aria-labelledby="{name}"><h2 id="{name}">{title}</h2>\n{body}\n</section>'
        for name, title, body in sections
    )
    return framed("modelmirror", header, main, live=True)


def _reasons(report: Mapping[str, object]) -> str:
    return "".join(f"<li>{escape(reason)}</li>" for reason in texts(report.get("reasons")))


# ── figures ────────────────────────────────────────────────────────────────────────────────────


def _figures(report: Mapping[str, object]) -> str:
    store, traffic = mapping(report.get("store")), mapping(report.get("traffic"))
    figures = [
        ("Stored", "bytes", format_size(number(store.get("bytes")))),
        # The empty file is always there: nobody has to be asked for it.
        (
            "Files",
            "blobs",
            f"{number(store.get('blobs')) if number(store.get('bytes')) else 0:,.0f}",
        ),
    ]
    kinds = mapping(mapping(report.get("cached")).get("huggingface"))
    figures += [
        (words[1].capitalize(), f"count-{kind}", f"{number(kinds.get(kind)):,.0f}")
        for kind, words in _KINDS.items()
        if kind == "models" or kinds.get(kind)
    ]
    whole = _total(traffic)
    if whole.ratio is not None:
        figures += [
            ("Saved so far", "saved", format_size(whole.saved)),
            ("Hits", "ratio", percent(whole.ratio)),
        ]
    shown = "".join(
        f'<div><dt>{word}</dt><dd id="{name}">{value}</dd></div>' for word, name, value in figures
    )
    return f'<dl class="figures">{shown}</dl>'


def _total(traffic: Mapping[str, object]) -> Traffic:
    since, *rest = (
        number(traffic.get(name)) for name in ("since", "served", "fetched", "requests", "hits")
    )
    return Traffic(since, *(int(value) for value in rest))


def _room(store: Mapping[str, object]) -> str:
    """How much of the quota, or of the disk, is taken."""
    held, quota, free = (number(store.get(name)) for name in ("bytes", "quota", "free"))
    whole = quota or held + free
    if not whole:
        return ""
    what = "quota" if quota else "what the disk has for it"
    left = format_size(free) if free else "nothing"
    return (
        f'<p class="room"><meter id="meter" min="0" max="{whole:.0f}" low="{whole * 0.8:.0f}" '
        f'high="{whole * 0.95:.0f}" optimum="0" value="{held:.0f}" aria-labelledby="room"></meter> '
        f'<span id="room">{format_size(held)} of {format_size(whole)} ({what}), '
        f"room for {left} more</span></p>"
    )


def _traffic(traffic: Mapping[str, object], now: float) -> str:
    if not traffic:
        return '<p class="none">Nothing is counted.</p>'
    hours = []
    for row in _hours(traffic.get("hours")):
        start, *rest = (number(value) for value in row)
        hours.append(Traffic(start, *(int(value) for value in rest)))
    whole = _total(traffic)
    if whole.ratio is None:
        return plot([], now)
    said = (
        f"<p>Since the mirror began: {format_size(whole.served)} sent to clients, "
        f"{format_size(whole.fetched)} fetched from upstream, {format_size(whole.saved)} saved; "
        f"{whole.hits:,} of {count(whole.requests, 'request')} answered from the store.</p>"
    )
    return said + plot(hours, now)


def _hours(value: object) -> list[Sequence[object]]:
    items = value if isinstance(value, list | tuple) else ()
    return [item for item in items if isinstance(item, list | tuple) and len(item) == 5]


# ── fills ──────────────────────────────────────────────────────────────────────────────────────


def _fills(report: Mapping[str, object]) -> str:
    running = rows(report.get("fills"))
    lines = "".join(_fill(row) for row in running) or '<li class="none">Nothing at the moment.</li>'
    more = int(number(report.get("filling"))) - len(running)
    rest = f"and {more:,} more" if more > 0 else ""
    return (
        f'<ul class="fills" id="fills" aria-live="off">{lines}</ul>'
        f'<p class="none" id="more-fills">{rest}</p>'
    )


def _fill(row: Mapping[str, object]) -> str:
    size, received, rate = (number(row.get(name)) for name in ("size", "received", "rate"))
    name = _shown(text(row.get("repo"))) or "a private repo"
    if file := text(row.get("file")):
        name = f"{name}: {file}"
    left = f", {lasting_short((size - received) / rate)} left" if rate > 0 and size else ""
    share = f" ({percent(min(1.0, received / size))})" if size else ""
    note = (
        f"{format_size(received)} of {format_size(size)}{share}, {format_size(rate)}/s{left}, "
        f"{count(number(row.get('readers')), 'reader')}"
    )
    return (
        f"<li><span class=name>{escape(name)}</span>"
        f'<progress max="{max(size, 1):.0f}" value="{received:.0f}" aria-label="{escape(name)}"></progress>'
        f"<span class=note>{note}</span></li>"
    )


def lasting_short(seconds: float) -> str:
    """A span of time that may be short, in its largest unit."""
    return f"{max(1, round(seconds))} s" if seconds < 120 else lasting(seconds)


# ── what is stored ─────────────────────────────────────────────────────────────────────────────


def _search(stored: Stored) -> str:
    return (
        '<form class="search" action="/#stored" method="get" role="search">'
        '<label for="q">Search stored repos</label> '
        f'<input id="q" name="q" type="search" maxlength="200" value="{escape(stored.search)}" '
        'placeholder="org/name" autocomplete="off" spellcheck="false"> '
        "<button>Search</button></form>"
    )


def _repos(stored: Stored) -> str:
    if not stored.repos:
        if stored.search:
            return (
                f'<p class="none">No stored public repo has “{escape(stored.search)}” in its name. '
                f'<a href="/#stored">Show all</a></p>'
            )
        if stored.after is not None:
            return '<p class="none">No more repos. <a href="/#stored">Back to the first</a></p>'
        if stored.elsewhere:
            return '<p class="none">No repo of the Hub yet.</p>'
        return '<p class="none">Nothing yet. The first download through the mirror fills it.</p>'
    lines = "".join(
        f'<tr><th scope=row><a href="{repo_address(row.repo.hub, row.repo.name)}">'
        f"{escape(_shown(row.repo.name))}</a></th><td class=kind>{escape(_kind(row.repo))}</td>"
        f"<td class=n>{_files(row)}</td><td class=n>{format_size(row.bytes_stored)}</td></tr>"
        for row in stored.repos
    )
    links = ""
    if stored.after is not None or stored.search:
        links += f'<a href="/#stored">{"All repos" if stored.search else "Back to the first"}</a>'
    if stored.more:
        last = stored.repos[-1].repo
        further = address(q=stored.search, hub=last.hub, after=last.name)
        links += f'<a rel="next" href="{further}#stored">More repos</a>'
    return (
        '<div class="table"><table><thead><tr><th scope=col>Repo</th><th scope=col class=kind>Kind</th>'
        "<th scope=col class=n>Files</th><th scope=col class=n>Size</th></tr></thead>"
        f'<tbody>{lines}</tbody></table></div><p class="links">{links}</p>'
    )


def _shown(name: str) -> str:
    """The name of a repo as people write it."""
    kind, _, rest = name.partition("/")
    return rest if kind in _KINDS and rest else name


def _kind(repo: Repo) -> str:
    kind = repo.name.partition("/")[0]
    return _KINDS[kind][0] if kind in _KINDS else _HUBS.get(repo.hub, repo.hub)


def _files(row: RepoRow) -> str:
    if row.files_stored < row.files:
        return f"{row.files_stored:,} of {row.files:,}"
    return f"{row.files_stored:,}"


def _elsewhere(stored: Stored) -> str:
    if not stored.elsewhere or stored.search or stored.after is not None:
        return ""
    lines = "".join(
        f"<tr><th scope=row>{escape(_HUBS.get(hub, hub))}</th><td class=n>{held.blobs:,}</td>"
        f"<td class=n>{format_size(held.size)}</td></tr>"
        for hub, held in stored.elsewhere.items()
    )
    return (
        '<h3>Files of other hosts</h3><div class="table"><table><thead><tr><th scope=col>Host</th>'
        "<th scope=col class=n>Files</th><th scope=col class=n>Size</th></tr></thead>"
        f"<tbody>{lines}</tbody></table></div>"
    )


# ── upstream, and clients ──────────────────────────────────────────────────────────────────────


def _upstreams(report: Mapping[str, object]) -> str:
    down = texts(report.get("down"))
    lines = []
    for hub, urls in mapping(report.get("upstreams")).items():
        state = "answers" if hub not in down else "cannot be reached"
        state = (
            "not asked: the mirror is offline by setting" if report.get("offline_mode") else state
        )
        lines.append((_HUBS.get(hub, hub), ", ".join(texts(urls)), state, hub in down))
    known = mapping(report.get("upstreams"))
    lines += [
        (_HUBS.get(hub, hub), "", "cannot be reached", True) for hub in down if hub not in known
    ]
    shown = "".join(
        f"<li><strong>{escape(name)}</strong> {f'<code>{escape(urls)}</code> ' if urls else ''}"
        f'<span class="{"bad" if bad else "good"}">{escape(state)}</span></li>'
        for name, urls, state, bad in lines
    )
    return f'<ul class="plain" id="upstreams">{shown or "<li class=none>None.</li>"}</ul>'


def _clients(base_url: str) -> str:
    blocks = "".join(
        f"<h3>{escape(lines.who)}</h3>"
        + (f'<p class="note">{escape(lines.note)}</p>' if lines.note else "")
        + f"<pre><code>{escape(lines.text)}</code></pre>"
        for lines in client_lines(base_url)
    )
    hook = '<p>Clients that have no setting are led here by the <a href="/-/hook/">start-up hook</a>.</p>'
    if reaches_itself(base_url):
        hook += (
            '<p class="none">This address means the machine itself: containers and other machines '
            "need one that reaches it from there.</p>"
        )
    return hook + blocks
