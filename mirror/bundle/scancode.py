"""Targets that Python sources load, read off the syntax tree: nothing is imported, nothing is run.

A call is known by the name of what is called. Its argument is a string, a name that is given a string once in
the file, or the default of an environment variable; what cannot be followed is told, for people to look at.
"""

import ast
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from mirror.errors import QuestionError
from mirror.hubs.whisper import MODELS, OTHER_NAMES
from mirror.targets import Kind, Target

# What is a path, not a repo, to from_pretrained and its kin.
_PATH: Final = re.compile(
    r"[./~\\]|[A-Za-z]:|.*\\|.*/.*/|.*\.(?:pt|pth|bin|onnx|safetensors|json)\Z"
)
_VERSIONED: Final = re.compile(r".*/[1-9][0-9]*\Z")
_FASTER: Final = re.compile(r"(?:tiny|base|small|medium)(?:\.en)?\Z|large-v[123]\Z")
ADDRESS: Final = re.compile(
    r"https://(?:huggingface\.co/[\w.-]+/[\w.-]+/(?:resolve|blob|raw)/"
    r"|(?:tfhub\.dev|www\.kaggle\.com/models)/[\w.-]+/"
    r"|download\.pytorch\.org/models/|openaipublic\.(?:azureedge\.net|blob\.core\.windows\.net)/"
    r"|storage\.googleapis\.com/tensorflow/keras-applications/"
    r"|github\.com/[\w.-]+/[\w.-]+/(?:releases/download|raw)/[^\s\"'<>]*\.(?:onnx|pth?|bin|whl|zip|tflite|caffemodel)\b)"
    r"[^\s\"'<>)\\]*"
)
# An address that is still to be put together.
_UNMADE: Final = re.compile(r"[{}$]|%(?![0-9A-Fa-f]{2})|/\Z")
_WHEEL: Final = re.compile(
    r"/spacy-models/releases/download/[^/]+/([a-z_]+)-(\d[\w.]*)-py3-none-any\.whl"
)


@dataclass(frozen=True, slots=True)
class Sight:
    """A *target* that a line of a file needs; or, where it is `None`, a *call* that could not be followed."""

    line: int
    target: Target | None
    call: str = ""


@dataclass(frozen=True, slots=True)
class _Call:
    """A call: its name with dots, and its arguments, `None` for each that is no string that is known."""

    name: str
    positional: tuple[str | None, ...]
    named: Mapping[str, str | None]

    def argument(self, position: int, *names: str) -> str | None:
        """The argument at *position*, or by one of *names*; ``""`` where there is none at all."""
        for name in names:
            if name in self.named:
                return self.named[name]
        return self.positional[position] if position < len(self.positional) else ""


_Reader: TypeAlias = Callable[[_Call], str | None]
"""What a call loads, as a target is written: ``""`` for nothing of a hub, `None` for what is not known."""


def sights(source: str, first: int = 1) -> Iterator[Sight]:
    """Yield what *source* loads, whose first line is line *first* of its file; nothing if it is no Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    known = _names(tree)
    parts = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in node.values
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield from (Sight(node.lineno + first - 1, one) for one in addresses(node.value))
        if isinstance(node, ast.Call):
            call = _call(node, known)
            reader = _reader(call.name)
            if reader is None:
                continue
            line = node.lineno + first - 1
            said = reader(call)
            if said is None:
                yield Sight(line, None, f"{call.name}(…)")
            elif said and (target := written(said, call)) is not None:
                yield Sight(line, target)


def addresses(text: str) -> Iterator[Target]:
    """Yield the targets whose addresses stand in *text*."""
    for found in ADDRESS.finditer(text):
        url = found[0].rstrip(".,;")
        if _UNMADE.search(url):
            continue
        wheel = _WHEEL.search(url)
        target = written(f"spacy:{wheel[1]}=={wheel[2]}" if wheel else url)
        if target is not None:
            yield target


def written(text: str, call: _Call | None = None) -> Target | None:
    """The target that *text* writes, with the revision and file that *call* says; `None` where it is none."""
    try:
        target = Target.parse(text)
        if call is None or target.kind not in {Kind.MODEL, Kind.DATASET, Kind.SPACE}:
            return target
        revision = call.argument(99, "revision")
        if revision and not target.revision:
            target = Target.parse(f"{target}@{revision}")
        if call.name.endswith("hf_hub_download") and (file := call.argument(1, "filename")):
            folder = call.argument(99, "subfolder")
            target = target.only((f"{folder}/{file}" if folder else file,), ())
    except QuestionError:
        return None
    return target


# ── calls ───────────────────────────────────────────────────────────────────────────────────────────


def _repo(*names: str) -> _Reader:
    def read(call: _Call) -> str | None:
        said = call.argument(0, *names)
        if said is None:
            return None
        return "" if _PATH.match(said) else said

    return read


def _typed(call: _Call) -> str | None:
    said = call.argument(0, "repo_id")
    kind = call.argument(99, "repo_type") or "model"
    return f"{kind}:{said}" if said and kind in {"dataset", "space"} else said


def _sentences(call: _Call) -> str | None:
    said = _repo("model_name_or_path", "model_name")(call)
    return f"sentence-transformers/{said}" if said and "/" not in said else said


def _whisper(call: _Call) -> str | None:
    said = call.argument(0, "name")
    if said is None:
        return None if call.name.startswith("whisper") else ""
    return f"whisper:{said}" if said in MODELS or said in OTHER_NAMES else ""


def _faster_whisper(call: _Call) -> str | None:
    said = _repo("model_size_or_path")(call)
    return f"Systran/faster-whisper-{said}" if said and _FASTER.match(said) else said


def _dataset(call: _Call) -> str | None:
    said = _repo("path")(call)
    return f"dataset:{said}" if said and "/" in said else said and ""


def _pipeline(call: _Call) -> str | None:
    return _repo_of(call.argument(1, "model"))


def _repo_of(said: str | None) -> str | None:
    return "" if said and _PATH.match(said) else said


def _handle(call: _Call) -> str | None:
    said = call.argument(0, "handle")
    return said if said is None or said.startswith("https://") else ""


def _kaggle(call: _Call) -> str | None:
    said = call.argument(0, "handle")
    return said and f"kaggle:{said}" if said is None or _VERSIONED.match(said) else None


def _torchhub(call: _Call) -> str | None:
    if call.argument(99, "source") == "local":
        return ""
    said = call.argument(0, "repo_or_dir")
    return said and f"torchhub:{said}"


def _timm(call: _Call) -> str | None:
    said = call.argument(0, "model_name") or ""
    return re.sub(r"\Ahf[-_]hub:", "", said) if said.startswith(("hf-hub:", "hf_hub:")) else ""


def _prefixed(prefix: str, *names: str) -> _Reader:
    def read(call: _Call) -> str | None:
        said = call.argument(0, *names)
        return said and f"{prefix}:{said}"

    return read


def _spacy(call: _Call) -> str | None:
    said = call.argument(0, "name", "model")
    return "" if said and _PATH.match(said) else said and f"spacy:{said}"


# By the last words of a call's name; a longer one first.
_CALLS: Final[Mapping[str, _Reader]] = {
    "from_pretrained": _repo("pretrained_model_name_or_path", "pretrained_model_or_path"),
    "from_hparams": _repo("source"),
    "snapshot_download": _typed,
    "hf_hub_download": _typed,
    "SentenceTransformer": _sentences,
    "SparseEncoder": _sentences,
    "CrossEncoder": _repo("model_name_or_path", "model_name"),
    "HuggingFaceEmbeddings": _sentences,
    "SentenceTransformerEmbeddingFunction": _sentences,
    "load_model": _whisper,
    "WhisperModel": _faster_whisper,
    "load_dataset": _dataset,
    "pipeline": _pipeline,
    "KerasLayer": _handle,
    "hub.load": _handle,
    "tensorflow_hub.load": _handle,
    "torch.hub.load": _torchhub,
    "model_download": _kaggle,
    "timm.create_model": _timm,
    "spacy.load": _spacy,
    "spacy.cli.download": _spacy,
    "tiktoken.get_encoding": _prefixed("tiktoken", "encoding_name"),
    "nltk.download": _prefixed("nltk", "info_or_id"),
}


def _reader(name: str) -> _Reader | None:
    words = name.split(".")
    for start in range(len(words)):
        found = _CALLS.get(".".join(words[start:]))
        if found is not None:
            return found
    return None


# ── the tree ────────────────────────────────────────────────────────────────────────────────────────


def _names(tree: ast.AST) -> dict[str, str]:
    """Names that are given one string in all of the file, and what imported modules are really called."""
    values: dict[str, set[str | None]] = {}
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                values.setdefault(name, set()).add(_text(value, {}))
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                values.setdefault(name, set()).add(_text(value, {}))
            case ast.arguments():
                pairs = [
                    *zip(
                        node.args[len(node.args) - len(node.defaults) :], node.defaults, strict=True
                    ),
                    *zip(node.kwonlyargs, node.kw_defaults, strict=True),
                ]
                for argument, default in pairs:
                    values.setdefault(argument.arg, set()).add(
                        None if default is None else _text(default, {})
                    )
            case _:
                pass
    return {
        name: text for name, (text, *more) in values.items() if text is not None and not more
    } | {f"import {name}": whole for name, whole in _imports(tree)}


def _imports(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.asname:
                    yield alias.asname, alias.name
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def _call(node: ast.Call, known: Mapping[str, str]) -> _Call:
    name = _dotted(node.func)
    first, dot, rest = name.partition(".")
    name = known.get(f"import {first}", first) + dot + rest
    positional = tuple(_text(value, known) for value in node.args)
    named = {word.arg: _text(word.value, known) for word in node.keywords if word.arg}
    return _Call(name, positional, named)


def _dotted(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=name):
            before = _dotted(value)
            return f"{before}.{name}" if before else name
        case _:
            return ""


def _text(node: ast.expr, known: Mapping[str, str]) -> str | None:
    """The string that an expression is, as far as that can be seen without running it."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.Name(id=name):
            return known.get(name)
        case ast.Attribute(attr=name):
            return known.get(name)
        case ast.Call(func=ast.Attribute(attr="get" | "getenv"), args=[_, default]):
            return _text(default, known)
        case ast.Call(func=ast.Name(id="getenv"), args=[_, default]):
            return _text(default, known)
        case ast.BoolOp(op=ast.Or(), values=[*_, last]):
            return _text(last, known)
        case _:
            return None
