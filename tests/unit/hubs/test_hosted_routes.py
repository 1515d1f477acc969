"""What each address of a model host is: proven, pinned, moving or regenerated."""

from typing import Final

import pytest

from mirror.digest import Check
from mirror.errors import QuestionError
from mirror.hubs import registry
from mirror.hubs.github import _digest, _pointed_at
from mirror.hubs.hosted import Hosted
from mirror.hubs.places import HostedDocument, HostedFile, Kind, Route, Told
from mirror.messages import RequestHead

COMMIT: Final = "0123456789" * 4
OID: Final = "ab" * 32
SPACY: Final = "explosion/spacy-models"
POINTER: Final = (
    b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 12\n" % OID.encode()
)


def route(place: str) -> tuple[str, Route]:
    """The family that answers for *place*, and what it is."""
    path, _, query = place.partition("?")
    head = RequestHead("GET", f"/-/host/{path}", query, {}, None, "http://mirror")
    for family in registry.FAMILIES:
        question = Hosted(family, 60.0).recognise(head, b"")
        if question is not None:
            assert isinstance(question, HostedFile | HostedDocument)
            assert question.anonymous
            return family.name, question.route
    raise AssertionError(f"nobody answers for {place}")


@pytest.mark.parametrize(
    ("place", "family", "kind"),
    [
        ("openaipublic.blob.core.windows.net/encodings/o200k_base.tiktoken", "tiktoken", "proven"),
        (f"openaipublic.azureedge.net/main/whisper/models/{OID}/base.pt", "whisper", "proven"),
        (f"openaipublic.azureedge.net/clip/models/{OID}/ViT-B-32.pt", "whisper", "proven"),
        ("download.pytorch.org/models/resnet18-f37072fd.pth", "torch", "pinned"),
        ("dl.fbaipublicfiles.com/dino/dino_deitsmall16_pretrain.pth", "fbaipublicfiles", "pinned"),
        ("storage.googleapis.com/vit_models/augreg/Ti_16.npz", "vision_transformers", "pinned"),
        ("tfhub.dev/google/yamnet/1?tf-hub-format=compressed", "tfhub", "pinned"),
        ("tfhub.dev/google/yamnet?tf-hub-format=compressed", "tfhub", "moving"),
        ("tfhub.dev/google/imagenet/net_v2/feature_vector/5?lite-format=tflite", "tfhub", "pinned"),
        ("tfhub.dev/google/tfjs-model/net/1/model.json?tfjs-format=file", "tfhub", "pinned"),
        ("tfhub.dev/google/tfjs-model/net/model.json?tfjs-format=file", "tfhub", "moving"),
        ("www.kaggle.com/models/o/m/tensorFlow2/v/3?tf-hub-format=compressed", "tfhub", "pinned"),
        ("www.kaggle.com/models/o/m/tensorFlow2/v?tf-hub-format=compressed", "tfhub", "moving"),
        (
            "www.kaggle.com/models/o/m/frameworks/tfJs/variations/v/versions/1?tfjs-format=compressed",
            "tfhub",
            "pinned",
        ),
        ("www.kaggle.com/api/v1/models/o/m/jax/v/3/download", "kaggle", "pinned"),
        ("www.kaggle.com/api/v1/models/o/m/jax/v/3/download/a%20b/c.txt", "kaggle", "pinned"),
        ("www.kaggle.com/api/v1/models/o/m/jax/v/3/files?page_size=25", "kaggle", "pinned"),
        ("www.kaggle.com/api/v1/models/o/m/jax/v/files", "kaggle", "moving"),
        ("www.kaggle.com/api/v1/models/o/m/jax/v/get", "kaggle", "moving"),
        ("registry.ollama.ai/v2/library/llama3.2/manifests/3b", "ollama", "moving"),
        (f"registry.ollama.ai/v2/library/llama3.2/blobs/sha256:{OID}", "ollama", "proven"),
        (f"registry.ollama.ai/v2/me/model/blobs/sha256-{OID}", "ollama", "proven"),
        (f"raw.githubusercontent.com/{SPACY}/master/compatibility.json", "spacy", "moving"),
        (f"raw.githubusercontent.com/{SPACY}/master/meta/en_web-3.8.0.json", "spacy", "moving"),
        (f"raw.githubusercontent.com/{SPACY}/master/README.md", "github", "moving"),
        (
            f"github.com/{SPACY}/releases/download/en_web-3.8.0/en_web-3.8.0-py3-none-any.whl",
            "spacy",
            "pinned",
        ),
        (
            f"github.com/{SPACY}/releases/download/en_web-2.0.0/en_web-2.0.0.tar.gz",
            "spacy",
            "pinned",
        ),
        (f"github.com/{SPACY}/releases/download/en_web-2.0.0/other.tar.gz", "github", "pinned"),
        ("raw.githubusercontent.com/nltk/nltk_data/gh-pages/index.xml", "nltk", "moving"),
        ("github.com/o/r/releases/download/v1/m.pt", "github", "pinned"),
        ("github.com/o/r/releases/latest/download/m.pt", "github", "moving"),
        (f"github.com/o/r/raw/{COMMIT}/m.pt", "github", "pinned"),
        ("github.com/o/r/raw/refs/heads/main/m.pt", "github", "moving"),
        ("github.com/o/r/blob/v1/m.pt?raw=true", "github", "moving"),
        (f"raw.githubusercontent.com/o/r/{COMMIT}/m.pt", "github", "pinned"),
        (f"media.githubusercontent.com/media/o/r/{COMMIT}/m.pt", "github", "pinned"),
        (f"github.com/o/r/zipball/{COMMIT}", "github", "regenerated"),
        (f"github.com/o/r/archive/{COMMIT}.zip", "github", "regenerated"),
        (f"codeload.github.com/o/r/legacy.zip/{COMMIT}", "github", "regenerated"),
        ("github.com/o/r/zipball/v1.0", "github", "moving"),
        (f"github.com/o/r/zipball/{COMMIT[:7]}", "github", "moving"),
        ("github.com/o/r/archive/refs/heads/main.tar.gz", "github", "moving"),
        ("github.com/o/r/tree/main/", "github", "moving"),
        ("api.github.com/repos/o/r/branches?per_page=100&page=2", "github", "moving"),
        ("api.github.com/repos/o/r/releases/latest", "github", "moving"),
    ],
)
def test_each_address_is_of_one_kind(place: str, family: str, kind: str) -> None:
    """Whoever answers for it says what may become of it."""
    found, said = route(place)
    assert (found, said.kind) == (family, Kind(kind))


@pytest.mark.parametrize(
    "place",
    [
        "github.com/o/r",
        "github.com/o/r/actions/runs/1",
        "github.com/o/r/blob/main/m.pt",
        "github.com/o/r/releases/tag/v1",
        "raw.githubusercontent.com/o/r/main",
        "media.githubusercontent.com/o/r/main/m.pt",
        "codeload.github.com/o/r/other/main",
        "api.github.com/user",
        "api.github.com/repos/o/r/contents/x",
        "api.github.com/repos/o/r/tags?access_token=x",
        "download.pytorch.org/whl/cpu/torch.whl",
        "registry.ollama.ai/v2/library/llama3.2/tags/list",
        "registry.ollama.ai/v2/library/llama3.2/blobs/sha256:abc",
        "registry.ollama.ai/v2/",
        "www.kaggle.com/api/v1/models/list",
        "www.kaggle.com/api/v1/models/o/m/jax/v/download",
        "tfhub.dev/google/yamnet/1",
        "tfhub.dev/google/yamnet/1?tf-hub-format=other",
        "tfhub.dev/google?tf-hub-format=compressed",
        "www.kaggle.com/models/o/m/tensorFlow2?tf-hub-format=compressed",
    ],
)
def test_what_a_shared_host_has_besides_is_refused(place: str) -> None:
    """By its path, before anybody is asked."""
    with pytest.raises(QuestionError):
        route(place)


@pytest.mark.parametrize(
    ("name", "digits"),
    [
        ("resnet18-f37072fd.pth", "f37072fd"),
        ("mnasnet0.5_top1_67.823-3ffadce67e.pth", "3ffadce67e"),
        ("quantized/mobilenet_v2_qnnpack_37f702c5.pth", "37f702c5"),
        ("semi_supervised_resnet50-08389792.pth", "08389792"),
        ("model-20231005.pth", None),
        ("vgg11.pth", None),
        ("sam_vit_h_4b8939.pth", None),
        ("resnet18-f37072fd.pkl", None),
        ("resnet18-F37072FD.pth", None),
    ],
)
def test_digits_of_a_name(name: str, digits: str | None) -> None:
    """Eight or more before the ending, unless they are a day."""
    expected = () if digits is None else (Check("sha256-prefix", digits),)
    assert route(f"download.pytorch.org/models/{name}")[1].checks == expected


def test_a_pointer_is_read_to_its_end() -> None:
    """As git-lfs writes it, with extensions or without; anything else is a small file."""
    told = _pointed_at("/o/r/main/m.onnx", POINTER)
    assert isinstance(told, Told)
    assert str(told.digest) == f"sha256:{OID}"
    assert told.size == 12
    assert told.sources == ("https://media.githubusercontent.com/media/o/r/main/m.onnx",)
    extended = POINTER.replace(b"\noid", b"\next-0-foo sha256:%s\noid" % (b"c" * 64))
    assert _pointed_at("/o/r/main/m.onnx", extended) == told
    for other in (b"", POINTER + b"more", POINTER[:-9], b"# " + POINTER, POINTER.upper()):
        assert _pointed_at("/o/r/main/m.onnx", other) is None


@pytest.mark.parametrize(
    "release",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"assets": null}',
        b'{"assets": [1]}',
        b'{"assets": [{"name": "m.pt"}]}',
        b'{"assets": [{"name": "m.pt", "digest": null}]}',
        b'{"assets": [{"name": "m.pt", "digest": "sha256:xyz"}]}',
        b'{"assets": [{"name": "m.pt", "digest": "md5:00"}]}',
        b'{"assets": [{"name": "other.pt", "digest": "sha256:%s"}]}' % OID.encode(),
    ],
)
def test_a_release_that_says_nothing_of_an_asset(release: bytes) -> None:
    """Older ones have no digest; what is no release at all does no harm."""
    assert _digest("m.pt", release) is None
