"""A small hub for people to point a mirror at: one repo for each case that a hub can show."""

import json
import random

from tests.origin.content import Sparse
from tests.origin.origin import Origin

demo_tokens = {"hf_alice": "alice", "hf_bob": "bob"}
_attributes = b"".join(
    f"{pattern} filter=lfs diff=lfs merge=lfs -text\n".encode()
    for pattern in ("*.safetensors", "*.bin", "*.parquet", "*.onnx", "*.gguf")
)


def fill(origin: Origin) -> None:
    """Add the demo's tokens and repos to a started origin."""
    dice = random.Random(7)
    config = json.dumps({"architectures": ["BertModel"], "model_type": "bert"}, indent=2).encode()
    weights = dice.randbytes(3 << 20)
    origin.tokens = demo_tokens
    tiny = origin.add_repo(
        "models",
        "acme/tiny-bert",
        {
            ".gitattributes": _attributes,
            "README.md": b"---\nlicense: mit\n---\n# tiny-bert\n",
            "config.json": config,
            "empty.txt": b"",
            "model.safetensors": weights,
            "onnx/model.onnx": dice.randbytes(300_000),
            "vocab.txt": b"[PAD]\n[UNK]\nhello\nworld\n",
        },
        refs={"refs/pr/1": {"config.json": config + b"\n"}},
        renamed_from=["acme/old-name"],
        info={"pipeline_tag": "feature-extraction", "tags": ["transformers", "region:us"]},
    )
    origin.tag(tiny, "v1", "main")
    tiny.push(
        {"README.md": b"---\nlicense: mit\n---\n# tiny-bert, second edition\n"}, "Edit README"
    )
    origin.add_repo("models", "tiny-gpt", {"config.json": config, "pytorch_model.bin": weights})
    origin.add_repo(
        "models",
        "acme/gated",
        {"config.json": config, "model.safetensors": dice.randbytes(200_000)},
        gated="manual",
        readers=["hf_alice"],
    )
    origin.add_repo(
        "models", "acme/private", {"config.json": config}, private=True, readers=["hf_alice"]
    )
    origin.add_repo(
        "models",
        "acme/large",
        {"config.json": config, "model.safetensors": Sparse(512 << 20, stamped=True)},
    )
    origin.add_repo("models", "acme/tiny-gguf", {"tiny-Q4_K_M.gguf": dice.randbytes(1 << 20)})
    origin.add_repo(
        "models", "acme/wide", {f"part-{n // 100:02}/{n:04}.txt": b"%d\n" % n for n in range(2550)}
    )
    rows = dice.randbytes(50_000)
    origin.add_repo(
        "datasets",
        "acme/books",
        {"README.md": b"# books\n", "data/train.csv": b"id,title\n1,One\n2,Two\n"},
        refs={"refs/convert/parquet": {"default/train/0000.parquet": rows}},
    )
    origin.add_repo("spaces", "acme/show", {"index.html": b"<h1>show</h1>\n"})
    origin.add_repo("kernels", "acme/activation", {"build/torch/kernel.bin": rows})
