"""What is done on a data folder as a whole, by order: adoptions and bundles.

What carries the orders out is imported by the first of them: 40 modules, a sixth of a start, that a server
which only serves never needs.
"""

import threading
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from mirror.bundle.jobs import Order
from mirror.bundle.parts import Parts
from mirror.digest import Digest

if TYPE_CHECKING:
    from mirror.bundle.adoptjobs import Adoptions
    from mirror.bundle.bundlejobs import Bundles

ADOPTIONS: Final = ("adopt", "adopt-look", "adopt-stop")
BUNDLES: Final = (
    "bundle-plan",
    "bundle-import",
    "bundle-look",
    "bundle-stop",
    "bundle-end",
    "bundle-has",
)


class Works:
    """The works over *parts*; each call may block, and may come from any thread."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._lock = threading.Lock()
        self._adoptions: Adoptions | None = None
        self._bundles: Bundles | None = None

    @property
    def orders(self) -> Mapping[str, Order]:
        """Their orders, by name."""
        adoptions = {name: partial(self._adopt, name) for name in ADOPTIONS}
        return adoptions | {name: partial(self._bundle, name) for name in BUNDLES}

    def held(self) -> frozenset[Digest]:
        """The blobs that some work needs: not to be evicted."""
        bundles = self._bundles
        return frozenset() if bundles is None else bundles.held()

    def prepare(self) -> None:
        """Bring to its end what a crash interrupted; to be called before anybody is served."""
        if any(self._parts.layout.incoming.glob("*")):
            self._bundling().finish()

    def close(self) -> None:
        """Stop what is under way and wait for its end."""
        with self._lock:
            works = (self._adoptions, self._bundles)
        for work in works:
            if work is not None:
                work.close()

    def _adopt(self, name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        from mirror.bundle.adoptjobs import Adoptions  # noqa: PLC0415 -- by the first order

        with self._lock:
            works = self._adoptions = self._adoptions or Adoptions(self._parts)
        return works.orders[name](arguments)

    def _bundle(self, name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        return self._bundling().orders[name](arguments)

    def _bundling(self) -> "Bundles":
        from mirror.bundle.bundlejobs import Bundles  # noqa: PLC0415 -- by the first order

        with self._lock:
            works = self._bundles = self._bundles or Bundles(self._parts)
        return works
