"""The status of a no that a hub words in no way of its own."""

from typing import Final

from mirror import errors

# The first class that fits decides. What is not here and cannot be had is 501: no client repeats that.
_STATUSES: Final[tuple[tuple[type[errors.MirrorError], int], ...]] = (
    (errors.TooLargeError, 413),
    (errors.MethodRefusedError, 405),
    (errors.LoopError, 508),
    (errors.NotServedError, 501),
    (errors.QuestionError, 400),
    (errors.UpstreamError, 502),
    (errors.UpstreamUnavailableError, 502),
    (errors.OfflineError, 501),
    (errors.StoreFullError, 507),
    (errors.DigestMismatchError, 502),
    (errors.StoreUnusableError, 503),
)


def status_of(error: errors.MirrorError) -> int:
    """The HTTP status that tells of *error*; 500 for what should not have come up."""
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
