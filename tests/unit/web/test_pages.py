"""The home page and a repo's page as text: nothing in them is markup from elsewhere, any report will do."""

import re
from html.parser import HTMLParser
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest

from mirror.cache.shelf import Leaf, Member
from mirror.index.protocol import RepoRow, Totals
from mirror.names import Entry, Ref, Repo
from mirror.web import home, repopage
from mirror.web.clientlines import client_lines
from mirror.web.plot import DAY, DAYS, HOUR, HOURS, Traffic, binned, percent, plot
from tests.house.checkout import ROOT

EVIL = "<img src=x onerror=alert(1)>\"'&</code></pre><script>"
NOW = 1_764_313_200.0 - 1_764_313_200 % HOUR + 1800

# Elements that HTML never closes.
_VOID = {"meta", "link", "input", "br", "img"}


class _Nested(HTMLParser):
    """Fails where an element is not closed by its own end, and keeps what matters of the page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.headings: list[str] = []
        self.labels: list[str] = []
        self.scopes: set[str | None] = set()
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        assert "style" not in given
        assert not [name for name in given if name.startswith("on")]
        if "id" in given:
            self.ids.append(given["id"] or "")
        for name in ("for", "aria-labelledby"):
            if name in given:
                self.labels.append(given[name] or "")
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(tag)
        if tag == "th":
            self.scopes.add(given.get("scope"))
        if tag not in _VOID and not self.get_starttag_text().endswith("/>"):  # type: ignore[union-attr]
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in {"rect", "path"}:
            return
        assert self.open.pop() == tag


def _sound(page: str) -> _Nested:
    """A page that is nested well, whose labels lead to what is there, and whose headings leave none out."""
    parsed = _Nested(page)
    assert len(parsed.ids) == len(set(parsed.ids))
    assert set(parsed.labels) <= set(parsed.ids)
    assert parsed.headings.count("h1") == 1
    levels = [int(heading[1]) for heading in parsed.headings]
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert parsed.scopes <= {"row", "col"}
    return parsed


def _row(name: str, *, files: int = 3, stored: int = 2) -> RepoRow:
    return RepoRow(Repo("huggingface", name), 1, files, stored, 9, None, NOW)


def test_home_page_escapes_everything() -> None:
    """Names, states, versions, reasons, searches, upstreams and the base URL cannot become markup."""
    report = {
        "version": EVIL,
        "state": EVIL,
        "reasons": [EVIL],
        "uptime": 93_784.0,
        "upstreams": {EVIL: [EVIL, EVIL]},
        "down": [EVIL],
        "store": {"blobs": 3, "bytes": 5 << 30, "quota": 1 << 40, "free": 0},
        "fills": [
            {"repo": EVIL, "file": EVIL, "size": 10, "received": 5, "readers": 1, "rate": 2.5}
        ],
    }
    repo = Repo(EVIL, EVIL)
    stored = home.Stored((_row(EVIL), _row(f"{EVIL}/{EVIL}")), more=True, search=EVIL, after=repo)
    page = home.render(report, stored, f"http://{EVIL}", NOW).decode()
    _sound(page)
    assert "<img" not in page
    assert page.count("<script") == 1
    assert page.count("&lt;img") >= 9
    assert "1 d 2 h" in page
    assert "2 of 3" in page
    assert "1.0 TiB" in page
    nothing = home.Stored(search=EVIL, elsewhere={EVIL: Totals(1, 1)})
    assert "<img" not in home.render(report, nothing, "http://m.test", NOW).decode()


def test_home_page_stands_any_report() -> None:
    """Private fills have no name, fills and repos beyond the page are told of, a report may have holes."""
    fills = [{"repo": None, "size": 10, "received": 5, "readers": 2, "rate": None}]
    report = {"fills": fills, "filling": 8, "store": {"bytes": 1, "odd": None}}
    stored = home.Stored([_row("models/a/b")], more=True, elsewhere={"whisper": Totals(2, 1 << 20)})
    page = home.render(report, stored, "http://127.0.0.1:8090", NOW).decode()
    _sound(page)
    for said in ("a private repo", "2 readers", "and 7 more", "containers and other machines"):
        assert said in page
    assert "/?hub=huggingface&amp;after=models%2Fa%2Fb#stored" in page
    assert '<a href="/-/repo/huggingface/models/a/b">a/b</a>' in page
    assert "Whisper" in page
    bare = home.render({"store": {"blobs": 1}}, home.Stored(), "http://m.test", NOW).decode()
    assert '<dd id="blobs">0</dd>' in bare
    _sound(bare)
    assert "containers and other machines" not in bare
    assert "Nothing yet" in bare
    assert bare.index("Use it") < bare.index("Being fetched")
    assert page.index("Use it") > page.index("Being fetched")


def test_home_page_tells_of_traffic_and_room() -> None:
    """The counts since the beginning, the share of hits, and how full the quota is."""
    hour = NOW // HOUR * HOUR
    report = {
        "store": {"blobs": 1, "bytes": 96 << 30, "quota": 100 << 30, "free": 4 << 30},
        "traffic": {
            "since": NOW - 9, "served": 10 << 30, "fetched": 1 << 30, "requests": 1000, "hits": 999,
            "hours": [[hour, 10 << 30, 1 << 30, 1000, 999], ["odd"], None],
        },
    }  # fmt: skip
    page = home.render(report, home.Stored(), "http://m.test", NOW).decode()
    _sound(page)
    assert "9.0 GiB saved; 999 of 1,000 requests" in page
    assert '<dd id="ratio">99.9 %</dd>' in page
    assert "96.0 GiB of 100 GiB (quota), room for 4.0 GiB more" in page


@pytest.mark.parametrize("hub", ["huggingface", EVIL])
def test_repo_page_escapes_and_links(hub: str) -> None:
    """Paths, revisions and names are text; each link leads where its words say, percent-encoded."""
    name = f"models/acme/{EVIL}" if hub == EVIL else "models/acme/tiny"
    entries = [
        Member(Entry("on nx/a#?.bin", "file", 5, None, "", None, b""), stored=True),
        Member(Entry("on nx/deep", "directory", 0, None, "", None, b""), stored=False),
        Member(Entry(f"on nx/{EVIL}", "file", 5, None, "", None, b""), stored=False),
    ]
    row = RepoRow(Repo(hub, name), 2, 3, 1, 5, None, NOW)
    refs = [Ref(row.repo, "refs/pr/1", "c" * 40, NOW), Ref(row.repo, EVIL, "d" * 40, 1e30)]
    leaf = Leaf(row, "refs/pr/1", "c" * 40, refs, folder="on nx", members=entries, more=True)
    page = repopage.render(leaf, "http://mirror:8090").decode()
    _sound(page)
    assert "<img" not in page
    assert "<script" not in page
    if hub == "huggingface":
        here = "/-/repo/huggingface/models/acme/tiny?revision=refs%2Fpr%2F1"
        assert f"/acme/tiny/resolve/{'c' * 40}/on%20nx/a%23%3F.bin" in page
        assert f'{here}&amp;folder=on%20nx%2Fdeep#files">deep/' in page
        assert f'{here}&amp;folder=on%20nx#files">on nx' in page
        assert "\nhf download acme/tiny --revision refs/pr/1</code>" in page
        assert f"{here}&amp;folder=on%20nx&amp;after=on%20nx%2F%3Cimg" in page
    _sound(repopage.render(Leaf(row), "http://mirror:8090").decode())


# ── the plot ───────────────────────────────────────────────────────────────────────────────────


def _figures(drawn: str) -> list[ET.Element]:
    return [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", drawn, re.DOTALL)]  # noqa: S314


def test_plot_draws_what_was_counted() -> None:
    """Bars are as high as the bytes they stand for, on one scale, and the line is where the share is."""
    hour = int(NOW // HOUR) * HOUR
    drawn = plot([Traffic(hour - 5 * HOUR, 1000, 250, 4, 3), Traffic(hour, 500, 500, 2, 0)], NOW)
    bars, line = _figures(drawn)
    heights = {
        (name, int(float(rect.get("x", "")) * HOURS / 1000)): round(float(rect.get("height", "")))
        for rect in bars
        if (name := rect.get("class", ""))
    }
    assert heights == {("fetched", 42): 25, ("saved", 42): 75, ("fetched", 47): 50}
    path = next(part.get("d", "") for part in line if part.get("class") == "line")
    assert [float(point.split()[1]) for point in re.findall(r"[ML]([\d. ]+)", path)] == [25, 100]
    assert path.count("M") == 2  # nothing is known of the hours between, so no line leads over them
    assert "1000 B" in drawn
    assert "Of 6 requests in the last 48 hours, 3 were answered" in drawn


def test_plot_goes_over_to_days_and_leaves_nothing_out() -> None:
    """Up to two days are shown by the hour; of more the last thirty days, each with all of its hours."""
    hour = int(NOW // HOUR) * HOUR
    young = [Traffic(hour - place * HOUR, 1, 0, 1, 1) for place in reversed(range(HOURS))]
    bars, step = binned(young, NOW)
    assert (step, len(bars), sum(bar.served for bar in bars)) == (HOUR, HOURS, HOURS)
    old = [Traffic(hour - place * HOUR, 1, 2, 3, 1) for place in reversed(range(60 * 24))]
    bars, step = binned(old, NOW)
    assert (step, len(bars)) == (DAY, DAYS)
    assert {bar.served for bar in bars[:-1]} == {24}
    assert (bars[0].fetched, bars[0].requests, bars[0].hits) == (48, 72, 24)
    assert bars[-1].start <= NOW < bars[-1].start + DAY


def test_plot_stands_a_clock_that_was_wrong() -> None:
    """Hours from the future are left out, and nothing at all is said to be nothing."""
    assert "Nothing has been served yet" in plot([], NOW)
    assert "Nothing has been served yet" in plot([Traffic(NOW + 9 * DAY, 1, 1, 1, 1)], NOW)
    assert "<svg" in plot([Traffic(0.0, 5, 5, 5, 5), Traffic(NOW // HOUR * HOUR, 5, 1, 1, 9)], NOW)


def test_percent_is_never_rounded_up_to_all() -> None:
    """100 % means all of it."""
    shares = (None, 0.0, 0.5, 0.994, 0.99999, 1.0)
    assert [percent(share) for share in shares] == [
        "none", "0 %", "50 %", "99.4 %", "99.9 %", "100 %",
    ]  # fmt: skip


# ── lines to paste ─────────────────────────────────────────────────────────────────────────────


def test_client_lines_are_those_of_the_documents() -> None:
    """What the page offers to paste is written down, word for word, where it is explained."""
    documents = "".join((ROOT / "docs" / name).read_text("utf-8") for name in ("hub.md", "hubs.md"))
    for lines in client_lines("http://mirror:8090"):
        assert f"\n{lines.text}\n" in documents, lines.who


def test_client_lines_fit_the_address() -> None:
    """Plain HTTP needs to be allowed by those that refuse it; behind TLS nothing of the kind is said."""
    plain = "\n".join(lines.text for lines in client_lines("http://mirror:8090"))
    assert "--trusted-host mirror:8090 en_core" in plain
    assert "ollama pull --insecure mirror:8090/library" in plain
    closed = "\n".join(lines.text for lines in client_lines("https://mirror.example"))
    assert "--insecure" not in closed
    assert "--trusted-host" not in closed
    assert "ollama pull mirror.example/library" in closed
    assert "--trusted-host" not in client_lines("http://127.0.0.1:8090")[3].text
