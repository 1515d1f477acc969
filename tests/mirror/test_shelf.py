"""The home page and the pages of repos, as a running mirror shows them: what is stored, public names only."""

import os
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest

from mirror.cache.shelf import MAX_REPOS, MAX_ROWS
from tests.hosts import Hosts
from tests.mirror.running import Running
from tests.origin import Origin

PYTORCH = "download.pytorch.org"
PAGE = "/-/repo/huggingface/models"


@pytest.fixture
def mirror(hosts: Hosts, origin: Origin, tmp_path: Path) -> Iterator[Running]:
    """A mirror that asks origin and hosts."""
    settings = {"MODELMIRROR_UPSTREAM_HOSTS": hosts.setting(PYTORCH)}
    with Running(tmp_path / "data", origin, settings=settings) as mirror:
        yield mirror


def _fetch(mirror: Running, name: str, *files: str, revision: str = "main") -> None:
    for file in files:
        assert mirror.ask(f"/{name}/resolve/{revision}/{file}").status == 200


def _shown(mirror: Running, path: str) -> str:
    got = mirror.ask(path)
    assert got.status == 200, (path, got.body)
    assert got.headers["content-type"] == "text/html; charset=utf-8"
    assert got.headers["content-security-policy"].startswith("default-src 'none'")
    return got.body.decode()


def _links(page: str, words: str) -> list[str]:
    """Where the links lead that say *words*."""
    return [
        unescape(link).partition("#")[0]
        for link, said in re.findall(r'<a [^>]*?href="([^"]*)"[^>]*>(.*?)</a>', page)
        if unescape(said) == words
    ]


def test_home_lists_and_finds_what_is_stored(mirror: Running, origin: Origin) -> None:
    """Page by page by name, and by a part of the name in either case; each name leads to its page."""
    names = [f"acme/tiny-{number:03}" for number in range(MAX_REPOS + 3)]
    for name in names:
        origin.add_repo("models", name, files={"c.json": name.encode()})
        _fetch(mirror, name, "c.json")
    origin.add_repo("datasets", "other/Words", files={"c.json": b"{}"})
    _fetch(mirror, "datasets/other/Words", "c.json")
    origin.add_repo("models", "acme/listed-only", files={"c.json": b"never"})
    assert mirror.ask("/api/models/acme/listed-only").status == 200
    mirror.settle()

    first = _shown(mirror, "/")
    assert _links(first, "other/Words") == ["/-/repo/huggingface/datasets/other/Words"]
    assert [name for name in names if _links(first, name)] == names[: MAX_REPOS - 1]
    assert "listed-only" not in first
    (further,) = _links(first, "More repos")
    second = _shown(mirror, further)
    assert [name for name in names if _links(second, name)] == names[MAX_REPOS - 1 :]
    assert _links(second, "More repos") == []
    assert _links(second, "Back to the first") == ["/"]
    found = _shown(mirror, "/?q=WORDS")
    assert _links(found, "other/Words")
    assert not _links(found, names[0])
    assert 'value="WORDS"' in found
    pages = _shown(mirror, "/?q=tiny")
    (further,) = _links(pages, "More repos")
    assert "q=tiny" in further
    assert [name for name in names if _links(_shown(mirror, further), name)] == names[MAX_REPOS:]
    assert "No stored public repo" in _shown(mirror, "/?q=nowhere")
    assert "&lt;script&gt;" in _shown(mirror, "/?q=%3Cscript%3E")
    assert mirror.ask("/?q=%ff%fe&after=%00&hub=%00").status == 200


def test_repo_page_shows_which_files_are_here(mirror: Running, origin: Origin) -> None:
    """Folder by folder, each revision; a file that is here can be fetched by its link."""
    files = {
        "README.md": b"# tiny",
        "model.bin": os.urandom(5000),
        "on nx/deep/m#1.onnx": os.urandom(3000),
        "on nx/other.onnx": os.urandom(3000),
    }
    repo = origin.add_repo("models", "acme/tiny", files=files)
    _fetch(mirror, "acme/tiny", "model.bin", "on%20nx/deep/m%231.onnx")
    mirror.settle()

    page = _shown(mirror, f"{PAGE}/acme/tiny")
    assert "2 of 4 known" in page
    (link,) = _links(page, "model.bin")
    assert mirror.ask(link).body == files["model.bin"]
    assert _links(page, "README.md") == []
    assert "README.md" in page
    (folder,) = _links(page, "on nx/")
    inside = _shown(mirror, folder)
    assert "other.onnx" in inside
    assert "model.bin" not in inside
    (deep,) = _links(inside, "deep/")
    deepest = _shown(mirror, deep)
    (link,) = _links(deepest, "m#1.onnx")
    assert mirror.ask(link).body == files["on nx/deep/m#1.onnx"]
    assert _links(deepest, "on nx") == [folder]

    repo.push({"new.bin": b"new"}, revision="next")
    _fetch(mirror, "acme/tiny", "new.bin", revision="next")
    mirror.settle()
    page = _shown(mirror, f"{PAGE}/acme/tiny")
    assert "new.bin" not in page
    (other,) = _links(page, "next")
    assert _links(_shown(mirror, other), "new.bin")
    by_commit = _shown(mirror, f"{PAGE}/acme/tiny?revision={repo.refs['refs/heads/next']}")
    assert _links(by_commit, "new.bin")


def test_repo_page_of_a_large_folder_is_bounded(mirror: Running, origin: Origin) -> None:
    """However many files a folder has, a page holds so many and leads on to the next."""
    names = [f"part-{number:04}.bin" for number in range(2 * MAX_ROWS + 5)]
    origin.add_repo("datasets", "acme/many", files={f"data/{name}": b"x" for name in names})
    _fetch(mirror, "datasets/acme/many", f"data/{names[0]}")
    mirror.settle()
    at, seen = "/-/repo/huggingface/datasets/acme/many?folder=data", []
    while at:
        page = _shown(mirror, at)
        here = re.findall(r"part-\d{4}\.bin(?=<)", page)
        assert len(here) <= MAX_ROWS
        seen += here
        at = next(iter(_links(page, "More files")), "")
    assert seen == names


def test_pages_of_repos_that_are_not_public_do_not_exist(mirror: Running, origin: Origin) -> None:
    """Private, gated, unknown and malformed names get the same 404, and no list has them."""
    alice = ("tokenA",)
    for name, closed in (("acme/private", {"private": True}), ("acme/gated", {"gated": "auto"})):
        origin.add_repo("models", name, files={"c.json": b"{}"}, readers=alice, **closed)
        assert mirror.ask(f"/{name}/resolve/main/c.json", token="tokenA").status == 200
    mirror.settle()
    never = mirror.ask(f"{PAGE}/acme/never")
    assert never.status == 404
    for path in (
        f"{PAGE}/acme/private", f"{PAGE}/acme/gated", f"{PAGE}/acme/private?revision=main",
        "/-/repo/", "/-/repo/x", "/-/repo/huggingface/", f"{PAGE}/{'a' * 240}/{'b/' * 600}",
        f"{PAGE}/%3Cscript%3E", f"{PAGE}/acme/private?folder=%00&after=%ff",
    ):  # fmt: skip
        got = mirror.ask(path, token="tokenA")
        assert (got.status, got.body) == (404, never.body), path
    for path in ("/", "/?q=acme", "/-/status"):
        shown = mirror.ask(path, token="tokenA").body
        assert b"acme/private" not in shown
        assert b"acme/gated" not in shown
    refused = mirror.ask(f"{PAGE}/acme/never", method="POST", body=b"")
    assert refused.status == 405


def test_pages_drop_a_repo_that_turned_private(mirror: Running, origin: Origin) -> None:
    """Once upstream has said so to anybody its page is gone, with all of its files."""
    repo = origin.add_repo("models", "acme/turned", files={"c.json": b"{}"}, readers=("tokenA",))
    _fetch(mirror, "acme/turned", "c.json")
    mirror.settle()
    assert _links(_shown(mirror, "/"), "acme/turned")
    assert _links(_shown(mirror, f"{PAGE}/acme/turned"), "c.json")
    origin.set_access(repo, private=True)
    mirror.stop()
    mirror.settings = {**mirror.settings, "MODELMIRROR_HUGGINGFACE_REF_LIFETIME": "0s"}
    mirror.start()
    assert mirror.ask("/acme/turned/resolve/main/c.json", token="tokenA").status == 200
    assert "acme/turned" not in _shown(mirror, "/")
    assert mirror.ask(f"{PAGE}/acme/turned").status == 404


def test_home_counts_files_of_other_hosts(mirror: Running, hosts: Hosts) -> None:
    """What is stored of hosts beside the Hub is told by host: how many files, how many bytes."""
    assert "Files of other hosts" not in _shown(mirror, "/")
    for number in range(3):
        hosts.put(PYTORCH, f"/models/net-v{number}.pth", os.urandom(100 << 10))
        assert mirror.ask(f"/-/torch/models/net-v{number}.pth").status == 200
    mirror.settle()
    page = _shown(mirror, "/")
    assert "<th scope=row>PyTorch</th><td class=n>3</td><td class=n>300 KiB</td>" in page
    mirror.stop()
    mirror.start()
    assert "<td class=n>3</td><td class=n>300 KiB</td>" in _shown(mirror, "/")


def test_home_tells_what_was_saved(mirror: Running, origin: Origin) -> None:
    """A second download costs upstream nothing: half of the bytes are saved, and the plot is drawn."""
    origin.add_repo("models", "acme/tiny", files={"m.bin": os.urandom(400 << 10)})
    assert "Nothing has been served yet" in _shown(mirror, "/")
    for _ in range(2):
        _fetch(mirror, "acme/tiny", "m.bin")
        mirror.settle()
    page = _shown(mirror, "/")
    assert "800 KiB sent to clients, 400 KiB fetched from upstream, 400 KiB saved" in page
    assert "1 of 2 requests answered from the store" in page
    assert page.count("<svg") == 2
    assert "hours" not in mirror.ask("/-/status").json()["traffic"]
