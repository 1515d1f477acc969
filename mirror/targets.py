"""Targets: what people write for what is to be fetched, exported, locked or checked.

::

    org/name[@revision]             a model of the Hub; dataset:org/name, space:org/name
    whisper:base                    a model of openai-whisper, by the name that load_model takes
    torch:resnet18-f37072fd.pth     a checkpoint below download.pytorch.org/models/
    torchhub:owner/repo[:ref]       a repository as torch.hub.load names it
    tfhub:google/yamnet/1           a handle of TF Hub, or of Kaggle: google/yamnet/tensorFlow2/yamnet/1
    kaggle:owner/model/framework/variation/version
    tiktoken:cl100k_base            an encoding
    nltk:punkt_tab                  a package or collection of NLTK's data
    spacy:de_core_news_lg[==3.8.0]  a model of spaCy
    https://host/path               a file of a host that the mirror serves

Globs say which files of a repo are meant, as in ``hf download``; so does the loader that is to read them.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, Self
from urllib.parse import quote, unquote, urlsplit

from mirror.errors import QuestionError


class Kind(StrEnum):
    """Whose grammar a target's name follows; the value is what it is written with."""

    MODEL = "model"
    DATASET = "dataset"
    SPACE = "space"
    WHISPER = "whisper"
    TORCH = "torch"
    TORCHHUB = "torchhub"
    TFHUB = "tfhub"
    KAGGLE = "kaggle"
    TIKTOKEN = "tiktoken"
    NLTK = "nltk"
    SPACY = "spacy"
    URL = "url"


LOADERS: Final = ("transformers", "sentence-transformers", "diffusers")
_LOADER: Final = re.compile(rf"(?:{'|'.join(LOADERS)}|gguf:[A-Za-z0-9][A-Za-z0-9_]{{0,30}})\Z")
REPOS: Final = frozenset({Kind.MODEL, Kind.DATASET, Kind.SPACE})

_WORD: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,126}[A-Za-z0-9_-])?"
_COMMIT: Final = re.compile(r"[0-9a-f]{40}\Z")
# git-check-ref-format(1), without what it allows and no client can write.
_REVISION: Final = re.compile(
    r"(?!.*(?:\.\.|//|@\{|\.lock\Z|/\Z))[A-Za-z0-9_][^\s~^:?*\[\\\x00-\x1f\x7f]{0,254}\Z"
)
_VERSION: Final = re.compile(r"[0-9][0-9a-z.]{0,29}\Z")

_NAMES: Final[Mapping[Kind, tuple[re.Pattern[str], str]]] = {
    Kind.MODEL: (re.compile(rf"(?:{_WORD}/)?{_WORD}\Z"), "org/name[@revision]"),
    Kind.DATASET: (re.compile(rf"(?:{_WORD}/)?{_WORD}\Z"), "dataset:org/name[@revision]"),
    Kind.SPACE: (re.compile(rf"{_WORD}/{_WORD}\Z"), "space:org/name[@revision]"),
    Kind.WHISPER: (re.compile(r"[a-z0-9][a-z0-9.-]{0,40}\Z"), "whisper:base"),
    Kind.TORCH: (
        re.compile(rf"(?:{_WORD}/){{0,8}}{_WORD}\.(?:pth|pt|th|tar|zip)\Z"),
        "torch:resnet18-f37072fd.pth",
    ),
    Kind.TORCHHUB: (re.compile(rf"{_WORD}/{_WORD}\Z"), "torchhub:owner/repo[:ref]"),
    Kind.TFHUB: (
        re.compile(rf"{_WORD}/{_WORD}(?:/{_WORD})*\Z"),
        "tfhub:google/yamnet/1 or tfhub:google/yamnet/tensorFlow2/yamnet/1",
    ),
    Kind.KAGGLE: (
        re.compile(rf"{_WORD}/{_WORD}/{_WORD}/{_WORD}/[1-9][0-9]{{0,8}}\Z"),
        "kaggle:owner/model/framework/variation/version",
    ),
    Kind.TIKTOKEN: (re.compile(r"[a-z0-9_-]{1,40}\Z"), "tiktoken:cl100k_base"),
    Kind.NLTK: (re.compile(r"[A-Za-z0-9_.-]{1,80}\Z"), "nltk:punkt_tab"),
    Kind.SPACY: (re.compile(r"[a-z][a-z0-9_]{1,99}\Z"), "spacy:de_core_news_lg[==3.8.0]"),
    Kind.URL: (re.compile(r"https://[^\s/?#@:]+/[^\s#]+\Z"), "https://host/path"),
}
HUBS: Final = frozenset({"huggingface.co", "hf-mirror.com"})
_OF_A_REPO: Final = re.compile(
    rf"/(?P<kind>datasets/|spaces/|)(?P<name>{_WORD}/{_WORD})"
    r"(?:/(?:resolve|blob|raw)/(?P<revision>[^/]+)/(?P<file>.+)|/tree/(?P<tree>[^/]+))?/?\Z"
)
_URL_KINDS: Final = {"": Kind.MODEL, "datasets/": Kind.DATASET, "spaces/": Kind.SPACE}
# Digits of a digest in an address, or a release of GitHub: what is there does not change.
_FIXED: Final = re.compile(
    r"/[0-9a-f]{40}(?:[0-9a-f]{24})?/|[-_](?=[0-9a-f]*[a-f])[0-9a-f]{8,64}\.[a-z]+\Z|/releases/download/"
)
# tiktoken_ext/openai_public.py: encodings that are made of the files of another, or of two.
_ENCODINGS: Final[Mapping[str, tuple[str, ...]]] = {
    "gpt2": ("gpt-2/encodings/main/vocab.bpe", "gpt-2/encodings/main/encoder.json"),
    "p50k_edit": ("encodings/p50k_base.tiktoken",),
    "o200k_harmony": ("encodings/o200k_base.tiktoken",),
}
_STORAGE: Final = "openaipublic.blob.core.windows.net"
# A handle of Kaggle's among those of TF Hub: its third word is a framework.
_OF_KAGGLE: Final = re.compile(r"[^/]+/[^/]+/tensorflow[12]/[^/]+(?:/[0-9]+)?\Z", re.IGNORECASE)
# A place after a target: behind an equals sign that is not one of a version's two, nor of a query.
_PLACED: Final = re.compile(
    r"(?P<target>https://[^?=]+(?:\?[^=&]+=[^=&]*(?:&[^=&]+=[^=&]*)*)?|(?!https://)[^=]+(?:==[^=]+)?)"
    r"=(?P<place>[^=].*)\Z"
)

HELP: Final = (
    "Targets are written like org/name@revision, dataset:org/name, whisper:base, "
    "torch:resnet18-f37072fd.pth, torchhub:owner/repo, tfhub:google/yamnet/1, tiktoken:cl100k_base, "
    "nltk:punkt_tab, spacy:de_core_news_lg==3.8.0 or https://host/path."
)


class TargetError(QuestionError):
    """What was written is no target."""


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """Something to fetch; made by `parse`.

    *name* is in its kind's own form; *revision* is a branch, tag or commit of a repository, or the version
    of a spaCy model, ``""`` where none was named. *include* and *exclude* are globs over the paths of a repo
    (fnmatch, ``*`` crosses slashes), as ``hf download`` has them. *loader* is what the files of a repo are
    to be read by, which chooses them: one of `LOADERS`, or ``gguf:`` with the name of a quantisation.
    *file* is the path of the one that is meant, where the address of a file was written: *include* is that.
    """

    kind: Kind
    name: str
    revision: str = ""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    loader: str = ""
    file: str = field(default="", compare=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a target as the module's table writes them. Raises `TargetError` with what would be one."""
        text = text.strip()
        if text.startswith(("http://", "https://")):
            return cls._of_url(text)
        word, colon, rest = text.partition(":")
        try:
            kind = Kind(word) if colon and word != Kind.URL.value else Kind.MODEL
        except ValueError:
            raise TargetError(f"{word!r} is no kind of target.", hint=HELP) from None
        name, revision = _READ.get(kind, _whole)(rest if colon else text)
        return cls._checked(kind, name, revision)

    def only(self, include: tuple[str, ...], exclude: tuple[str, ...], loader: str = "") -> Self:
        """This target with these globs besides, as *loader* reads it, where that is said.

        Other targets than repos have no files to choose from. Raises `TargetError` for a loader that is none.
        """
        if loader and not _LOADER.match(loader):
            raise TargetError(
                f"{loader!r} is no loader.",
                hint=f"Known are {', '.join(LOADERS)} and gguf:Q4_K_M, or another quantisation.",
            )
        if self.kind not in REPOS or self.file or not (include or exclude or loader):
            return self
        return replace(
            self,
            include=self.include + include,
            exclude=self.exclude + exclude,
            loader=loader or self.loader,
        )

    @property
    def pinned(self) -> bool:
        """Whether it means the same bytes for ever, by what it is called."""
        match self.kind:
            case Kind.MODEL | Kind.DATASET | Kind.SPACE | Kind.TORCHHUB:
                return _COMMIT.match(self.revision) is not None
            case Kind.SPACY:
                return bool(self.revision)
            case Kind.TFHUB:
                return self.name.rpartition("/")[2].isdigit()
            case Kind.NLTK:
                return False
            case Kind.URL:
                return _FIXED.search(urlsplit(self.name).path) is not None
            case _:
                return True

    @property
    def sources(self) -> tuple[str, ...]:
        """How the mirror is asked for its files, path and query; none where the name alone does not tell."""
        name, revision = self.name, self.revision
        match self.kind:
            case Kind.WHISPER:
                return (f"/-/whisper/{name}",)
            case Kind.TORCH:
                return (f"/-/torch/models/{name}",)
            case Kind.TORCHHUB if revision:
                return (f"/-/host/github.com/{name}/zipball/{quote(revision)}",)
            case Kind.TFHUB:
                return (f"/-/host/{handle_site(name)}/{name}?tf-hub-format=compressed",)
            case Kind.TIKTOKEN:
                paths = _ENCODINGS.get(name, (f"encodings/{name}.tiktoken",))
                return tuple(f"/-/host/{_STORAGE}/{path}" for path in paths)
            case Kind.SPACY if revision:
                return (f"/-/spacy/files/{name}-{revision}-py3-none-any.whl",)
            case Kind.URL:
                parts = urlsplit(name)
                query = f"?{parts.query}" if parts.query else ""
                return (f"/-/host/{parts.netloc}{parts.path}{query}",)
            case _:
                return ()

    def __str__(self) -> str:
        if self.kind is Kind.URL:
            return self.name
        start = "" if self.kind is Kind.MODEL else f"{self.kind.value}:"
        mark = {Kind.TORCHHUB: ":", Kind.SPACY: "=="}.get(self.kind, "@")
        return f"{start}{self.name}{mark + self.revision if self.revision else ''}"

    @classmethod
    def _checked(cls, kind: Kind, name: str, revision: str) -> Self:
        shape, form = _NAMES[kind]
        revised = _VERSION if kind is Kind.SPACY else _REVISION
        if not shape.match(name) or (revision and not revised.match(revision)) or ".." in name:
            said = f"{name}@{revision}" if revision else name
            raise TargetError(f"{said!r} is no {_SAID[kind]}.", hint=f"It is written like {form}.")
        return cls(kind, name, revision)

    @classmethod
    def _of_url(cls, url: str) -> Self:
        """Read an address; those of repos and TF Hub are the targets that they mean."""
        parts = urlsplit(url)
        if parts.scheme != "https":
            raise TargetError(
                f"{url!r} is no target: hosts of models are asked by https.",
                hint="Name the file by its own address, not by that of a mirror.",
            )
        host = parts.hostname or ""
        if host in HUBS:
            found = _OF_A_REPO.match(parts.path)
            if found is None:
                raise TargetError(f"{url!r} is no repo or file of the Hub.", hint=HELP)
            revision = unquote(found["revision"] or found["tree"] or "")
            target = cls._checked(_URL_KINDS[found["kind"]], found["name"], revision)
            file = unquote(found["file"] or "")
            return replace(target, include=(_literal(file),), file=file) if file else target
        if host == "tfhub.dev":
            return cls._checked(Kind.TFHUB, parts.path.strip("/"), "")
        if host == "www.kaggle.com" and parts.path.startswith("/models/"):
            name = parts.path.removeprefix("/models/").strip("/")
            for word in ("frameworks/", "variations/", "versions/"):
                name = name.replace(f"/{word}", "/")
            return cls._checked(Kind.TFHUB, name, "")
        return cls._checked(Kind.URL, url, "")


def handle_site(name: str) -> str:
    """Where the handle *name* of TF Hub is: on its own site, or on that of Kaggle."""
    return "www.kaggle.com/models" if _OF_KAGGLE.match(name) else "tfhub.dev"


def placed(text: str) -> tuple[str, str]:
    """Split ``TARGET=PATH`` into both; the path is ``""`` where none is given."""
    found = _PLACED.match(text)
    return (text, "") if found is None else (found["target"], found["place"])


def _literal(path: str) -> str:
    """A glob that matches *path* alone."""
    return re.sub(r"([*?[])", r"[\1]", path)


def _whole(text: str) -> tuple[str, str]:
    return text, ""


def _at(text: str) -> tuple[str, str]:
    name, at, revision = text.partition("@")
    if at and not revision:
        raise TargetError(f"{text!r} names no revision after its @.", hint=HELP)
    return name, revision


def _colon(text: str) -> tuple[str, str]:
    name, colon, revision = text.partition(":")
    if colon and not revision:
        raise TargetError(f"{text!r} names no branch, tag or commit after its colon.", hint=HELP)
    return name, revision


def _version(text: str) -> tuple[str, str]:
    name, equals, version = text.partition("==")
    if equals and not version:
        raise TargetError(f"{text!r} names no version after ==.", hint=HELP)
    return name.replace("-", "_"), version


_READ: Final[Mapping[Kind, Callable[[str], tuple[str, str]]]] = {
    Kind.MODEL: _at,
    Kind.DATASET: _at,
    Kind.SPACE: _at,
    Kind.TORCHHUB: _colon,
    Kind.SPACY: _version,
}
_SAID: Final = {
    Kind.MODEL: "repo",
    Kind.DATASET: "repo",
    Kind.SPACE: "repo",
    Kind.WHISPER: "model of Whisper",
    Kind.TORCH: "checkpoint of PyTorch",
    Kind.TORCHHUB: "repository of torch.hub",
    Kind.TFHUB: "handle of TF Hub",
    Kind.KAGGLE: "version of a model of Kaggle",
    Kind.TIKTOKEN: "encoding of tiktoken",
    Kind.NLTK: "package of NLTK",
    Kind.SPACY: "model of spaCy",
    Kind.URL: "address of a file",
}
