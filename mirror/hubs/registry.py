"""Which hubs exist: one line each, in the order in which they are asked."""

from mirror.hubs.base import Hub
from mirror.hubs.huggingface import HuggingFace


def hubs(*, secret: bytes, tree_limit: int, ref_lifetime: float) -> tuple[Hub, ...]:
    """Make every hub.

    *secret* is the data folder's 32 random bytes; *tree_limit* the most entries kept per snapshot;
    *ref_lifetime* how long, in seconds, a moving name is believed without asking.
    """
    return (HuggingFace(secret, tree_limit, ref_lifetime),)
