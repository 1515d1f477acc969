"""docs/stories/video.md, word for word: an init container, and inference that has no network."""

from collections import Counter
from collections.abc import Callable

import pytest

from tests.clients.available import client
from tests.clients.elsewhere import Elsewhere
from tests.stories import standins, weights
from tests.stories.conftest import Follow
from tests.stories.story import Story

pytestmark = pytest.mark.clients
CDN = "openaipublic.azureedge.net"
RAW = "raw.githubusercontent.com"
YUNET = "main/models/face_detection_yunet/face_detection_yunet_2023mar.onnx"
SIGLIP = "google/siglip-so400m-patch14-384"
BGE = "BAAI/bge-m3"


@pytest.fixture(scope="module")
def story(
    follow: Follow,
    upstream: Elsewhere,
    gone: Callable[[], None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Story:
    """The page, before hosts with small models under those names."""
    torch, faces = client("torch"), client("faces")
    folder = tmp_path_factory.mktemp("weights")
    beside = standins.beside(torch, faces)
    site = standins.whisper({}, folder / "site")
    weights.made(torch, folder, ["yunet"], {**site, **beside})
    digest = weights.made(torch, folder, ["whisper", "siglip", "sentences"])["whisper"]["medium"]
    hosts = upstream.hosts
    hosts.put(CDN, f"/main/whisper/models/{digest}/medium.pt", (folder / "medium.pt").read_bytes())
    hosts.put(RAW, f"/opencv/opencv_zoo/{YUNET}", (folder / "yunet.onnx").read_bytes())
    weights.repo(upstream, SIGLIP, folder / "siglip")
    weights.repo(upstream, BGE, folder / "sentences")
    variables = {**standins.whisper({"medium": digest}, folder / "site"), **beside}
    return follow("video.md", torch, variables, {"Without a network": gone})


def test_video_first_run_fetches_each_file_once(story: Story, upstream: Elsewhere) -> None:
    """The mirror asks upstream for each file once; laying them out asks for nothing more."""
    told = story.to("The first time")
    files = Counter(one.rpartition("/")[2] for one in told.resolved)

    assert files == Counter(upstream.origin.repo("models", SIGLIP).paths)
    asked = Counter(one.split()[1] for one in told.bodies)
    assert (asked[CDN], asked[RAW]) == (1, 1)


def test_video_inference_runs_sealed(story: Story) -> None:
    """Whisper, transformers and OpenCV find their models read-only and without a network."""
    told = story.to("Inference")

    assert told.asked == ()
    assert "speech has 24 layers" in told.of("infer.py")


def test_video_second_run_fetches_nothing(story: Story) -> None:
    """The init container has nothing to do; a group more is that group alone, and once."""
    told = story.to("The second time")

    assert told.of("export").count("nothing to fetch") == 3
    assert told.resolved
    assert all(f"/{BGE}/resolve/" in one for one in told.resolved)
    assert set(Counter(told.resolved).values()) == {1}
    assert not [one for one in told.asked if CDN in one or RAW in one]


def test_video_runs_without_a_network(story: Story) -> None:
    """With the mirror and everything behind it gone, the folder is checked and enough."""
    told = story.to("Without a network")

    assert told.asked == ()
    assert "0 hashed" in told.of("check --cache")


def test_video_missing_model_is_named(story: Story) -> None:
    """`check` and inference both name the model that is missing, and end with 1."""
    told = story.to("When a model is missing")

    assert "Traceback" not in told.of("infer.py")


def test_video_page_is_followed_to_its_end(story: Story) -> None:
    """Nothing on the page is left out."""
    story.to_the_end()
