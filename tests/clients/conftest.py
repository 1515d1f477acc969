"""What the client tests share: one origin with its world."""

import os
from collections.abc import Iterator

import pytest

from tests.clients.elsewhere import Elsewhere
from tests.clients.world import World, publish
from tests.hosts import Hosts
from tests.origin import Origin

#: Set to run the scenarios against the origin itself, without a mirror between.
DIRECT = bool(os.environ.get("MODELMIRROR_TEST_DIRECT"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in this folder, and let it take the time that building an environment takes."""
    for item in items:
        if "/tests/clients/" in item.path.as_posix():
            item.add_marker(pytest.mark.clients)
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session")
def origin() -> Iterator[Origin]:
    """Run the upstream of all client tests; small pages, so that listings have several."""
    with Origin() as running:
        running.page_size = 30
        yield running


@pytest.fixture(scope="session")
def world(origin: Origin) -> World:
    """Publish what the clients ask for."""
    return publish(origin)


@pytest.fixture(scope="session")
def direct() -> bool:
    """Tell whether scenarios run against the origin itself, to try them without a mirror."""
    return DIRECT


@pytest.fixture(scope="session")
def elsewhere(origin: Origin) -> Iterator[Elsewhere]:
    """Run the hosts that are no Hub, beside the origin that is."""
    with Hosts() as hosts:
        yield Elsewhere(origin, hosts)
