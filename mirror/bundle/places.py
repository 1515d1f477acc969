"""Where clients look: the folders that their environment variables name, inside the exported folder.

`CACHES` is the table of it, which `doctor` reads too.

An app's variables hold paths as the app sees them (``/app/models/.cache``). One of those paths is the *root*,
which is where the exported folder will be mounted; everything is laid out relative to it. What each client
reads, and in which order, is from its source (huggingface_hub 2.4 ``constants.py``, transformers 4
``utils/hub.py``, sentence-transformers 6 ``SentenceTransformer.py``, openai-whisper 20250625 ``__init__.py``,
torch 2.13 ``hub.py``, tensorflow_hub 0.16 ``resolver.py``, kagglehub 1.0 ``config.py``, tiktoken ``load.py``,
nltk 3.10 ``data.py``, keras 3.15 ``file_utils.py``, pip's ``PIP_FIND_LINKS``).
"""

import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from mirror.errors import QuestionError
from mirror.targets import REPOS, Kind

# Of each cache the variables that lead to its folder, the first that is set deciding, each with what is
# appended to it; and the one to set, below the root, where none is.
CACHES: Final[Mapping[str, tuple[tuple[tuple[str, str], ...], tuple[str, str]]]] = {
    "hub": (
        (
            ("HF_HUB_CACHE", ""),
            ("HUGGINGFACE_HUB_CACHE", ""),
            ("HF_HOME", "hub"),
            ("XDG_CACHE_HOME", "huggingface/hub"),
            ("HOME", ".cache/huggingface/hub"),
        ),
        ("XDG_CACHE_HOME", ""),
    ),
    # Read by transformers 4 in place of the Hub's cache.
    "transformers": (
        (
            ("TRANSFORMERS_CACHE", ""),
            ("PYTORCH_TRANSFORMERS_CACHE", ""),
            ("PYTORCH_PRETRAINED_BERT_CACHE", ""),
        ),
        ("TRANSFORMERS_CACHE", "transformers"),
    ),
    "sentence-transformers": (
        (("SENTENCE_TRANSFORMERS_HOME", ""),),
        ("SENTENCE_TRANSFORMERS_HOME", "sentence-transformers"),
    ),
    "whisper": (
        (("XDG_CACHE_HOME", "whisper"), ("HOME", ".cache/whisper")),
        ("XDG_CACHE_HOME", ""),
    ),
    "torch": (
        (("TORCH_HOME", "hub"), ("XDG_CACHE_HOME", "torch/hub"), ("HOME", ".cache/torch/hub")),
        ("XDG_CACHE_HOME", ""),
    ),
    "tfhub": ((("TFHUB_CACHE_DIR", ""),), ("TFHUB_CACHE_DIR", "tfhub")),
    "kagglehub": (
        (("KAGGLEHUB_CACHE", "models"), ("HOME", ".cache/kagglehub/models")),
        ("KAGGLEHUB_CACHE", "kagglehub"),
    ),
    "tiktoken": (
        (("TIKTOKEN_CACHE_DIR", ""), ("DATA_GYM_CACHE_DIR", "")),
        ("TIKTOKEN_CACHE_DIR", "tiktoken"),
    ),
    "nltk": ((("NLTK_DATA", ""), ("HOME", "nltk_data")), ("NLTK_DATA", "nltk_data")),
    "keras": ((("KERAS_HOME", "models"), ("HOME", ".keras/models")), ("KERAS_HOME", "keras")),
    "wheels": ((("PIP_FIND_LINKS", ""),), ("PIP_FIND_LINKS", "wheels")),
}
# Which of them hold what: of several, each that a variable names.
_OF_KIND: Final[Mapping[Kind, tuple[str, ...]]] = {
    Kind.MODEL: ("hub", "transformers", "sentence-transformers"),
    Kind.DATASET: ("hub",),
    Kind.SPACE: ("hub",),
    Kind.WHISPER: ("whisper",),
    Kind.TORCH: ("torch",),
    Kind.TORCHHUB: ("torch",),
    Kind.TFHUB: ("tfhub",),
    Kind.KAGGLE: ("kagglehub",),
    Kind.TIKTOKEN: ("tiktoken",),
    Kind.NLTK: ("nltk",),
    Kind.SPACY: ("wheels",),
}
# Hosts whose files a client keeps in one place.
_OF_HOST: Final = (
    ("https://download.pytorch.org/", "torch"),
    ("https://storage.googleapis.com/tensorflow/keras-applications/", "keras"),
    ("https://openaipublic.azureedge.net/main/whisper/models/", "whisper"),
)

KNOWN: Final = frozenset(name for rules, _ in CACHES.values() for name, _ in rules) | {
    "PIX2TEXT_HOME"
}

_VARIABLE: Final = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
# Clients read it as a shell does.
_HOME: Final = re.compile(r"\A~(?=/|\Z)")
# Windows clients read exported folders too, and there these mean something in a path.
_FOREIGN: Final = re.compile(r"[\x00-\x1f\x7f\\]")


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that a client reads: its *path* below the exported folder (``""`` is that folder itself).

    *variable* leads a client there, with *value*, a path below the exported folder too.
    """

    path: str
    variable: str
    value: str


class Places:
    """Says where things go.

    *variables* are the app's, by name; *root* is the path, as the app sees it, at which the exported folder
    will be; relative values are below it.
    """

    def __init__(self, variables: Mapping[str, str], root: str) -> None:
        self._variables = variables
        self.root = posixpath.normpath(root)

    def caches(self, kind: Kind, url: str = "") -> tuple[Folder, ...]:
        """The folders in which clients look for targets of *kind*; none where a place must be said.

        *url* is the target's own where it is one. Raises `QuestionError` for a folder outside the root.
        """
        names = _names(kind, url)
        found = [folder for name in names if (folder := self._named(name)) is not None]
        if not found and names:
            _, (variable, below) = CACHES[names[0]]
            suffix = dict(CACHES[names[0]][0])[variable]
            found = [Folder(posixpath.join(below, suffix) if suffix else below, variable, below)]
        return tuple({folder.path: folder for folder in reversed(found)}.values())[::-1]

    def transformers(self) -> Folder | None:
        """The folder that transformers 4 alone reads, where a variable names one."""
        return self._named("transformers")

    def below(self, text: str) -> str:
        """The path below the exported folder of *text*, a path as the app sees it.

        ``$NAME`` stands for a variable of the app. Raises `QuestionError` for one outside the root, or a
        variable that is not known.
        """
        return self._below(self.expanded(text), text)

    def _named(self, cache: str) -> Folder | None:
        for variable, suffix in CACHES[cache][0]:
            value = self.value(variable)
            if value:
                at = self._below(value, f"{variable}={value}")
                path = posixpath.join(at, suffix) if suffix else at
                return Folder(path, variable, at)
        return None

    def value(self, variable: str) -> str:
        """The folder that *variable* names, as the app sees it; ``""`` where it names none."""
        value = self._variables.get(variable, "")
        if "://" in value:  # PIP_FIND_LINKS may be a page.
            return ""
        value = value.partition(":")[0] if variable == "NLTK_DATA" else value
        return self.expanded(_HOME.sub("$HOME", value))

    def expanded(self, text: str) -> str:
        """*text* with the variables in it. Raises `QuestionError` for one that is not set."""

        def value(found: re.Match[str]) -> str:
            name = found[1] or found[2]
            if name not in self._variables:
                raise QuestionError(
                    f"{text} names {name}, which is not set.",
                    hint=f"Say it with --set {name}=PATH.",
                )
            return self._variables[name]

        return _VARIABLE.sub(value, text)

    def _below(self, path: str, said: str) -> str:
        if _FOREIGN.search(path):
            raise QuestionError(f"{said!r} is no path that can be laid out.")
        whole = posixpath.normpath(posixpath.join(self.root, path))
        if whole == self.root:
            return ""
        start = self.root if self.root.endswith("/") else f"{self.root}/"
        if not whole.startswith(start):
            raise QuestionError(
                f"{said} is outside of {self.root}, where the exported folder is to be.",
                hint="Name a folder above all of them with --root.",
            )
        return whole.removeprefix(start)


def common_root(
    variables: Mapping[str, str], wanted: Iterable[tuple[Kind, str, str]], otherwise: str
) -> str:
    """The folder above all that is to be laid out, as the app sees it; *otherwise* where nothing says it.

    *wanted* are kind, URL and place (``""`` for the client's own) of each target.
    """
    places = Places(variables, "/")
    paths: list[str] = []
    for kind, url, place in wanted:
        if place:
            path = places.expanded(place)
            folder = kind in REPOS or path.endswith("/")
            paths.append(path if folder else posixpath.dirname(path))
            continue
        for cache in _names(kind, url):
            rules, _ = CACHES[cache]
            named = next((value for name, _ in rules if (value := places.value(name))), "")
            paths += [named] if named else []
    absolute = [path for path in paths if path.startswith("/")]
    if not absolute:
        return otherwise
    return posixpath.commonpath([posixpath.normpath(path) for path in absolute])


def _names(kind: Kind, url: str) -> tuple[str, ...]:
    if kind is Kind.URL:
        return tuple(cache for start, cache in _OF_HOST if url.startswith(start))
    return _OF_KIND[kind]
