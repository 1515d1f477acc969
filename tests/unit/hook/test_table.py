"""The hook's table of hosts and paths says what the mirror's hubs say: neither more nor less."""

from typing import Final

import pytest

from mirror.errors import MirrorError, NotServedError
from mirror.hook import modelmirror_hook as hook
from mirror.hubs import registry
from mirror.hubs.huggingface import grammar
from mirror.messages import RequestHead
from tests.hubs.hosted import SAMPLES

BASE: Final = "http://mirror:8090"
COMMIT: Final = "0123456789" * 4
OID: Final = "ab" * 32
PREFIX: Final = "/-/host/"

# Addresses as clients ask them; what other hubs' tests have is in SAMPLES.
LED: Final = (
    f"openaipublic.azureedge.net/clip/models/{OID}/ViT-B-32.pt",
    "openaipublic.blob.core.windows.net/encodings/r50k_base.tiktoken",
    "openaipublic.blob.core.windows.net/encodings/p50k_base.tiktoken",
    "openaipublic.blob.core.windows.net/encodings/o200k_base.tiktoken",
    "openaipublic.blob.core.windows.net/gpt-2/encodings/main/vocab.bpe",
    "openaipublic.blob.core.windows.net/gpt-2/encodings/main/encoder.json",
    "download.pytorch.org/models/quantized/resnet18_fbgemm_16fa66dd.pth",
    "download.pytorch.org/torchaudio/models/wav2vec2_fairseq_base_ls960.pth",
    "tfhub.dev/google/yamnet/1?foo=1&tf-hub-format=compressed",
    "www.kaggle.com/models/o/m/frameworks/tfJs/variations/v/versions/1?tfjs-format=compressed",
    "www.kaggle.com/api/v1/models/o/m/jax/v/3/download",
    "www.kaggle.com/api/v1/models/o/m/jax/v/files",
    f"registry.ollama.ai/v2/me/model/blobs/sha256-{OID}",
    "raw.githubusercontent.com/explosion/spacy-models/master/compatibility.json",
    "github.com/o/r/tarball/v1",
    "github.com/o/r/archive/v1.tar.gz",
    "github.com/o/r/blob/main/a/model.onnx?raw=true",
    "codeload.github.com/o/r/zip/refs/heads/main",
    "codeload.github.com/o/r/tar.gz/v1",
    "api.github.com/repos/o/r/tags?per_page=100&page=2",
    "api.github.com/repos/o/r/releases/latest",
    "api.github.com/repositories/1/branches?page=2",
    "storage.googleapis.com/big_vision/vit_b16.npz",
    "storage.googleapis.com/bit_models/BiT-M-R50x1.npz?x=1",
    "dl.fbaipublicfiles.com/segment_anything/sam_vit_b_01ec64.pth",
    "dl.fbaipublicfiles.com/fasttext/vectors-crawl/cc.en.300.bin.gz",
)

# What lies at known hosts and is no model, or not for everyone.
LEFT: Final = (
    "openaipublic.azureedge.net/main/whisper/models/",
    "openaipublic.blob.core.windows.net/encodings/secret_base.tiktoken",
    "download.pytorch.org/whl/cpu/torch/",
    "download.pytorch.org/whl/cpu/torch-2.9.0%2Bcpu-cp311-cp311-linux_x86_64.whl",
    "download.pytorch.org/libtorch/cpu/libtorch.zip",
    "download.pytorch.org/",
    "tfhub.dev/google/yamnet/1",
    "tfhub.dev/",
    "www.kaggle.com/models/google/yamnet",
    "www.kaggle.com/api/v1/datasets/download/o/d",
    "www.kaggle.com/api/v1/models/o/m/jax/v/3/get",
    "registry.ollama.ai/v2/",
    "raw.githubusercontent.com/o/r",
    "github.com/",
    "github.com/o/r",
    "github.com/o/r/issues",
    "github.com/o/r.git/info/refs?service=git-upload-pack",
    "github.com/o/r/blob/main/README.md",
    "api.github.com/user",
    "api.github.com/repos/o/r/issues",
    "api.github.com/repos/o/r/branches?q=x",
    "media.githubusercontent.com/o/r/main/x",
    "codeload.github.com/o/r",
    "storage.googleapis.com/some-bucket/model.pth",
    "storage.googleapis.com/vit_models/index.html",
    "conversationhub.blob.core.windows.net/other/x.pth",
    "dl.fbaipublicfiles.com/a/video.mp4",
)

# The mirror would answer these; the hook leaves them to their hosts.
HELD_BACK: Final = (
    "github.com/o/r/tree/main",  # a page for people: the mirror's answer to torch.hub is empty
    "github.com/o/r/tree/dev/",
    "raw.githubusercontent.com/o/private/main/x?token=AAA",  # signed for its caller
    "github.com/o/r/raw/main/x?a=1&Signature=AAA",
)


def test_hosts_are_those_of_the_registry() -> None:
    """The hook knows each host that a hub answers for, and no other."""
    asked = {host for family in registry.FAMILIES for host in family.hosts}
    only_sources = set(registry.known_hosts()) - asked

    assert set(hook.PATHS) == asked
    assert set(grammar._HOSTS) == hook.HUB
    # The mirror fetches from these besides; nobody asks it for them by their name.
    assert only_sources <= hook.HUB


@pytest.mark.parametrize(
    "sample", [sample for hub in SAMPLES.values() for sample in hub if sample[1].startswith(PREFIX)]
)
def test_samples_of_the_hubs_are_led(sample: tuple[str, str, str, bytes]) -> None:
    """Each request that the hubs' own tests are made of is led to where they take it."""
    method, path, query, _ = sample
    target = f"{path}?{query}" if query else path

    assert hook.served(*_place(target.removeprefix(PREFIX)), method)
    assert _led(target.removeprefix(PREFIX), method) == f"{BASE}{target}"


@pytest.mark.parametrize("place", LED)
def test_led_places_are_served(place: str) -> None:
    """What is led, the mirror takes for one of its questions."""
    assert _led(place) == f"{BASE}{PREFIX}{place}"
    assert _taken(place)


@pytest.mark.parametrize("place", LEFT)
def test_left_places_are_not_served(place: str) -> None:
    """What the mirror does not serve is not led to it: programs get what they always got."""
    assert _led(place) is None
    assert not _taken(place)


@pytest.mark.parametrize("place", HELD_BACK)
def test_some_places_are_held_back(place: str) -> None:
    """What the mirror could answer and a program would not want from it is left alone."""
    assert _led(place) is None


def test_uncompressed_models_are_refused_by_the_mirror() -> None:
    """What the mirror refuses with a sentence of its own is led there to get it."""
    place = "tfhub.dev/google/yamnet/1?tf-hub-format=uncompressed"

    assert _led(place) == f"{BASE}{PREFIX}{place}"
    with pytest.raises(NotServedError):
        _taken(place)


@pytest.mark.parametrize(
    ("url", "led"),
    [
        ("https://huggingface.co", "/"),
        ("HTTPS://HuggingFace.co:443/a/b?x=1#part", "/a/b?x=1"),
        ("http://huggingface.co:80/a", "/a"),
        ("https://huggingface.co./a", "/a"),
        ("https://huggingface.co?x=1", "/?x=1"),
        ("https://me:secret@hf-mirror.com/a", "/a"),
        ("https://github.com/-/host/tfhub.dev/a", "/-/host/tfhub.dev/a"),
        ("https://huggingface.co:444/a", None),
        ("http://huggingface.co:443/a", None),
        ("https://huggingface.co.example.org/a", None),
        ("https://example.org/huggingface.co/", None),
        ("https://example.org@evil.org/", None),
        ("https://huggingface.co@evil.org/", None),
        ("ftp://huggingface.co/a", None),
        ("huggingface.co/a", None),
        ("", None),
        ("https://", None),
    ],
)
def test_addresses_are_read_as_clients_read_them(
    url: str, led: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case, default ports, a final dot, userinfo and fragments change nothing; another host is another."""
    monkeypatch.setattr(hook._state, "base", BASE)

    assert hook.rewrite(url) == (None if led is None else BASE + led)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_writing_is_led_at_the_hub_alone(method: str) -> None:
    """What changes something at another host is not the mirror's; the Hub's says so as with HF_ENDPOINT."""
    assert _led("github.com/o/r/releases/download/v1/x.pt", method) is None
    assert _led("huggingface.co/api/repos/create", method) == f"{BASE}/api/repos/create"


def _led(place: str, method: str = "GET") -> str | None:
    host, target = _place(place)
    return hook._address(BASE, host, target) if hook.served(host, target, method) else None


def _place(place: str) -> tuple[str, str]:
    host, slash, rest = place.partition("/")
    return host, slash + rest


def _taken(place: str) -> bool:
    """Whether a hub of the mirror takes a GET of *place* for a question; `NotServedError` goes on."""
    path, _, query = place.partition("?")
    head = RequestHead("GET", PREFIX + path, query, {}, None, BASE)
    for hub in registry.hubs(secret=b"s" * 32, tree_limit=10, ref_lifetime=60):
        try:
            if hub.recognise(head, b"") is not None:
                return True
        except NotServedError:
            raise
        except MirrorError:
            return False
    return False
