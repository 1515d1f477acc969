"""Names of the Hub: decoded once, and never more than names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.errors import MalformedQuestionError
from mirror.hubs.huggingface.answers import content_type_of, disposition, header_text
from mirror.hubs.huggingface.grammar import (
    checked_path,
    checked_revision,
    clean_target,
    quoted_path,
    repo_of,
    segments,
)

PARTS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=20
)


@given(st.lists(PARTS.filter(lambda part: part not in (".", "..")), min_size=1, max_size=5))
def test_path_is_read_back_from_its_url(parts: list[str]) -> None:
    """Whatever a file is called, its URL means that file."""
    path = "/".join(parts)
    assert "/".join(segments("/" + quoted_path(path))) == path
    assert checked_path(path) == path


@given(st.text(max_size=60))
def test_path_that_climbs_is_refused(text: str) -> None:
    """A path that passes has no empty part and no dots to climb with."""
    try:
        path = checked_path(text)
    except MalformedQuestionError:
        return
    assert not {"", ".", ".."} & set(path.split("/"))


@pytest.mark.parametrize("name", ["", ".", "..", "-x", ".x", "a..b", "a/b", "é", "a b", "x" * 97])
def test_repo_id_is_what_the_hub_gives_out(name: str) -> None:
    """Anything else is no repo, and is said not to be."""
    with pytest.raises(MalformedQuestionError):
        repo_of("models", ["acme", name])


@pytest.mark.parametrize(
    "revision", ["", "a b", "a..b", "/a", "a/", "a//b", "a\\b", "a\x7f", "r" * 256]
)
def test_revision_that_git_cannot_name_is_refused(revision: str) -> None:
    """It would only be asked of upstream for nothing."""
    with pytest.raises(MalformedQuestionError):
        checked_revision(revision)


def test_target_sent_on_is_printable() -> None:
    """What a client typed raw is encoded; what it encoded stays."""
    assert clean_target("/api/a%20b", "q=é x") == "/api/a%20b?q=%C3%A9%20x"
    with pytest.raises(MalformedQuestionError):
        clean_target("/api/%2e%2E/x", "")


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("a/config.json", "application/json"),
        ("a.HTML", "text/plain; charset=utf-8"),
        ("a.svg", "text/plain; charset=utf-8"),
        ("a.png", "image/png"),
        ("model.safetensors", "application/octet-stream"),
        ("json", "application/octet-stream"),
        (".gitattributes", "text/plain; charset=utf-8"),
    ],
)
def test_content_type_is_never_a_page(path: str, kind: str) -> None:
    """Suffixes that browsers would run are plain text."""
    assert content_type_of(path) == kind


@given(st.text())
def test_headers_hold_one_line(text: str) -> None:
    """No name and no sentence can end its header."""
    for value in (header_text(text), disposition(f"a/{text.encode('utf-8', 'replace').decode()}")):
        assert value.isascii()
        assert not value or value.isprintable()
    assert disposition(f"a/{text.encode('utf-8', 'replace').decode()}").endswith('";')
