"""A mirror outside, one inside without a network, and a medium between: docs/stories/air-gapped-site.md."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.clients.available import client
from tests.clients.corpus import publish_stopwords
from tests.clients.elsewhere import Elsewhere
from tests.house import dist
from tests.house.checkout import ROOT
from tests.stories import standins, weights
from tests.stories.conftest import Follow, Machine
from tests.stories.story import Story

pytestmark = pytest.mark.shipped

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
CDN = "openaipublic.azureedge.net"

# Brings the loopback interface of its network namespace up, and stays until its input ends.
_STAY = """
import fcntl, socket, struct, sys
with socket.socket() as way:
    fcntl.ioctl(way, 0x8914, struct.pack("16sh14x", b"lo", 0x41))  # SIOCSIFFLAGS: up, running
print("up", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def nowhere() -> Iterator[tuple[str, ...]]:
    """What runs a program where there is no network but the loopback interface, always the same one."""
    apart = ("unshare", "--map-root-user", "--net")
    if not shutil.which("unshare") or subprocess.run([*apart, "true"], check=False).returncode:
        pytest.skip("no network namespace can be made here")
    with subprocess.Popen(
        [*apart, sys.executable, "-c", _STAY], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as stays:
        assert stays.stdout is not None
        assert stays.stdout.readline() == b"up\n"
        target = f"--target={stays.pid}"
        yield ("nsenter", target, "--user", "--net", "--preserve-credentials")
        stays.communicate()


@pytest.fixture(scope="module")
def story(
    follow: Follow,
    upstream: Elsewhere,
    nowhere: tuple[str, ...],
    tmp_path_factory: pytest.TempPathFactory,
) -> Story:
    """Small models, a machine without a network, and the packages that `make dist` packs, fetched before."""
    environment, folder = client("torch"), tmp_path_factory.mktemp("weights")
    told = weights.made(environment, folder, ["whisper", "sentences"])
    weights.repo(upstream, MINILM, folder / "sentences")
    upstream.origin.add_repo(
        "models", "BAAI/bge-small-en-v1.5", {"model.safetensors": os.urandom(500_000)}
    )
    digest = told["whisper"]["base"]
    model = (folder / "base.pt").read_bytes()
    upstream.hosts.put(CDN, f"/main/whisper/models/{digest}/base.pt", model)
    publish_stopwords(upstream.hosts)
    dist.build(folder / "dist")
    tables = standins.whisper({"base": digest}, folder / "standins")
    medium = tmp_path_factory.mktemp("usb")
    begun = follow(
        "air-gapped-site.md",
        environment,
        tables,
        machines={"inside": Machine((environment.commands,), tables, nowhere)},
        words={"/mnt/usb": str(medium), "x86_64": platform.machine()},
    )
    (begun.desk.home / "checkout").symlink_to(ROOT)
    return begun


def test_site_is_served_from_one_file_and_one_bundle(story: Story, upstream: Elsewhere) -> None:
    """Installed without an index, it takes in all that was exported; each file came from upstream once."""
    told = story.to("The models")
    assert all(count == 1 for count in upstream.bodies().values())
    assert len(told.asked) > 3
    for heading in ("Installing inside", "A medium that is damaged", "Importing", "Clients inside"):
        assert story.to(heading).asked == ()


def test_site_takes_nothing_of_a_damaged_medium(story: Story) -> None:
    """It is refused with a sentence, and the exit code is 1."""
    told = story.to("A medium that is damaged")
    assert "amaged" in told.of("modelmirror import") or "not what" in told.of("modelmirror import")


def test_site_takes_only_what_is_new(story: Story) -> None:
    """The second bundle brings the second model alone, to a mirror that is running."""
    told = story.to("Only what is new")
    assert {
        one.partition("?")[0].rpartition("/")[2] for one in told.asked if "/resolve/" in one
    } == {"model.safetensors"}


def test_site_begins_again_with_empty_caches(story: Story) -> None:
    """The same app does the same; from the site nobody outside can even be reached."""
    told, first = story.to("Again"), story.to("Clients inside")
    assert told.asked == ()
    for line in ("sentences ", "whisper "):
        assert _said(told.of("app.py"), line) == _said(first.of("app.py"), line)


def test_site_is_told_what_is_missing(story: Story) -> None:
    """The page shows the model's name in the client's error and in `check`, and exit code 1."""
    story.to("A model that is missing")
    story.to_the_end()


def _said(written: str, beginning: str) -> list[str]:
    return [line for line in written.splitlines() if line.startswith(beginning)]
