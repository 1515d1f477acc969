"""A mirror with the generic hub in place of the real ones: ``python -m tests.clients.http_cache serve``."""

from mirror.cli import main
from mirror.hubs import registry
from tests.clients.http_cache.hub import GenericHub


class _Hub(GenericHub):
    # Settings know the upstreams of this hub alone.
    name = "huggingface"


registry.hubs = lambda **_: (_Hub(),)

if __name__ == "__main__":
    main()
