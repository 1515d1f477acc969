"""Sample requests of the hubs of hosted files, and an upstream that has a file everywhere."""

from dataclasses import dataclass
from typing import Final

from mirror.messages import Response, UpstreamRequest
from tests.doubles.scripted_facts import ScriptedUpstream

COMMIT: Final = "c" * 40
_HASH: Final = "d" * 64
_HUBS: Final = {
    "tiktoken": ("openaipublic.blob.core.windows.net/encodings/cl100k_base.tiktoken",),
    "whisper": (
        f"openaipublic.azureedge.net/main/whisper/models/{_HASH}/base.pt",
        f"openaipublic.blob.core.windows.net/main/whisper/models/{_HASH}/base.pt",
    ),
    "torch": ("download.pytorch.org/models/resnet18-f37072fd.pth",),
    "tfhub": (
        "tfhub.dev/google/yamnet/1?tf-hub-format=compressed",
        "tfhub.dev/google/yamnet?tf-hub-format=compressed",
        "www.kaggle.com/models/google/yamnet/tensorFlow2/yamnet/1?tf-hub-format=compressed",
        "tfhub.dev/google/tfjs-model/net/1/default/1/model.json?tfjs-format=file",
        "tfhub.dev/google/lite-model/net/1?lite-format=tflite",
    ),
    "kaggle": (
        "www.kaggle.com/api/v1/models/google/yamnet/tensorFlow2/yamnet/1/files?page_size=25",
        "www.kaggle.com/api/v1/models/google/yamnet/tensorFlow2/yamnet/1/download/saved_model.pb",
        "www.kaggle.com/api/v1/models/google/yamnet/tensorFlow2/yamnet/get",
    ),
    "ollama": (
        "registry.ollama.ai/v2/library/llama3.2/manifests/latest",
        f"registry.ollama.ai/v2/me/model/blobs/sha256:{_HASH}",
    ),
    "spacy": (
        "raw.githubusercontent.com/explosion/spacy-models/master/meta/en_core_web_sm-3.8.0.json",
        "github.com/explosion/spacy-models/releases/download/x_sm-3.8.0/x_sm-3.8.0-py3-none-any.whl",
    ),
    "nltk": (
        "raw.githubusercontent.com/nltk/nltk_data/gh-pages/index.xml",
        "raw.githubusercontent.com/nltk/nltk_data/gh-pages/packages/tokenizers/punkt_tab.zip",
    ),
    "keras": ("storage.googleapis.com/tensorflow/keras-applications/resnet/resnet50.h5",),
    "vision_transformers": ("storage.googleapis.com/vit_models/augreg/Ti_16.npz",),
    "beit": ("conversationhub.blob.core.windows.net/beit-share-public/beit/beit_base.pth",),
    "fbaipublicfiles": ("dl.fbaipublicfiles.com/deit/deit_tiny_patch16_224-a1311bcf.pth",),
    "github": (
        "github.com/ultralytics/assets/releases/download/v8.4.0/yolo11n.pt",
        "github.com/ultralytics/assets/releases/latest/download/yolo11n.pt",
        "github.com/opencv/opencv_zoo/raw/main/models/yunet/yunet.onnx",
        "raw.githubusercontent.com/o/r/main/hubconf.py",
        f"raw.githubusercontent.com/o/r/{COMMIT}/hubconf.py",
        "media.githubusercontent.com/media/o/r/main/model.onnx",
        f"github.com/o/r/zipball/{COMMIT}",
        "github.com/o/r/zipball/main",
        "github.com/o/r/archive/refs/heads/main.zip",
        "github.com/o/r/tree/main/",
        "codeload.github.com/o/r/legacy.zip/main",
        "api.github.com/repos/o/r/branches",
        "api.github.com/repos/o/r/releases/tags/v1",
    ),
}
_CALL: Final = (
    b'{"ownerSlug":"google","modelSlug":"yamnet","framework":"MODEL_FRAMEWORK_TENSOR_FLOW_2",'
    b'"instanceSlug":"yamnet","versionNumber":1}'
)
_MORE: Final[dict[str, tuple[tuple[str, str, str, bytes], ...]]] = {
    "spacy": (
        ("GET", "/-/spacy/simple/", "", b""),
        ("GET", "/-/spacy/simple/en-core-web-sm/", "", b""),
        ("HEAD", "/-/spacy/files/", "", b""),
    ),
    "kaggle": tuple(
        ("POST", f"/-/host/api.kaggle.com/v1/models.ModelApiService/{method}", "", _CALL)
        for method in (
            "GetModelInstance",
            "ListModelInstanceVersionFiles",
            "DownloadModelInstanceVersion",
        )
    ),
    "ollama": (("GET", "/v2/library/llama3.2/manifests/latest", "", b""),),
}
SAMPLES: Final = {
    hub: (
        *(
            ("GET", f"/-/host/{path}", query, b"")
            for path, _, query in (place.partition("?") for place in places)
        ),
        *_MORE.get(hub, ()),
    )
    for hub, places in _HUBS.items()
}


@dataclass
class _Everywhere(ScriptedUpstream):
    """Has 2000 bytes at every address."""

    def ask(self, request: UpstreamRequest) -> Response:
        """Answer 200, with the bytes or without."""
        self.asked.append(request)
        content = b"\0" * 2000
        headers = {"content-length": "2000", "etag": '"e"', "content-type": "text/plain"}
        body = b"" if request.method == "HEAD" else content
        return Response(200, headers, body, self.base, self.base + "/x")


def upstream() -> ScriptedUpstream:
    """A new one."""
    return _Everywhere()
