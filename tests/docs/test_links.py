"""Links in the documents lead somewhere, and the finder of dead ones finds them."""

from pathlib import Path

import pytest

from tests.house.links import anchors, dead_links

PAGE = """\
# The mirror

[a file](other.md) [a heading](other.md#two-words-1) [a place](#the-mirror) [web](https://example.org/x)
`[code](nowhere.md)`

~~~
[an example](nowhere.md)
~~~
"""
OTHER = "# Two words\n\n## Two *words*\n"


def test_links_of_the_documents_lead_somewhere() -> None:
    """No page of the checkout links to a file or a heading that is not there."""
    assert [str(link) for link in dead_links()] == []


def test_links_that_live_are_left_alone(tmp_path: Path) -> None:
    """Files, headings, places on the page, the web, and examples in code are no dead links."""
    (tmp_path / "page.md").write_text(PAGE)
    (tmp_path / "other.md").write_text(OTHER)

    assert dead_links(tmp_path) == []


@pytest.mark.parametrize(
    ("link", "why"),
    [
        ("[x](gone.md)", "no such file"),
        ("![x](gone.png)", "no such file"),
        ("[x](other.md#three)", "no such heading"),
        ("[x](#gone)", "no such heading"),
        ("[x](/other.md)", "a link is relative to its page"),
        ("[x](../other.md)", "leads out of the checkout"),
        ("[x]: gone.md", "no such file"),
    ],
)
def test_links_that_are_dead_are_found(link: str, why: str, tmp_path: Path) -> None:
    """Each kind of dead link is reported once, with its line and its reason."""
    (tmp_path / "page.md").write_text(f"# Page\n\n{link}\n")
    (tmp_path / "other.md").write_text(OTHER)

    assert [(dead.line, dead.why) for dead in dead_links(tmp_path)] == [(3, why)]


def test_anchors_are_named_as_the_web_names_them() -> None:
    """Punctuation goes, spaces become hyphens, and a name that comes again is numbered."""
    text = """\
# `make check`: what, why?
## A [link](x.md)
## A link
<a id="here"></a>
```
# no heading
```
"""

    assert anchors(text) == {"make-check-what-why", "a-link", "a-link-1", "here"}
