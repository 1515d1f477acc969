"""What the operator names: a repo, a revision of it, an address on another host, a blob.

Written as people write them: ``acme/tiny-bert``, ``acme/tiny-bert@v1.0``, ``dataset:acme/words``,
``https://download.pytorch.org/models/resnet18-f37072fd.pth``, ``whisper:base``, ``sha256:…``. What `Target`
has a word for means here what it means there.
"""

import re
from dataclasses import dataclass
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from mirror.digest import SHA256, Digest
from mirror.errors import QuestionError
from mirror.names import Repo
from mirror.patterns import spell
from mirror.targets import HUBS, Kind, Target

_HUB: Final = "huggingface"
# The kinds of the Hub, by the word that stands before the colon; a model needs none.
_KINDS: Final = {
    "": "models",
    "model": "models",
    "dataset": "datasets",
    "space": "spaces",
    "kernel": "kernels",
}
# The words of targets that are no repos of the Hub; an address is written without its word.
_WORDS: Final = frozenset(kind.value for kind in Kind) - _KINDS.keys() - {Kind.URL.value}
_ID: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)?\Z")
_SHORT: Final = re.compile(r"[a-z][a-z0-9_]*:[^/\s]\S*\Z")
_LONGEST: Final = 8192
_HELP: Final = (
    "Write acme/tiny-bert, acme/tiny-bert@v1.0, dataset:acme/words, https://HOST/PATH, whisper:base or"
    " sha256:…."
)


@dataclass(frozen=True, slots=True)
class NamedRepo:
    """A repo, or one *revision* of it: a branch, a tag, a commit or its beginning."""

    repo: Repo
    revision: str = ""

    def __str__(self) -> str:
        return f"{spell(self.repo)}@{self.revision}" if self.revision else spell(self.repo)


@dataclass(frozen=True, slots=True)
class NamedAddress:
    """A file on another host: *path* and *query* are how this mirror is asked for it."""

    path: str
    query: str = ""
    text: str = ""

    def __str__(self) -> str:
        return self.text or self.path


@dataclass(frozen=True, slots=True)
class NamedBlob:
    """A blob by its sha256."""

    digest: Digest

    def __str__(self) -> str:
        return str(self.digest)


Named: TypeAlias = NamedRepo | NamedAddress | NamedBlob


def named(text: str) -> Named:
    """Read what the operator wrote. Raises `QuestionError` with the forms that there are."""
    text = text.strip()
    if not text or len(text) > _LONGEST or not text.isprintable():
        raise QuestionError("That names nothing.", hint=_HELP)
    if text.startswith(f"{SHA256}:"):
        try:
            return NamedBlob(Digest.parse(text))
        except ValueError as error:
            raise QuestionError(f"{text} is no sha256.", hint="It has 64 digits.") from error
    if "://" in text or text.startswith("/-/"):
        return _address(text)
    kind, colon, rest = text.partition(":") if ":" in text.partition("/")[0] else ("", "", text)
    if colon and kind not in _KINDS:
        if not _SHORT.match(text):
            raise QuestionError(f"{text!r} names nothing.", hint=_HELP)
        return _file(text) if kind in _WORDS else NamedAddress(f"/-/{kind}/{rest}", text=text)
    name, at, revision = rest.partition("@")
    if (
        at and not revision
    ):  # Without one every revision is meant: never by a variable that is not set.
        raise QuestionError(f"{text!r} names no revision after its @.", hint=_HELP)
    first, slash, others = name.partition("/")
    if not colon and slash and first in _KINDS.values() and "/" in others:
        kind, name = first.removesuffix("s"), others  # as it stands in URLs
    if not _ID.match(name):
        raise QuestionError(f"{text!r} names nothing.", hint=_HELP)
    return NamedRepo(Repo(_HUB, f"{_KINDS[kind]}/{name}"), revision)


def _file(text: str) -> NamedAddress:
    """What is no repo, by a target's word. Raises `QuestionError` where that is not one file for certain."""
    sources = Target.parse(text).sources
    if len(sources) != 1:
        raise QuestionError(
            f"{text} alone does not say which file that is.",
            hint="Name each by its address, as `modelmirror ls` lists them.",
        )
    path, _, query = sources[0].partition("?")
    return NamedAddress(path, query, text)


def _address(text: str) -> NamedRepo | NamedAddress:
    try:
        parts = urlsplit(text)
        host = parts.netloc.lower()
    except ValueError as error:
        raise QuestionError(f"{text!r} is no address.", hint=_HELP) from error
    if parts.path.startswith("/-/"):  # as this mirror is asked for it
        return NamedAddress(parts.path, parts.query, text)
    if parts.scheme != "https" or not host:
        raise QuestionError(f"{text!r} is no address of a model.", hint=_HELP)
    if host in HUBS:
        page = Target.parse(text)
        if not page.include:  # Of a file its hub says that it is a repo's.
            return NamedRepo(Repo(_HUB, f"{_KINDS[page.kind.value]}/{page.name}"), page.revision)
    return NamedAddress(f"/-/host/{host}{parts.path or '/'}", parts.query, text)
