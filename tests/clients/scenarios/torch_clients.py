"""Whisper, torch.hub, tiktoken and what takes its models from the Hub, called as their users call them.

The task names the clients to run and where each is to look; what it does not name is left out.
"""
# mypy: ignore-errors

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from tests.clients.scenarios.report import Report, digest, digests, task

_HOME = Path.home()
_CACHE = Path(os.environ.get("XDG_CACHE_HOME", _HOME / ".cache"))

#: What tiktoken expects of it.
_CL100K = "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"


def whisper(url):
    """Load `base`; only the address in its table is another one: its digest is that of the stand-in."""
    import whisper as client  # noqa: PLC0415

    client._MODELS["base"] = url
    model = client.load_model("base", device="cpu")
    heads = model.alignment_heads.indices().shape[1]
    return [digest(_CACHE / "whisper" / "base.pt"), model.dims.n_text_layer, heads]


def checkpoint(url):
    """Load a checkpoint whose name says how its sha256 begins."""
    from torch.hub import load_state_dict_from_url  # noqa: PLC0415

    return load_state_dict_from_url(url, check_hash=True)["weight"].tolist()


def repo(names):
    """Load an entry point of a repository: of its branch, of a tag, and of its branch again."""
    from torch import hub  # noqa: PLC0415

    return [hub.load(name, "number", trust_repo=True) for name in names]


def encoding(url):
    """Encode with cl100k_base, and count its tokens where another address is named."""
    import tiktoken  # noqa: PLC0415
    from tiktoken.load import load_tiktoken_bpe  # noqa: PLC0415

    if url:
        return len(load_tiktoken_bpe(url, expected_hash=_CL100K))
    return tiktoken.get_encoding("cl100k_base").encode("A mirror keeps what it has seen.")


def speaker(where):
    """Fetch every file of a speaker model and embed a second of silence with it."""
    import torch  # noqa: PLC0415
    from speechbrain.inference.speaker import EncoderClassifier  # noqa: PLC0415
    from speechbrain.utils.fetching import fetch  # noqa: PLC0415

    saved = _HOME / where["source"].rpartition("/")[2]
    model = EncoderClassifier.from_hparams(
        source=where["source"],
        savedir=str(saved),
        # By itself it looks for the weights on the Hub, wherever its settings come from.
        overrides={"pretrained_path": where["source"]},
        run_opts={"device": "cpu"},
    )
    for name in where["more"]:
        fetch(name, where["source"], savedir=saved)
    embedding = model.encode_batch(torch.zeros(1, 16000))
    found = digests(saved)
    # The label encoder is saved under another name than the file has.
    found["label_encoder.txt"] = found.pop("label_encoder.ckpt")
    return [list(embedding.shape), found]


def folder(where):
    """Have the same of a flat folder of its files."""
    return speaker(where)


def fetched(where):
    """Fetch every file of a speaker model, one by one, without loading it."""
    from speechbrain.utils.fetching import fetch  # noqa: PLC0415

    saved = _HOME / "fetched"
    for name in where["names"]:
        fetch(name, where["source"], savedir=saved)
    return digests(saved)


def sentences(name):
    """Embed with sentence-transformers of the old cache, one flat folder for a model."""
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415

    vectors = SentenceTransformer(name, device="cpu").encode(["a mirror keeps what its"])
    folder = Path(
        os.environ.get("SENTENCE_TRANSFORMERS_HOME", _CACHE / "torch/sentence_transformers")
    )
    return [list(vectors.shape), digests(folder / name.replace("/", "_"))]


def formulas(where):
    """Download a model of Pix2Text as its `prepare_model_files` does.

    Its package cannot be imported beside the CPU build of torch: the file of its downloader is loaded alone.
    """
    package = Path(importlib.util.find_spec("pix2text").origin).parent
    spec = importlib.util.spec_from_file_location("hf_downloader", package / "hf_downloader.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = Path(os.environ.get("PIX2TEXT_HOME", _HOME / ".pix2text")) / "1.1" / "mfr-1.5-onnx"
    if not module.dir_has_files(folder):
        asked = module.HuggingFaceDownloader(mirror_urls=where["mirror"])
        assert asked.download(where["repo"], folder)
    return digests(folder)


def voice(asked):
    """Download a voice by Piper's own command, which leaves what is in the folder as it is."""
    folder = _HOME / asked.get("folder", "voices")
    command = [sys.executable, "-m", "piper.download_voices", asked["name"], "--data-dir", folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return digests(folder)


_CLIENTS = (
    whisper,
    checkpoint,
    repo,
    encoding,
    speaker,
    folder,
    fetched,
    sentences,
    formulas,
    voice,
)


def main():
    """Run what the task names."""
    asked = task()
    report = Report()
    for client in _CLIENTS:
        if client.__name__ in asked:
            report.case(client.__name__, lambda client=client: client(asked[client.__name__]))
    report.send()


if __name__ == "__main__":
    main()
