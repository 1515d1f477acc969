"""spaCy's models: packages that lie at GitHub, and indexes of them that pip can read.

``spacy download`` (spaCy 3.8.18, ``cli/download.py``) reads which version fits from one table, and lets pip
install a release asset; neither checks what comes. ``meta/<name>-<version>.json`` in the same repository has
the sha256 of each package. No package index has these models, so the mirror makes one (PEP 503) of the table
and of those files.
"""

import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from mirror.digest import SHA256, Digest, sha256_of
from mirror.errors import (
    MalformedQuestionError,
    MethodRefusedError,
    UpstreamRefusedError,
    UpstreamUnreachableError,
)
from mirror.hubs.base import Facts
from mirror.hubs.hosted import Hosted
from mirror.hubs.places import Aside, Family, Kind, Place, Route, Told
from mirror.messages import Answer, RequestHead, Response
from mirror.names import Document, Fact, Need, Question

_RAW: Final = "raw.githubusercontent.com"
_SITE: Final = "github.com"
_MASTER: Final = "/explosion/spacy-models/master"
_TABLE: Final = f"{_MASTER}/compatibility.json"
_RELEASES: Final = "/explosion/spacy-models/releases/download"

_SIMPLE: Final = "/-/spacy/simple"
_FILES: Final = "/-/spacy/files"

_WHEEL: Final = "-py3-none-any.whl"
_SDIST: Final = ".tar.gz"
_MODEL: Final = r"(?P<tag>[a-z][a-z0-9_]{0,99}-[0-9][0-9a-z.]{0,29}?)"
_SUFFIX: Final = rf"(?P<suffix>{re.escape(_WHEEL)}|{re.escape(_SDIST)})"
_TAG: Final = re.compile(rf"{_MODEL}\Z")
_META: Final = re.compile(rf"{_MASTER}/meta/{_MODEL}\.json\Z")
_FILE: Final = re.compile(rf"{_MODEL}{_SUFFIX}\Z")
_RELEASE: Final = re.compile(rf"{_RELEASES}/{_MODEL}/(?P=tag){_SUFFIX}\Z")
_HEX: Final = re.compile(r"[0-9a-f]{64}\Z")

# How many files with checksums one page asks for: all models of one spaCy (84 of 3.8), and some more.
MAX_METAS: Final = 100
# And how many at a time.
METAS_AT_ONCE: Final = 16
# Before it models were published as source archives alone.
_FIRST_WHEELS: Final = (3, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Document):
    """A page of links for pip.

    *project* is the one that it is about, normalised (PEP 503), ``""`` for the list of all. With *files* it
    has the packages of all.
    """

    project: str = ""
    files: bool = False


class Spacy(Hosted):
    """A hub of packages that has pages of them besides."""

    def recognise(self, head: RequestHead, body: bytes) -> Question | None:
        """Say what a request means: a page of ours, or one of the files."""
        path = head.path.removesuffix("/")
        page: Page | None = None
        if path == _FILES:
            page = Page(anonymous=True, files=True)
        elif path == _SIMPLE:
            page = Page(anonymous=True)
        elif path.startswith(f"{_SIMPLE}/"):
            page = Page(anonymous=True, project=_normal(path.removeprefix(f"{_SIMPLE}/")))
        if page is None:
            return super().recognise(head, body)
        if head.method not in ("GET", "HEAD"):
            raise MethodRefusedError("An index of packages can only be read.")
        return page

    def needs(self, question: Question, facts: Facts) -> Sequence[Need]:
        """Name the table, then those files with checksums for the page that nobody has asked for yet."""
        if not isinstance(question, Page):
            return super().needs(question, facts)
        missing = super().needs(self._table(), facts)
        if missing or facts.offline or not (question.files or question.project):
            return missing
        routes = [_package(tag, _WHEEL) for tag in self._tags(question, facts)[:MAX_METAS]]
        lacking = [
            self.aside_need(route, route.aside)
            for route in routes
            if route.aside is not None and facts.reply(route.aside.key) is None
        ]
        return lacking[:METAS_AT_ONCE]

    def absorb(
        self, question: Question, need: Need, response: Response, now: float
    ) -> Sequence[Fact]:
        """Keep what came; what is no table is not taken for a new one."""
        file = need.context["file"]
        if file == _TABLE and response.status == 200 and not models(response.body):
            raise UpstreamUnreachableError(f"{_RAW} sent something else than spaCy's models.")
        meta = _META.match(file)
        if isinstance(question, Page) and meta is not None:
            question = self.question(_place(meta["tag"], _WHEEL))
        return super().absorb(question, need, response, now)

    def answer(self, question: Question, facts: Facts, base_url: str) -> Answer:
        """Answer with the file, or with the page."""
        if not isinstance(question, Page):
            return super().answer(question, facts, base_url)
        found = self._tags(question, facts)
        if question.project and not found:
            said = f"spaCy's table of models has no {question.project}."
            raise UpstreamRefusedError(said, status=404, headers={})
        if question.files or question.project:
            files = [file for tag in found[:MAX_METAS] for file in _files(tag, facts)]
            files += [_guess(tag) for tag in found[MAX_METAS:]]
            links = [(file.partition("#")[0], f"{_FILES}/{file}") for file in files]
        else:
            names = dict.fromkeys(_normal(tag.partition("-")[0]) for tag in found)
            links = [(name, f"{_SIMPLE}/{name}/") for name in names]
        body = _page(question.project or "spaCy's models", base_url, links)
        headers = (("Content-Type", "text/html; charset=utf-8"),)
        table = super().answer(self._table(), facts, base_url)
        stale = tuple(line for line in table.headers if line[0] in ("X-HF-Warning", "Age"))
        return Answer(200, (*headers, *stale), (body,), etag=sha256_of(body).hex, ranges=True)

    def _table(self) -> Question:
        return self.question(Place(_RAW, _TABLE))

    def _tags(self, page: Page, facts: Facts) -> Sequence[str]:
        """The models that *page* is about, newest first, as their releases are called."""
        table = super().answer(self._table(), facts, "")
        found = models(b"".join(part for part in table.body if isinstance(part, bytes)))
        if not page.project:
            return found
        return [tag for tag in found if _normal(tag.partition("-")[0]) == page.project]


# ── what there is ───────────────────────────────────────────────────────────────────────────────────


@lru_cache(maxsize=4)
def models(table: bytes) -> tuple[str, ...]:
    """Every model and version of the table, newest spaCy first, as ``en_core_web_sm-3.8.0``."""
    found: dict[str, None] = {}
    try:
        versions = json.loads(table)["spacy"]
        for spacy in sorted(versions, key=_age, reverse=True):
            for name, numbers in versions[spacy].items():
                tags = (f"{name}-{number}" for number in numbers)
                found.update((tag, None) for tag in tags if _TAG.match(tag))
    except (ValueError, KeyError, TypeError, AttributeError):
        return ()
    return tuple(found)


def _age(version: str) -> tuple[list[int], bool]:
    """What versions of spaCy are sorted by: those in the making come after what they became."""
    numbers = [int(digits) for digits in re.findall(r"[0-9]{1,9}", version)[:2]]
    return numbers, version.replace(".", "").isdigit()


def _files(tag: str, facts: Facts) -> list[str]:
    """The packages of a model, as far as is known, each with its digest as pip reads it."""
    aside = _package(tag, _WHEEL).aside
    meta = None if aside is None else facts.reply(aside.key)
    if meta is None or meta.response.status != 200:
        return [_guess(tag)]
    known = _checksums(meta.response.body).items()
    return [f"{tag}{suffix}#sha256={digest}" for suffix, digest in known] or [_guess(tag)]


def _guess(tag: str) -> str:
    """The package that a model is likely to have."""
    numbers = tuple(int(digits) for digits in re.findall(r"[0-9]+", tag.partition("-")[2])[:2])
    return tag + (_WHEEL if numbers >= _FIRST_WHEELS else _SDIST)


def _checksum(suffix: str, meta: bytes) -> Told | None:
    """What a file with checksums says of the package that ends in *suffix*."""
    digest = _checksums(meta).get(suffix)
    return None if digest is None else Told(digest=Digest(SHA256, digest))


@lru_cache(maxsize=1024)
def _checksums(meta: bytes) -> Mapping[str, str]:
    """The sha256 of each package of a model by what its name ends in."""
    try:
        said = json.loads(meta)
        told = {_WHEEL: said.get("checksum_whl"), _SDIST: said.get("checksum")}
    except (ValueError, AttributeError):
        return {}
    return {suffix: text for suffix, text in told.items() if _HEX.match(str(text))}


def _normal(name: str) -> str:
    """A project's name as indexes write it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _page(title: str, base_url: str, links: Sequence[tuple[str, str]]) -> bytes:
    """A page of links as pip and uv read it (PEP 503)."""
    lines = [
        f'<a href="{html.escape(base_url + path)}">{html.escape(text)}</a><br>'
        for text, path in links
    ]
    head = f"<!DOCTYPE html>\n<html><head><title>{html.escape(title)}</title></head><body>"
    return "\n".join([head, *lines, "</body></html>\n"]).encode()


# ── addresses ───────────────────────────────────────────────────────────────────────────────────────


def _takes(place: Place) -> bool:
    if place.host == _RAW:
        return place.path == _TABLE or _META.match(place.path) is not None
    return _RELEASE.match(place.path) is not None


def _route(place: Place) -> Route:
    release = _RELEASE.match(place.path)
    if place.host == _SITE and release is not None:
        return _package(release["tag"], release["suffix"])
    return Route(target=f"https://{_RAW}{place.path}", kind=Kind.MOVING, document=True)


def _place(tag: str, suffix: str) -> Place:
    return Place(_SITE, f"{_RELEASES}/{tag}/{tag}{suffix}")


def _package(tag: str, suffix: str) -> Route:
    """A package of a model: proven where its checksum is published, else what came first."""
    meta = f"https://{_RAW}{_MASTER}/meta/{tag}.json"
    aside = Aside(target=meta, file=suffix, read=_checksum)
    return Route(target=_place(tag, suffix).url, kind=Kind.PINNED, aside=aside)


def _short(rest: str, query: str) -> Place:
    """``/-/spacy/files/en_core_web_sm-3.8.0-py3-none-any.whl``."""
    del query
    file = _FILE.match(rest)
    if file is None:
        raise MalformedQuestionError(
            "That is no package of a spaCy model.",
            hint="They are called like en_core_web_sm-3.8.0-py3-none-any.whl.",
        )
    return _place(file["tag"], file["suffix"])


FAMILIES: Final = (
    Family(
        name="spacy",
        hosts=(_RAW, _SITE),
        router=_route,
        takes=_takes,
        short={f"{_FILES}/": _short},
    ),
)
