"""What is done on a data folder as a whole, by order: adoptions and bundles."""

from collections.abc import Mapping

from mirror.bundle.adoptjobs import Adoptions
from mirror.bundle.adoptparts import Parts
from mirror.bundle.bundlejobs import Bundles
from mirror.bundle.jobs import Order
from mirror.digest import Digest


class Works:
    """The works over *parts*; each call may block."""

    def __init__(self, parts: Parts) -> None:
        self._adoptions = Adoptions(parts)
        self._bundles = Bundles(parts)

    @property
    def orders(self) -> Mapping[str, Order]:
        """Their orders, by name."""
        return {**self._adoptions.orders, **self._bundles.orders}

    def held(self) -> frozenset[Digest]:
        """The blobs that some work needs: not to be evicted."""
        return self._bundles.held()

    def prepare(self) -> None:
        """Bring to its end what a crash interrupted; to be called before anybody is served."""
        self._bundles.finish()

    def close(self) -> None:
        """Stop what is under way and wait for its end."""
        self._adoptions.close()
        self._bundles.close()
