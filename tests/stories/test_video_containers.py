"""docs/stories/video-containers.md, word for word: the mirror's image, an init container, and inference."""

import os
import shutil
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.clients.available import client
from tests.clients.elsewhere import Elsewhere
from tests.house.checkout import ROOT
from tests.shipped.compose import Project
from tests.shipped.conftest import image, one_file, shipping, unpacked
from tests.shipped.images import Builder, Container, Image
from tests.stories import page, standins, weights
from tests.stories.conftest import Follow
from tests.stories.playing import Engine
from tests.stories.story import Story

__all__ = ["image", "one_file", "shipping", "unpacked"]
pytestmark = pytest.mark.shipped
CDN = "openaipublic.azureedge.net"
SIGLIP = "google/siglip-so400m-patch14-384"


@dataclass
class _Video(Project):
    """A project whose image `video` is the mirror's with the clients' environment mounted into it."""

    clients: Image | None = None
    folders: tuple[Path, ...] = ()
    standing: Mapping[str, str] = field(default_factory=dict)

    def container(self, name: str) -> Container:
        made = super().container(name)
        if self.services[name]["image"] != "video":
            return made
        assert self.clients is not None
        return Container(
            self.clients,
            made.root,
            {**self.standing, **made.environment},
            [*made.volumes, *((path, str(path), "ro") for path in self.folders)],
            temporary=made.temporary,
            command=made.command,
            read_only=made.read_only,
            network=made.network,
        )


@pytest.fixture(scope="module")
def story(
    follow: Follow,
    upstream: Elsewhere,
    gone: Callable[[], None],
    shipping: Builder,
    image: Image,
    port_of: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Story]:
    """The page, with the image of the mirror, before hosts with small models under those names."""
    torch, folder = client("torch"), tmp_path_factory.mktemp("weights")
    digests = weights.made(torch, folder, ["whisper", "siglip"])["whisper"]
    upstream.hosts.put(
        CDN,
        f"/main/whisper/models/{digests['medium']}/medium.pt",
        (folder / "medium.pt").read_bytes(),
    )
    weights.repo(upstream, SIGLIP, folder / "siglip")
    place = shipping.folder / f"story-{time.monotonic_ns()}"
    place.mkdir(mode=0o755)
    standing = standins.whisper(digests, place / "site")
    environment = torch.path.resolve()
    settings = {
        "MODELMIRROR_HUGGINGFACE_UPSTREAMS": upstream.origin.url,
        "MODELMIRROR_REDIRECT_HOSTS": ",".join(upstream.origin.redirect_hosts),
        "MODELMIRROR_PORT": str(port_of),
        **upstream.settings,
    }
    site = (place / "site", "/mnt", "ro")
    inside = {**standing, "PYTHONPATH": "/mnt"}
    followed = follow("video-containers.md")

    def project(file: Path) -> Project:
        shutil.copy(file.with_name("infer.py"), place)
        return _Video(
            file,
            shipping,
            image,
            port_of,
            file.parent,
            more={"mirror": settings | inside, "models": inside},
            mounts={"mirror": site, "models": site, "inference": site},
            clients=Image(
                "video",
                {"User": "0:0", "Env": [f"PATH={environment / 'bin'}:/usr/bin:/bin"]},
                (),
            ),
            folders=(environment, Path(os.path.realpath(sys.base_prefix))),
            standing=inside,
        )

    engine = Engine(project, followed.desk.place / "bin", followed.desk.folder)
    with engine:
        # The player puts the port of the mirror into the file by itself.
        unchanged = page.read(ROOT / "docs" / "stories" / "video-containers.md")
        yield Story(unchanged, followed.desk, upstream, {"Without a network": gone})
    shutil.rmtree(place)


@pytest.fixture(scope="module")
def port_of() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        number: int = free.getsockname()[1]
    return number


def test_video_containers_first_run(story: Story) -> None:
    """The init container has the mirror fetch each file once and lays it out; inference finds all of it."""
    told = story.to("The first time")
    asked = Counter(told.resolved)

    assert len(asked) > 3
    assert set(asked.values()) == {1}
    assert sum(f" {CDN} " in one for one in told.bodies) == 1


def test_video_containers_second_run_fetches_nothing(story: Story) -> None:
    """Run again, upstream is asked for no file, and for at most a look at the branch."""
    told = story.to("The second time")

    assert told.bodies == []
    assert len(told.asked) <= 1


def test_video_containers_run_without_a_network(story: Story) -> None:
    """With everything behind the mirror gone the same happens, and inference has no network anyway."""
    assert story.to("Without a network").asked == ()


def test_video_containers_missing_model_is_named(story: Story) -> None:
    """The init container names the model, the project ends with 1, and inference is not started."""
    told = story.to("When a model is missing")

    assert "inference  |" not in told.of("docker compose up")
    assert "models did not complete" in told.of("docker compose up")


def test_video_containers_page_is_followed_to_its_end(story: Story) -> None:
    """Nothing on the page is left out."""
    story.to_the_end()
