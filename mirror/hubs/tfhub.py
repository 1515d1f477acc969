"""TensorFlow Hub: models by their handles, on tfhub.dev and where it moved to.

A client (tensorflow_hub 0.16.1, ``compressed_module_resolver.py``) asks the handle for an archive; other
formats are those of tensorflow.org/hub/hosting. Upstream redirects to addresses signed for one method
and three days: they are followed each time and kept nowhere. A handle with a version is one archive for good.
Nothing is published of it but the MD5 that its storage tells.
"""

import re
from typing import Final
from urllib.parse import parse_qsl

from mirror.errors import MalformedQuestionError, NotServedError
from mirror.hubs.places import Family, Kind, Place, Route

_HUB: Final = "tfhub.dev"
_KAGGLE: Final = "www.kaggle.com"

# How a client unpacks it decides what is made of it: TensorFlow makes no folder that the archive names not.
_REPACKED: Final = ("tf-hub-format", "compressed")
_FORMATS: Final = (
    _REPACKED,
    ("tfjs-format", "compressed"),
    ("tfjs-format", "file"),
    ("lite-format", "tflite"),
)
_UNCOMPRESSED: Final = ("tf-hub-format", "uncompressed")

_NAME: Final = r"[A-Za-z0-9_.-]+"
_HANDLE: Final = re.compile(rf"/{_NAME}(?:/{_NAME})+?(?P<version>/[0-9]+)?\Z")
# kagglehub's form, and the one of Kaggle's pages.
_MODEL: Final = re.compile(
    rf"/models/{_NAME}/{_NAME}"
    rf"(?:/{_NAME}/{_NAME}(?P<version>/[0-9]+)?"
    rf"|/frameworks/{_NAME}/variations/{_NAME}(?P<numbered>/versions/[0-9]+)?)\Z"
)

_HELP: Final = (
    "Ask for /<publisher>/<model>/<version>?tf-hub-format=compressed, as hub.load does by itself."
)


def _of_models(place: Place) -> bool:
    """Whether a place is a handle: Kaggle has an API besides."""
    return place.host == _HUB or place.path.startswith("/models/")


def _route(place: Place) -> Route:
    wanted = _format(place)
    path = place.path
    if wanted == ("tfjs-format", "file"):
        path = path.rpartition("/")[
            0
        ]  # One file of the model, which loads the others by their names.
    handle = (_HANDLE if place.host == _HUB else _MODEL).match(path)
    if handle is None:
        raise MalformedQuestionError(f"That is no model of {place.host}.", hint=_HELP)
    return Route(
        target=f"https://{place.host}{place.path}?{'='.join(wanted)}",
        kind=Kind.PINNED if any(handle.groups()) else Kind.MOVING,
        probe="GET",
        transform="with-folders" if wanted == _REPACKED else "",
    )


def _format(place: Place) -> tuple[str, str]:
    """The format that the query asks for; what else is in it means nothing to upstream's storage."""
    said = parse_qsl(place.query)
    if _UNCOMPRESSED in said:
        raise NotServedError(
            "TensorFlow reads uncompressed models out of Google's storage by itself: they cannot come by way "
            "of a mirror.",
            hint="Leave TFHUB_MODEL_LOAD_FORMAT unset, or set it to COMPRESSED.",
        )
    found = next((pair for pair in said if pair in _FORMATS), None)
    if found is None:
        raise MalformedQuestionError(f"Pages of {place.host} are not served.", hint=_HELP)
    return found


def _short(rest: str, query: str) -> Place:
    """``/-/tfhub/google/yamnet/1``, with a format or without."""
    return Place(_HUB, f"/{rest}", query or "=".join(_REPACKED))


FAMILIES: Final = (
    Family(
        name="tfhub",
        hosts=(_HUB, _KAGGLE),
        router=_route,
        takes=_of_models,
        short={"/-/tfhub/": _short},
    ),
)
