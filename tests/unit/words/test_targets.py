"""Targets as people write them."""

import pytest

from mirror.targets import Kind, Target, TargetError, placed

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("text", "kind", "name", "revision"),
    [
        ("org/name", Kind.MODEL, "org/name", ""),
        ("gpt2", Kind.MODEL, "gpt2", ""),
        ("org/name.v1-x_y@refs/pr/3", Kind.MODEL, "org/name.v1-x_y", "refs/pr/3"),
        (f"dataset:org/name@{COMMIT}", Kind.DATASET, "org/name", COMMIT),
        ("space:org/name@v1.0", Kind.SPACE, "org/name", "v1.0"),
        ("whisper:large-v3", Kind.WHISPER, "large-v3", ""),
        ("torch:resnet18-f37072fd.pth", Kind.TORCH, "resnet18-f37072fd.pth", ""),
        (
            "torch:quantized/resnet18_fbgemm_16fa66dd.pth",
            Kind.TORCH,
            "quantized/resnet18_fbgemm_16fa66dd.pth",
            "",
        ),
        ("torchhub:pytorch/vision", Kind.TORCHHUB, "pytorch/vision", ""),
        ("torchhub:pytorch/vision:v0.10.0", Kind.TORCHHUB, "pytorch/vision", "v0.10.0"),
        ("tfhub:google/yamnet/1", Kind.TFHUB, "google/yamnet/1", ""),
        (
            "tfhub:google/imagenet/mobilenet_v2_100_224/classification/5",
            Kind.TFHUB,
            "google/imagenet/mobilenet_v2_100_224/classification/5",
            "",
        ),
        (
            "kaggle:google/yamnet/tensorFlow2/yamnet/1",
            Kind.KAGGLE,
            "google/yamnet/tensorFlow2/yamnet/1",
            "",
        ),
        ("tiktoken:cl100k_base", Kind.TIKTOKEN, "cl100k_base", ""),
        ("nltk:punkt_tab", Kind.NLTK, "punkt_tab", ""),
        ("spacy:de_core_news_lg", Kind.SPACY, "de_core_news_lg", ""),
        ("spacy:de-core-news-lg==3.8.0", Kind.SPACY, "de_core_news_lg", "3.8.0"),
        ("https://github.com/o/r/raw/main/x.onnx", Kind.URL, "https://github.com/o/r/raw/main/x.onnx", ""),
    ],
)  # fmt: skip
def test_targets_are_read_as_they_are_written(
    text: str, kind: Kind, name: str, revision: str
) -> None:
    """Each form means what the table says, and is written so that it is read the same again."""
    target = Target.parse(text)
    assert (target.kind, target.name, target.revision) == (kind, name, revision)
    assert Target.parse(str(target)) == target


@pytest.mark.parametrize(
    ("url", "text", "include"),
    [
        ("https://huggingface.co/org/name", "org/name", ()),
        ("https://hf-mirror.com/org/name/tree/v1", "org/name@v1", ()),
        ("https://huggingface.co/datasets/org/name", "dataset:org/name", ()),
        (
            "https://huggingface.co/org/name/resolve/main/a/b%5B1%5D.onnx?download=true",
            "org/name@main",
            ("a/b[[]1].onnx",),
        ),
        ("https://tfhub.dev/google/yamnet/1", "tfhub:google/yamnet/1", ()),
        (
            "https://www.kaggle.com/models/google/yamnet/frameworks/tensorFlow2/variations/yamnet/versions/1",
            "tfhub:google/yamnet/tensorFlow2/yamnet/1",
            (),
        ),
    ],
)
def test_addresses_of_repos_and_handles_are_what_they_mean(
    url: str, text: str, include: tuple[str, ...]
) -> None:
    """As they are copied out of a browser."""
    target = Target.parse(url)
    assert (str(target), target.include) == (text, include)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "a b", "org/name/more", "org/../name", "../x", "org/name@", "org/name@a..b", "-x/y",
        "org/name@a b", "wisper:base", "whisper:", "whisper:../base", "torch:../x.pth", "torch:x.exe",
        "torchhub:vision", "torchhub:pytorch/vision:", "tfhub:yamnet", "tfhub:google/../1",
        "kaggle:google/yamnet/1", "kaggle:google/yamnet/tensorFlow2/yamnet/new", "spacy:De", "spacy:x==",
        "spacy:de_core==3/8", "nltk:a/b", "http://mirror/x.onnx", "https://host", "https://h@ost/x",
        "https://huggingface.co/", "url:https://x/y", "space:name",
    ],
)  # fmt: skip
def test_what_is_no_target_is_refused_with_one_that_is(text: str) -> None:
    """The sentence shows how such a target is written."""
    with pytest.raises(TargetError) as refused:
        Target.parse(text)
    assert refused.value.hint


@pytest.mark.parametrize(
    ("text", "target", "place"),
    [
        ("org/name", "org/name", ""),
        ("org/name=/app/models", "org/name", "/app/models"),
        ("org/name@v1=$HOME/x", "org/name@v1", "$HOME/x"),
        ("spacy:x==3.8.0", "spacy:x==3.8.0", ""),
        ("spacy:x==3.8.0=wheels/", "spacy:x==3.8.0", "wheels/"),
        ("spacy:x=wheels/a=b", "spacy:x", "wheels/a=b"),
        ("https://h/x.onnx=models/", "https://h/x.onnx", "models/"),
        ("https://h/x?download=true", "https://h/x?download=true", ""),
        ("https://h/x?a=1&b=2=models/y", "https://h/x?a=1&b=2", "models/y"),
    ],
)
def test_a_place_is_what_follows_the_equals_sign(text: str, target: str, place: str) -> None:
    """But not one of a version or a query."""
    assert placed(text) == (target, place)


@pytest.mark.parametrize(
    ("text", "pinned"),
    [
        ("org/name", False),
        (f"org/name@{COMMIT}", True),
        (f"org/name@{COMMIT[:12]}", False),
        ("whisper:base", True),
        ("tfhub:google/yamnet/1", True),
        ("tfhub:google/yamnet", False),
        ("torchhub:a/b:main", False),
        (f"torchhub:a/b:{COMMIT}", True),
        ("nltk:punkt", False),
        ("spacy:de_core", False),
        ("spacy:de_core==1.0", True),
        ("https://h/o/r/raw/main/x.onnx", False),
        (f"https://h/o/r/raw/{COMMIT}/x.onnx", True),
        ("https://github.com/o/r/releases/download/v1/x.pt", True),
        ("https://h/resnet-0123abcd.pth", True),
        ("https://h/resnet-20240131.pth", False),
    ],
)
def test_a_target_is_pinned_where_its_name_says_which_bytes(text: str, *, pinned: bool) -> None:
    """What may mean others tomorrow is not."""
    assert Target.parse(text).pinned is pinned


def test_globs_are_for_repos_alone() -> None:
    """A file has no files to choose from."""
    assert Target.parse("a/b").only(("*.json",), ("x",)).include == ("*.json",)
    assert Target.parse("whisper:base").only(("*.json",), ()).include == ()
