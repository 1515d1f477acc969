"""Which files of a repo a library reads when it loads the model: what ``--as`` chooses.

Pure, by the names of the files alone. transformers 5 ``modeling_utils.py`` and sentence-transformers 6
``SentenceTransformer.py`` prefer safetensors and fall back to PyTorch's own format; diffusers 0.35
``pipeline_loading_utils.py`` does so for each component; llama.cpp ``common/arg.cpp`` finds a quantisation by
its name.
"""

import posixpath
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

from mirror.errors import MirrorError

_SHARD: Final = r"(?:-\d{5}-of-\d{5})?"
# In the order in which they are preferred; each with the list of its shards.
_WEIGHTS: Final = (
    re.compile(rf"(?:model|diffusion_pytorch_model){_SHARD}\.safetensors(?:\.index\.json)?\Z"),
    re.compile(rf"(?:pytorch_model|diffusion_pytorch_model){_SHARD}\.bin(?:\.index\.json)?\Z"),
)
_ADAPTER: Final = (
    re.compile(r"adapter_model\.safetensors\Z"),
    re.compile(r"adapter_model\.bin\Z"),
)
# Weights in other formats or precisions, and what is for people.
_OTHERS: Final = re.compile(
    r"(?:\.(?:safetensors|bin|pt|pth|ckpt|h5|msgpack|onnx|onnx_data|ot|gguf|tflite|pb|mlmodel|npz|pkl|pickle"
    r"|engine|md|rst|png|jpe?g|gif|svg|webp|pdf|mp[34]|wav|zip|gz|tar|index\.json)|\.gitattributes|\.gitignore"
    r"|(?:\A|/)(?:LICENSE|NOTICE|USE_POLICY)[^/]*)\Z",
    re.IGNORECASE,
)
_TEMPLATES: Final = "additional_chat_templates"
# sentence-transformers numbers the folders of its modules.
_MODULE: Final = re.compile(r"\d+(?:_\w+)?\Z")
_QUANTISATION: Final = re.compile(
    r"(?<![A-Za-z0-9])((?:I?Q\d|TQ\d|BF16|F16|F32|MXFP4)[A-Za-z0-9_]*)(?![A-Za-z0-9_])",
    re.IGNORECASE,
)

GGUF: Final = "gguf:"


def chosen(loader: str, paths: Collection[str], what: str) -> frozenset[str]:
    """Those of *paths* that *loader* reads.

    *what* they are of is for the `MirrorError` that is raised where it could not load them.
    """
    if loader.startswith(GGUF):
        return _gguf(loader.removeprefix(GGUF), paths, what)
    return _READERS[loader](paths, what)


def _transformers(paths: Collection[str], what: str) -> frozenset[str]:
    found = _folder(paths, "")
    if not any(_is_weights(path) for path in found):
        raise _no_weights(paths, what)
    templates = {path for path in paths if path.startswith(f"{_TEMPLATES}/")}
    return frozenset(found | templates)


def _sentence_transformers(paths: Collection[str], what: str) -> frozenset[str]:
    found = _folder(paths, "")
    for folder in _folders(paths):
        if _MODULE.match(folder.partition("/")[0]):
            found |= _folder(paths, folder)
    if not any(_is_weights(path) for path in found):
        raise _no_weights(paths, what)
    return frozenset(found)


def _diffusers(paths: Collection[str], what: str) -> frozenset[str]:
    if "model_index.json" not in paths:
        raise MirrorError(
            f"{what} has no model_index.json, so diffusers loads no pipeline from it.",
            hint="Leave --as out, or choose files with --include.",
        )
    found = {"model_index.json"} | {path for path in paths if re.match(r"[^/]+\.py\Z", path)}
    for folder in _folders(paths):
        if "/" not in folder:
            found |= _folder(paths, folder)
    return frozenset(found)


def _gguf(wanted: str, paths: Collection[str], what: str) -> frozenset[str]:
    named = re.compile(
        rf"(?<![A-Za-z0-9]){re.escape(wanted)}(?![A-Za-z0-9_])[^/]*(?:/[^/]*)?\.gguf\Z",
        re.IGNORECASE,
    )
    found = frozenset(path for path in paths if named.search(path))
    if found:
        return found
    there = {
        name[1].upper()
        for path in paths
        if path.endswith(".gguf") and (name := _QUANTISATION.search(path))
    }
    has = f"It has {', '.join(sorted(there))}." if there else "It has no GGUF file."
    raise MirrorError(f"{what} has no quantisation {wanted!r}.", hint=has)


_READERS: Final[Mapping[str, Callable[[Collection[str], str], frozenset[str]]]] = {
    "transformers": _transformers,
    "sentence-transformers": _sentence_transformers,
    "diffusers": _diffusers,
}


def _folder(paths: Iterable[str], folder: str) -> set[str]:
    """What is read of the files right in *folder*: all that is no weights, and the preferred of those."""
    inside = {posixpath.basename(path): path for path in paths if posixpath.dirname(path) == folder}
    found = {path for name, path in inside.items() if not _OTHERS.search(name)}
    for formats in (_WEIGHTS, _ADAPTER):
        found |= _preferred(inside, formats)
    return found


def _preferred(inside: Mapping[str, str], formats: Sequence[re.Pattern[str]]) -> set[str]:
    for form in formats:
        these = {path for name, path in inside.items() if form.match(name)}
        if any(not path.endswith(".json") for path in these):
            return these
    return set()


def _folders(paths: Iterable[str]) -> list[str]:
    return sorted({posixpath.dirname(path) for path in paths} - {""})


def _is_weights(path: str) -> bool:
    name = posixpath.basename(path)
    return any(form.match(name) for form in (*_WEIGHTS, *_ADAPTER)) and not name.endswith(".json")


def _no_weights(paths: Collection[str], what: str) -> MirrorError:
    there = sorted(
        path for path in paths if re.search(r"\.(?:h5|msgpack|onnx|gguf|pt|ckpt|bin)\Z", path)
    )
    has = f" It has {', '.join(there[:5])}." if there else ""
    return MirrorError(
        f"{what} has no weights that this loader reads: neither safetensors nor PyTorch's.{has}",
        hint="Leave --as out, or choose files with --include.",
    )
