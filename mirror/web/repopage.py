"""The page of one repo: its revisions and, folder by folder, which of its files are here."""

import shlex
from collections.abc import Sequence
from html import escape
from typing import Final
from urllib.parse import quote

from mirror.cache.shelf import Leaf, Member
from mirror.names import Repo
from mirror.units import format_size
from mirror.web.frame import count, framed, moment, repo_address

# How the Hub's clients write what a repo's own name begins with.
_PREFIXES: Final = {"models": "", "datasets": "datasets/", "spaces": "spaces/"}


def render(leaf: Leaf, base_url: str) -> bytes:
    """Render a page of a public repo, for a client that reaches the mirror at *base_url*."""
    repo = leaf.row.repo
    shown = repo.name.partition("/")[2] or repo.name
    header = (
        '<p class="crumbs"><a href="/">modelmirror</a> <span aria-hidden="true">/</span></p>'
        f'<h1 class="long">{escape(shown)}</h1>'
    )
    main = (
        f'<section aria-labelledby="about"><h2 id="about">This repo</h2>{_about(leaf)}</section>\n'
        f'<section aria-labelledby="files"><h2 id="files">Files</h2>{_crumbs(leaf)}{_files(leaf)}</section>\n'
        f"{_use(leaf, base_url)}"
    )
    return framed(f"{shown} - modelmirror", header, main)


def _use(leaf: Leaf, base_url: str) -> str:
    """How the Hub's own command fetches this revision from here."""
    kind, _, name = leaf.row.repo.name.partition("/")
    if leaf.row.repo.hub != "huggingface" or kind not in _PREFIXES:
        return ""
    words = ["hf", "download", name]
    words += [] if kind == "models" else ["--repo-type", kind.removesuffix("s")]
    words += ["--revision", leaf.revision] if leaf.revision not in {"", "main"} else []
    lines = f"export HF_ENDPOINT={base_url}\n{shlex.join(words)}"
    return (
        '<section aria-labelledby="use"><h2 id="use">Use it</h2>'
        f"<pre><code>{escape(lines)}</code></pre></section>"
    )


def _about(leaf: Leaf) -> str:
    row = leaf.row
    figures = [
        ("Stored", format_size(row.bytes_stored)),
        ("Distinct files here", f"{row.files_stored:,} of {row.files:,} known"),
        ("Revisions", count(row.commits, "commit")),
        ("Last seen upstream", moment(row.seen_at)),
    ]
    shown = "".join(f"<div><dt>{word}</dt><dd>{value}</dd></div>" for word, value in figures)
    return f'<dl class="figures small">{shown}</dl>{_revisions(leaf)}'


def _revisions(leaf: Leaf) -> str:
    if not leaf.commit:
        return '<p class="none">No commit of it is known yet.</p>'
    repo, named = leaf.row.repo, ""
    for ref in leaf.refs:
        current = ' aria-current="page"' if ref.revision == leaf.revision else ""
        link = repo_address(repo.hub, repo.name, revision=ref.revision)
        named += (
            f'<li><a href="{link}"{current}>{escape(ref.revision)}</a> '
            f"<code>{ref.commit[:12]}</code> {moment(ref.seen_at)}</li>"
        )
    return f'<h3>Revisions</h3><ul class="plain revisions">{named}</ul>'


def _crumbs(leaf: Leaf) -> str:
    """Where the page is: revision, and each folder on the way."""
    if not leaf.commit:
        return ""
    repo, revision = leaf.row.repo, leaf.revision
    top = repo_address(repo.hub, repo.name, revision=revision)
    words, links = leaf.folder.split("/") if leaf.folder else [], []
    for place, word in enumerate(words, start=1):
        folder = "/".join(words[:place])
        link = repo_address(repo.hub, repo.name, revision=revision, folder=folder)
        links.append(f'<a href="{link}#files">{escape(word)}</a>')
    path = " / ".join([f'<a href="{top}#files">{escape(revision[:40])}</a>', *links])
    return f'<nav class="crumbs" aria-label="Folders">{path}</nav>'


def _files(leaf: Leaf) -> str:
    if not leaf.members:
        return '<p class="none">No file is known here.</p>'
    lines = "".join(_line(leaf, member) for member in leaf.members)
    notes = ""
    if not leaf.whole:
        notes = '<p class="none">Only the files that were asked for are known of this commit.</p>'
    if leaf.more:
        link = repo_address(
            leaf.row.repo.hub,
            leaf.row.repo.name,
            revision=leaf.revision,
            folder=leaf.folder,
            after=leaf.members[-1].entry.path,
        )
        notes += f'<p class="links"><a rel="next" href="{link}#files">More files</a></p>'
    return (
        '<div class="table"><table><thead><tr><th scope=col>File</th><th scope=col>Here</th>'
        "<th scope=col class=n>Size</th></tr></thead>"
        f"<tbody>{lines}</tbody></table></div>{notes}"
    )


def _line(leaf: Leaf, member: Member) -> str:
    entry, repo = member.entry, leaf.row.repo
    name = entry.path.rpartition("/")[2]
    if entry.kind == "directory":
        link = repo_address(repo.hub, repo.name, revision=leaf.revision, folder=entry.path)
        shown = f'<a href="{link}#files">{escape(name)}/</a>'
        return f"<tr><th scope=row>{shown}</th><td></td><td></td></tr>"
    shown = escape(name)
    if member.stored:
        shown = f'<a href="{_download(repo, leaf.commit, entry.path)}">{shown}</a>'
    here = (
        '<span class="good">stored</span>' if member.stored else '<span class="soft">not yet</span>'
    )
    return f"<tr><th scope=row>{shown}</th><td>{here}</td><td class=n>{format_size(entry.size)}</td></tr>"


def _download(repo: Repo, commit: str, path: str) -> str:
    kind, _, name = repo.name.partition("/")
    words: Sequence[str] = [*name.split("/"), "resolve", commit, *path.split("/")]
    return escape(f"/{_PREFIXES.get(kind, '')}{'/'.join(quote(word, safe='') for word in words)}")
