"""What the upstream of the client tests publishes, and what each download of it must give.

The contents are made here, byte for byte the same in every run, so that a test compares what a
client got with what was published and not with what some server between the two believes.
"""

import dataclasses
import hashlib
import json
import random
import struct
from collections.abc import Mapping
from typing import Any

from tests.origin import Origin

READER = "hf_tokenA"
OTHER = "hf_tokenB"
WRONG = "hf_tokenWrong"

ODD_PATH = "sub dir/naïve file+1.txt"
ABSENT_COMMIT = "0" * 40

_WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "mirror", "keeps", "what", "it", "##s")


@dataclasses.dataclass(frozen=True, slots=True)
class Published:
    """One repo at the head of its main branch: its kind, id, commit and the bytes of each path."""

    kind: str
    repo_id: str
    commit: str
    contents: Mapping[str, bytes]

    def digests(self, *suffixes: str) -> dict[str, str]:
        """Give the sha256 of every path, or of those that end in one of the suffixes."""
        return {
            path: sha256(data)
            for path, data in self.contents.items()
            if not suffixes or path.endswith(suffixes)
        }


@dataclasses.dataclass(frozen=True, slots=True)
class World:
    """All that is published, and the older commit of `tiny` that clients also ask for."""

    tiny: Published
    tiny_first_commit: str
    tiny_first: Mapping[str, bytes]
    one_segment: Published
    forty: Published
    large: Published
    gated: Published
    private: Published
    table: Published
    space: Published
    downloads: tuple["Download", ...]

    def download(self, name: str) -> "Download":
        """Find a download by its name."""
        return next(download for download in self.downloads if download.name == name)


@dataclasses.dataclass(frozen=True, slots=True)
class Download:
    """One file that every client asks for, and what it must get.

    Attributes:
        name: What the tests call it.
        repo_id: One or two segments.
        path: Path in the repo, not encoded.
        kind: `model`, `dataset` or `space`.
        revision: Branch, tag, ref or commit; None is what the client takes by itself.
        token: Bearer token; None is anonymous.
        digest: sha256 of the bytes to expect, or None when the file must be refused.
        errors: Names of exceptions of huggingface_hub, any of which is the right refusal.
        offline_errors: The same while upstream cannot be asked.
    """

    name: str
    repo_id: str
    path: str
    kind: str = "model"
    revision: str | None = None
    token: str | None = None
    digest: str | None = None
    errors: tuple[str, ...] = ()
    offline_errors: tuple[str, ...] = ()

    def asked(self) -> dict[str, Any]:
        """Give what a scenario is told: all but the expectations."""
        return {
            "name": self.name,
            "repo_id": self.repo_id,
            "path": self.path,
            "kind": self.kind,
            "revision": self.revision,
            "token": self.token,
        }


def sha256(data: bytes) -> str:
    """Give the hex sha256 of some bytes."""
    return hashlib.sha256(data).hexdigest()


def noise(name: str, size: int) -> bytes:
    """Give `size` bytes that do not compress, always the same for a name."""
    return random.Random(name).randbytes(size)


def safetensors(name: str, shapes: Mapping[str, tuple[int, ...]]) -> bytes:
    """Give a valid safetensors file of float32 tensors, so that its header can be parsed.

    The format: eight bytes of little-endian header length, a JSON header, the tensors in order.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for tensor, shape in shapes.items():
        size = 4
        for length in shape:
            size *= length
        span = [offset, offset + size]
        header[tensor] = {"dtype": "F32", "shape": list(shape), "data_offsets": span}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + noise(name, offset)


def publish(origin: Origin) -> World:
    """Publish every repo that the clients ask for, tables of other formats excepted."""
    origin.tokens = {READER: "alice", OTHER: "bob"}
    first = _tiny_bert()
    tiny = origin.add_repo(
        "models",
        "acme/tiny-bert",
        files=dict(first),
        tags={"v1": "main"},
        refs={"refs/pr/1": first | {"config.json": b'{"proposed": true}'}},
        renamed_from=("acme/old-name",),
    )
    first_commit = tiny.commit
    second = {path: data for path, data in first.items() if path != "gone.txt"}
    second["config.json"] = _bert_config(layers=2)
    tiny.push({"config.json": second["config.json"], "gone.txt": None}, message="two layers")

    contents: dict[str, tuple[str, str, dict[str, bytes], dict[str, Any]]] = {
        "one_segment": ("models", "gpt2", {"config.json": b'{"model_type": "gpt2"}'}, {}),
        "forty": ("models", "acme/forty", _forty(), {}),
        "large": ("models", "acme/large", {"model.safetensors": noise("large", 24_000_000)}, {}),
        "gated": (
            "models",
            "acme/gated",
            {"config.json": b'{"gated": true}', "model.safetensors": noise("gated", 300_000)},
            {"gated": "auto", "readers": (READER,)},
        ),
        "private": (
            "models",
            "acme/private",
            {"config.json": b'{"private": true}', "model.safetensors": noise("private", 300_000)},
            {"private": True, "readers": (READER,)},
        ),
        "table": ("datasets", "acme/csvset", _csv_table(), {}),
        "space": ("spaces", "acme/demo", {"app.py": b"print('demo')\n"}, {}),
    }
    published = {}
    for name, (kind, repo_id, files, access) in contents.items():
        repo = origin.add_repo(kind, repo_id, files=dict(files), **access)
        published[name] = Published(kind, repo_id, repo.commit, files)
    # Asked for only while upstream is away: nothing may be known of it.
    origin.add_repo("models", "acme/untouched", files={"config.json": b"{}"})

    return World(
        tiny=Published("models", "acme/tiny-bert", tiny.commit, second),
        tiny_first_commit=first_commit,
        tiny_first=first,
        downloads=_downloads(second, first, first_commit, published),
        **published,
    )


def _downloads(
    tiny: Mapping[str, bytes],
    tiny_first: Mapping[str, bytes],
    first_commit: str,
    published: Mapping[str, Published],
) -> tuple[Download, ...]:
    """List the single files that every client asks for; readers come before strangers."""
    name = "acme/tiny-bert"
    absent = ("LocalEntryNotFoundError",)
    unknown = "RepositoryNotFoundError"
    away = (unknown, "RevisionNotFoundError", *absent)
    rejected = ("HfHubHTTPError", unknown, *absent)
    plain = {
        "small": "config.json",
        "lfs": "model.safetensors",
        "lfs-in-folder": "onnx/model.onnx",
        "odd-name": ODD_PATH,
        "empty": "empty.txt",
    }
    present = [Download(key, name, path, digest=sha256(tiny[path])) for key, path in plain.items()]
    first_config = sha256(tiny_first["config.json"])
    revised = {
        "tag": ("v1", first_config),
        "commit": (first_commit, first_config),
        "pull-request": ("refs/pr/1", sha256(b'{"proposed": true}')),
    }
    present += [
        Download(key, name, "config.json", revision=revision, digest=digest)
        for key, (revision, digest) in revised.items()
    ]
    elsewhere = {
        "renamed": ("acme/old-name", "config.json", "model", tiny),
        "one-segment": ("gpt2", "config.json", "model", published["one_segment"].contents),
        "dataset": ("acme/csvset", "data/train.csv", "dataset", published["table"].contents),
        "space": ("acme/demo", "app.py", "space", published["space"].contents),
    }
    present += [
        Download(key, repo_id, path, kind=kind, digest=sha256(files[path]))
        for key, (repo_id, path, kind, files) in elsewhere.items()
    ]
    missing = [
        Download(
            "missing-file",
            name,
            "nope.json",
            errors=("EntryNotFoundError",),
            offline_errors=("EntryNotFoundError",),
        ),
        Download(
            "missing-revision",
            name,
            "config.json",
            revision="nowhere",
            errors=("RevisionNotFoundError",),
            offline_errors=away,
        ),
        Download(
            "missing-repo",
            "acme/nothing-here",
            "config.json",
            errors=(unknown,),
            offline_errors=away,
        ),
    ]
    guarded: list[Download] = []
    for repo, refused, refused_offline in (
        ("gated", ("GatedRepoError",), ("GatedRepoError",)),
        ("private", (unknown,), absent),
    ):
        for path, label in (("config.json", "small"), ("model.safetensors", "lfs")):
            digest = sha256(published[repo].contents[path])
            repo_id = f"acme/{repo}"
            key = f"{repo}-{label}"
            guarded += [
                Download(f"{key}-reader", repo_id, path, token=READER, digest=digest),
                *(
                    Download(
                        f"{key}-{who}",
                        repo_id,
                        path,
                        token=token,
                        errors=refused,
                        offline_errors=refused_offline,
                    )
                    for who, token in (("other", OTHER), ("anonymous", None))
                ),
                Download(
                    f"{key}-wrong",
                    repo_id,
                    path,
                    token=WRONG,
                    errors=rejected,
                    offline_errors=(*refused_offline, *rejected),
                ),
            ]
    return (*present, *missing, *guarded)


def _tiny_bert() -> dict[str, bytes]:
    """Make a model that transformers can configure and tokenise with, and files of odd kinds."""
    vocabulary = {word: number for number, word in enumerate(_WORDS)}
    special = [
        {
            "id": number,
            "content": word,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for word, number in vocabulary.items()
        if word.startswith("[")
    ]
    ends = {
        token: {"id": token, "ids": [vocabulary[token]], "tokens": [token]}
        for token in ("[CLS]", "[SEP]")
    }
    sentence = [
        {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
    ]
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": sentence,
            "pair": [
                *sentence,
                {"Sequence": {"id": "B", "type_id": 1}},
                {"SpecialToken": {"id": "[SEP]", "type_id": 1}},
            ],
            "special_tokens": ends,
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": vocabulary,
        },
    }
    named = {
        "unk_token": "[UNK]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
    }
    return {
        "README.md": b"---\nlicense: apache-2.0\ntags:\n- tiny\n---\n# Tiny\n",
        "config.json": _bert_config(layers=1),
        "tokenizer.json": json.dumps(tokenizer).encode(),
        "tokenizer_config.json": json.dumps(
            {"tokenizer_class": "BertTokenizer", "model_max_length": 64, **named},
        ).encode(),
        "special_tokens_map.json": json.dumps(named).encode(),
        "vocab.txt": "".join(f"{word}\n" for word in _WORDS).encode(),
        "model.safetensors": safetensors(
            "tiny",
            {"bert.embeddings.weight": (1000, 768), "bert.pooler.weight": (64, 64)},
        ),
        "onnx/model.onnx": noise("onnx", 300_000),
        ODD_PATH: "naïve\n".encode(),
        "empty.txt": b"",
        "gone.txt": b"only in the first commit\n",
    }


def _bert_config(*, layers: int) -> bytes:
    """Make a config.json that AutoConfig takes for BERT."""
    config = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "vocab_size": len(_WORDS),
        "hidden_size": 32,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
    }
    return json.dumps(config, indent=2).encode()


def _forty() -> dict[str, bytes]:
    """Make 40 files of distinct content: 35 small ones and 5 that are kept as LFS."""
    small = {f"part/{number:02}.json": b'{"part": %d}' % number for number in range(35)}
    stored = {f"shard-{number}.bin": noise(f"shard {number}", 200_000) for number in range(5)}
    return small | stored


def _csv_table() -> dict[str, bytes]:
    """Make a dataset of two splits."""
    head = "text,label\n"
    train = head + "".join(f"row {number},{number % 2}\n" for number in range(50))
    test = head + "".join(f"row {number},{number % 2}\n" for number in range(50, 60))
    return {
        "README.md": b"# A table\n",
        "data/train.csv": train.encode(),
        "data/test.csv": test.encode(),
    }
