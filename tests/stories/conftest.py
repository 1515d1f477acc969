"""What the stories share: an upstream that can go away, and a desk to follow a page at."""

import contextlib
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.clients.elsewhere import DEAD_PROXY, Elsewhere
from tests.clients.environments import Environment
from tests.hosts import Hosts
from tests.house.checkout import ROOT
from tests.origin import Origin
from tests.stories import page
from tests.stories.desk import Desk, typed
from tests.stories.story import Story

#: Builds the story of a page: its name, the client's environment, variables of stand-ins, what happens before
#: which section, other machines that the page names, and what stands in the place of which of its words.
Follow = Callable[..., Story]


@dataclass(frozen=True, slots=True)
class Machine:
    """Another machine that a page names: it has no mirror, and knows nothing of where upstream is.

    Attributes:
        path: Folders of commands that are installed there.
        variables: Which are set there, besides those that keep everybody from the internet.
        before: A program that becomes each terminal's shell, with its arguments.
    """

    path: tuple[Path, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    before: tuple[str, ...] = ()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let stories take the time that clients take; those that follow a page are marked by their module."""
    for item in items:
        if "/tests/stories/" in item.path.as_posix():
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="module")
def upstream() -> Iterator[Elsewhere]:
    """Run the Hub and the other hosts; each story has its own, for it takes them away."""
    with Origin() as origin, Hosts() as hosts:
        yield Elsewhere(origin, hosts)


@pytest.fixture(scope="module")
def gone(upstream: Elsewhere) -> Iterator[Callable[[], None]]:
    """Give what takes upstream away for the rest of the story."""
    with contextlib.ExitStack() as until_the_end:
        yield lambda: until_the_end.enter_context(upstream.away())


@pytest.fixture(scope="module")
def follow(upstream: Elsewhere, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Follow]:
    """Give what begins a story; its terminals are closed at the end.

    The reader has `modelmirror` and the clients on the path. Besides, only this is set: which ports are free,
    in the place of 8090 and 8091; where upstream really is; that pip may look at what is installed
    and fetch nothing; and a proxy that refuses, so that nothing leaves for the internet.
    """
    with contextlib.ExitStack() as desks:

        def begin(
            name: str,
            environment: Environment | None = None,
            variables: Mapping[str, str] | None = None,
            before: Mapping[str, Callable[[], None]] | None = None,
            machines: Mapping[str, Machine] | None = None,
            words: Mapping[str, str] | None = None,
        ) -> Story:
            port = _free_port()
            place = tmp_path_factory.mktemp(Path(name).stem)
            typed("modelmirror", Path(sys.executable).with_name("modelmirror"), place / "bin")
            everywhere = {
                "MODELMIRROR_PORT": str(port),
                "HF_HUB_DISABLE_UPDATE_CHECK": "1",
                "PIP_NO_INDEX": "1",
                "PIP_NO_DEPS": "1",
                "PIP_DISABLE_PIP_VERSION_CHECK": "1",
                "HTTPS_PROXY": DEAD_PROXY,
            }
            settings = {
                "MODELMIRROR_HUGGINGFACE_UPSTREAMS": upstream.origin.url,
                "MODELMIRROR_REDIRECT_HOSTS": ",".join(upstream.origin.redirect_hosts),
                **everywhere,
                **upstream.settings,
                **(variables or {}),
            }
            path = (place / "bin", *([environment.commands] if environment else []))
            desk = desks.enter_context(Desk(place, settings, path))
            others = {
                name: desks.enter_context(
                    Desk(
                        place / name,
                        {**everywhere, **machine.variables},
                        machine.path,
                        machine.before,
                    )
                )
                for name, machine in (machines or {}).items()
            }
            words = {"8090": str(port), "8091": str(_free_port()), **(words or {})}
            followed = page.read(ROOT / "docs" / "stories" / name, words)
            return Story(followed, desk, upstream, before or {}, others)

        yield begin


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        number: int = free.getsockname()[1]
    return number
