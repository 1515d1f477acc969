"""What the operator writes is read as what is meant, and what means nothing is refused with the forms."""

import pytest

from mirror.errors import QuestionError
from mirror.names import Repo
from mirror.upkeep.naming import Named, NamedAddress, NamedBlob, NamedRepo, named

ENCODINGS = "openaipublic.blob.core.windows.net/encodings"
HEX = "ab" * 32


def _repo(name: str, revision: str = "") -> NamedRepo:
    return NamedRepo(Repo("huggingface", name), revision)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("acme/tiny-bert", _repo("models/acme/tiny-bert")),
        ("gpt2", _repo("models/gpt2")),
        ("model:acme/tiny", _repo("models/acme/tiny")),
        ("acme/tiny@v1.0", _repo("models/acme/tiny", "v1.0")),
        ("acme/tiny@refs/pr/1", _repo("models/acme/tiny", "refs/pr/1")),
        ("dataset:acme/words@main", _repo("datasets/acme/words", "main")),
        ("datasets/acme/words", _repo("datasets/acme/words")),
        ("space:acme/demo", _repo("spaces/acme/demo")),
        ("whisper:base", NamedAddress("/-/whisper/base", "", "whisper:base")),
        (
            "tfhub:google/yamnet/1",
            NamedAddress("/-/host/tfhub.dev/google/yamnet/1", "tf-hub-format=compressed", ""),
        ),
        (
            "tfhub:google/yamnet/tensorFlow2/yamnet/1",
            NamedAddress(
                "/-/host/www.kaggle.com/models/google/yamnet/tensorFlow2/yamnet/1",
                "tf-hub-format=compressed",
                "",
            ),
        ),
        ("torch:a-0123abcd.pth", NamedAddress("/-/torch/models/a-0123abcd.pth", "", "")),
        (
            "torchhub:acme/vision:v1",
            NamedAddress("/-/host/github.com/acme/vision/zipball/v1", "", ""),
        ),
        (
            "spacy:en_x==3.8.0",
            NamedAddress("/-/spacy/files/en_x-3.8.0-py3-none-any.whl", "", ""),
        ),
        (
            "tiktoken:cl100k_base",
            NamedAddress(f"/-/host/{ENCODINGS}/cl100k_base.tiktoken", "", ""),
        ),
        ("https://huggingface.co/acme/tiny", _repo("models/acme/tiny")),
        ("https://huggingface.co/datasets/acme/w/tree/v1", _repo("datasets/acme/w", "v1")),
        ("https://Host.example/a/b?c=d", NamedAddress("/-/host/host.example/a/b", "c=d", "")),
        ("http://mirror:8090/-/whisper/base", NamedAddress("/-/whisper/base", "", "")),
        ("/-/torch/models/x.pth", NamedAddress("/-/torch/models/x.pth", "", "")),
    ],
)
def test_named_is_what_people_mean(text: str, meant: Named) -> None:
    """Each form that the documents show."""
    read = named(text)
    if isinstance(read, NamedAddress) and isinstance(meant, NamedAddress):
        assert (read.path, read.query) == (meant.path, meant.query)
        assert str(read) == text
    else:
        assert read == meant


def test_named_blob_is_a_sha256() -> None:
    """Whole; part of one may mean several."""
    read = named(f"sha256:{HEX}")
    assert isinstance(read, NamedBlob)
    assert str(read) == f"sha256:{HEX}"


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "a b", "acme/tiny/extra", "acme//tiny", "../etc", "sha256:12", "http://host/x",
        "https://", "dataset:", "whisper:", "whisper:a b", "a\nb", "https://[", "x" * 9000, "acme/tiny@",
        "dataset:acme/words@", "nltk:punkt_tab", "spacy:en_x", "torchhub:acme/vision", "tiktoken:gpt2",
        "kaggle:a/b/c/d/1", "https://huggingface.co/docs/hub/index/x",
    ],
)  # fmt: skip
def test_named_nothing_is_refused_with_the_forms(text: str) -> None:
    """A sentence, and what can be written instead."""
    with pytest.raises(QuestionError) as caught:
        named(text)
    assert caught.value.hint
