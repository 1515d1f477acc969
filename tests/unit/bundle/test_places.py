"""Where clients look, by the variables of the app."""

import pytest

from mirror.bundle.places import Places, common_root
from mirror.errors import QuestionError
from mirror.targets import Kind


def paths(variables: dict[str, str], kind: Kind, root: str = "/app", url: str = "") -> list[str]:
    """The folders for *kind* below the root."""
    return [folder.path for folder in Places(variables, root).caches(kind, url)]


@pytest.mark.parametrize(
    ("variables", "kind", "found"),
    [
        ({}, Kind.MODEL, ["huggingface/hub"]),
        ({"XDG_CACHE_HOME": "/app/c"}, Kind.MODEL, ["c/huggingface/hub"]),
        ({"XDG_CACHE_HOME": "/app/c", "HF_HOME": "/app/h"}, Kind.MODEL, ["h/hub"]),
        ({"HF_HOME": "/app/h", "HUGGINGFACE_HUB_CACHE": "/app/g"}, Kind.MODEL, ["g"]),
        ({"HUGGINGFACE_HUB_CACHE": "/app/g", "HF_HUB_CACHE": "/app/f"}, Kind.MODEL, ["f"]),
        ({"HOME": "/app"}, Kind.MODEL, [".cache/huggingface/hub"]),
        ({"HF_HOME": "/app/h", "TRANSFORMERS_CACHE": "/app/t"}, Kind.MODEL, ["h/hub", "t"]),
        ({"HF_HUB_CACHE": "/app/x", "TRANSFORMERS_CACHE": "/app/x/"}, Kind.MODEL, ["x"]),
        ({"TRANSFORMERS_CACHE": "/app/t"}, Kind.MODEL, ["t"]),
        ({"TRANSFORMERS_CACHE": "/app/t"}, Kind.DATASET, ["huggingface/hub"]),
        ({"SENTENCE_TRANSFORMERS_HOME": "/app/s"}, Kind.MODEL, ["s"]),
        ({}, Kind.WHISPER, ["whisper"]),
        ({"XDG_CACHE_HOME": "/app"}, Kind.WHISPER, ["whisper"]),
        ({"HOME": "/app"}, Kind.WHISPER, [".cache/whisper"]),
        ({}, Kind.TORCH, ["torch/hub"]),
        ({"TORCH_HOME": "/app/t", "XDG_CACHE_HOME": "/app/c"}, Kind.TORCH, ["t/hub"]),
        ({}, Kind.TFHUB, ["tfhub"]),
        ({"TFHUB_CACHE_DIR": "rel/x"}, Kind.TFHUB, ["rel/x"]),
        ({"KAGGLEHUB_CACHE": "/app/k"}, Kind.KAGGLE, ["k/models"]),
        ({"DATA_GYM_CACHE_DIR": "/app/d"}, Kind.TIKTOKEN, ["d"]),
        ({"NLTK_DATA": "/app/n:/usr/share"}, Kind.NLTK, ["n"]),
        ({"PIP_FIND_LINKS": "http://mirror/-/spacy/files/"}, Kind.SPACY, ["wheels"]),
        ({"HF_HOME": "~/h", "HOME": "/app/me"}, Kind.MODEL, ["me/h/hub"]),
        ({"A": "/app/a", "HF_HOME": "${A}/h"}, Kind.MODEL, ["a/h/hub"]),
    ],
)
def test_a_folder_is_the_one_that_its_client_reads(
    variables: dict[str, str], kind: Kind, found: list[str]
) -> None:
    """The first variable that is set decides; each cache that a variable names is one."""
    assert paths(variables, kind) == found


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://download.pytorch.org/models/x.pth", ["torch/hub"]),
        ("https://storage.googleapis.com/tensorflow/keras-applications/r/x.h5", ["keras/models"]),
        ("https://openaipublic.azureedge.net/main/whisper/models/0/x.pt", ["whisper"]),
        ("https://github.com/o/r/raw/main/x.onnx", []),
    ],
)
def test_a_host_whose_files_one_client_keeps_has_its_folder(url: str, found: list[str]) -> None:
    """For all others a place must be said."""
    assert paths({}, Kind.URL, url=url) == found


def test_a_home_that_nobody_knows_is_asked_for() -> None:
    """It is the app's, and not that of whoever exports."""
    with pytest.raises(QuestionError, match="--set HOME=PATH"):
        paths({"HF_HOME": "~/h"}, Kind.MODEL)


def test_what_is_to_be_set_leads_there() -> None:
    """The variable that is named, or the one that should be."""
    (folder,) = Places({"HF_HOME": "/app/h"}, "/app").caches(Kind.MODEL)
    assert (folder.variable, folder.value) == ("HF_HOME", "h")
    (folder,) = Places({}, "/app").caches(Kind.KAGGLE)
    assert (folder.variable, folder.value) == ("KAGGLEHUB_CACHE", "kagglehub")


@pytest.mark.parametrize(
    ("variables", "wanted", "root"),
    [
        ({}, [(Kind.MODEL, "", "")], "/out"),
        ({"HF_HOME": "/a/b/h"}, [(Kind.MODEL, "", "")], "/a/b/h"),
        ({"HF_HOME": "/a/h", "TORCH_HOME": "/a/t"}, [(Kind.MODEL, "", ""), (Kind.TORCH, "", "")], "/a"),
        ({"HF_HOME": "/a/h", "TORCH_HOME": "/b"}, [(Kind.MODEL, "", "")], "/a/h"),
        ({"HF_HOME": "rel"}, [(Kind.MODEL, "", "")], "/out"),
        ({}, [(Kind.MODEL, "", "/a/models")], "/a/models"),
        ({}, [(Kind.WHISPER, "", "/a/models/x.pt")], "/a/models"),
        ({}, [(Kind.WHISPER, "", "/a/models/")], "/a/models"),
        ({"B": "/a"}, [(Kind.TORCH, "", "$B/t/"), (Kind.MODEL, "", "/a/m")], "/a"),
        ({"HF_HOME": "/a", "TORCH_HOME": "/b"}, [(Kind.MODEL, "", ""), (Kind.TORCH, "", "")], "/"),
    ],
)  # fmt: skip
def test_the_root_is_above_all_that_is_wanted(
    variables: dict[str, str], wanted: list[tuple[Kind, str, str]], root: str
) -> None:
    """And of nothing else: variables that no target needs do not count."""
    assert common_root(variables, wanted, "/out") == root


@pytest.mark.parametrize("path", ["/b", "../x", "/app/../b", "a\\b", "$NO/x"])
def test_what_leads_out_of_the_root_is_refused(path: str) -> None:
    """Or has no meaning."""
    with pytest.raises(QuestionError):
        Places({}, "/app").below(path)
