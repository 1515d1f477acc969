"""URLs in and out: nothing leads anywhere but to the mirror."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.hubs.huggingface.links import (
    cursor_after,
    local_target,
    next_target,
    read_cursor,
    rebased,
    without_xet,
)

BASE = "http://origin.test:80"


@pytest.mark.parametrize(
    ("url", "target"),
    [
        (f"{BASE}/api/x?a=b", "/api/x?a=b"),
        ("https://huggingface.co/api/x", "/api/x"),
        ("/api/x", "/api/x"),
        ("http://origin.test:8090/api/x", "/api/x"),
        ("http:///x//y", "/x//y"),
        ("//evil.test/x", "/x"),
        ("http://evil.test//x", None),
        ("http://evil.test", None),
        ("api/x", None),
        (f"{BASE}/a/../b", None),
        (f"{BASE}/a/%2E%2e/b", None),
        (f"{BASE}/a b", None),
        (f"{BASE}/a\u00e9", None),
        ("http://[x/y", None),
        ("", None),
    ],
)
def test_link_keeps_path_and_query_alone(url: str, target: str | None) -> None:
    """No host survives, nor a path that climbs or breaks a request line."""
    assert local_target(url, BASE) == target


def test_link_base_with_a_path_is_taken_off() -> None:
    """An upstream may live below a path of its host."""
    assert local_target("https://site.test/hf/api/x", "https://site.test/hf") == "/api/x"


@pytest.mark.parametrize(
    ("header", "target"),
    [
        (f'<{BASE}/a>; rel="next"', "/a"),
        (f"<{BASE}/a>;rel=next", "/a"),
        (f'<{BASE}/p>; rel="prev", <{BASE}/a,b>; title="x, y"; rel="next"', "/a,b"),
        (f'<{BASE}/p>; rel="nextish"', None),
        (f"<{BASE}/p>; rel=nextish", None),
        (f'<{BASE}/p>; rel="prev"', None),
        ("", None),
        ("<", None),
        ("<" * 5000 + ";" * 5000, None),
    ],
)
def test_link_header_leads_to_the_next_page(header: str, target: str | None) -> None:
    """One of several links, in any of the forms of RFC 8288."""
    assert next_target(header, BASE) == target


def test_rebasing_stops_at_the_end_of_the_base() -> None:
    """A longer port or host that begins alike is another host."""
    body = f'["{BASE}/x", "{BASE}90/x", "{BASE}", "{BASE}?q"]'.encode()
    new = "http://m"
    assert json.loads(rebased(body, BASE, new)) == [
        "http://m/x",
        f"{BASE}90/x",
        "http://m",
        "http://m?q",
    ]


def test_stripping_leaves_other_bytes_alone() -> None:
    """Digests of registry manifests stay true: what holds no hash is passed on byte for byte."""
    body = b'{ "a" :1,  "b":"\xc3\xa9" }'
    assert without_xet(body) is body
    nested = b'{"a":[{"xetHash":"x","p":"\xc3\xa9"}],"xetHash":"y"}'
    assert without_xet(nested) == b'{"a":[{"p":"\\u00e9"}]}'
    broken = b'{"xetHash"'
    assert without_xet(broken) is broken


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_cursor_is_read_back(path: str) -> None:
    """Any path survives, in characters that a URL may hold."""
    cursor = cursor_after(path)
    assert read_cursor(cursor) == path
    assert cursor.replace("-", "").replace("_", "").isalnum()


@given(st.text())
def test_cursor_of_others_is_left_to_them(text: str) -> None:
    """What is not ours is never misread, and never breaks."""
    assert read_cursor(text) is None or text.startswith("mm-")
