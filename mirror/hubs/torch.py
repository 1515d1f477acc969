"""PyTorch's own checkpoints, as torchvision, torch.hub and their kin name them.

``load_state_dict_from_url`` (torch 2.13, ``torch/hub.py``) compares the digits in a file's name with the
beginning of its sha256, when its caller asks for that; all 166 addresses of torchvision 0.29 have 8 or 10
such digits. Four have them after ``_`` instead of ``-``: no client compares those, the mirror does.
"""

import re
from typing import Final

from mirror.digest import SHA256_PREFIX, Check
from mirror.errors import MalformedQuestionError
from mirror.hubs.places import Family, Kind, Place, Route

_HOST: Final = "download.pytorch.org"
# What else lies there: indexes of wheels, builds of the C++ library.
_OTHERS: Final = ("/whl/", "/libtorch/")

_HASHED: Final = re.compile(r"[-_]([0-9a-f]{8,64})\.(?:pth|pt|th)\Z")
# Eight digits that are a day say when a file was made.
_DAY: Final = re.compile(r"(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])\Z")


def name_checks(path: str) -> tuple[Check, ...]:
    """What the name of a checkpoint says of its sha256, if it says anything."""
    hashed = _HASHED.search(path)
    if hashed is None or _DAY.match(hashed[1]):
        return ()
    return (Check(SHA256_PREFIX, hashed[1]),)


def _route(place: Place) -> Route:
    if place.path.startswith(_OTHERS) or place.path.endswith("/"):
        raise MalformedQuestionError(
            "Of this host only checkpoints are served, like /models/resnet18-f37072fd.pth.",
            hint="Packages come from a package index.",
        )
    return Route(target=place.path, kind=Kind.PINNED, checks=name_checks(place.path))


def _short(rest: str, query: str) -> Place:
    """``/-/torch/models/resnet18-f37072fd.pth``."""
    del query
    return Place(_HOST, f"/{rest}")


FAMILIES: Final = (
    Family(name="torch", hosts=(_HOST,), router=_route, short={"/-/torch/": _short}),
)
