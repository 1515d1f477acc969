"""Kaggle's models, as kagglehub fetches them.

Up to 0.3 it asks ``https://www.kaggle.com/api/v1/models/…`` by GET; since 0.4 it POSTs each request as JSON
to ``https://api.kaggle.com/v1/models.ModelApiService/<Method>`` (kagglehub 1.0.3, kagglesdk 0.1.38). A
download is a redirect to storage, signed for it. The mirror answers a POST for one with a redirect to itself:
a client resumes by GET at the address where it ended up. Nothing is published of a file but the MD5 that
storage tells, which a client compares too. No credential goes upstream: only models that are open to all are
served.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode

from mirror.errors import MalformedQuestionError, MethodRefusedError, MirrorError
from mirror.hubs.base import Facts
from mirror.hubs.hosted import Hosted
from mirror.hubs.places import Family, HostedDocument, Kind, Place, Route
from mirror.messages import Answer, RequestHead
from mirror.names import Document, Need, Question

_SITE: Final = "www.kaggle.com"
_API: Final = "api.kaggle.com"
_V1: Final = "/api/v1/"

_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
_MODEL: Final = rf"/api/v1/models/{_NAME}/{_NAME}/{_NAME}/{_NAME}"
_NEWEST: Final = re.compile(rf"{_MODEL}/(?:get|files)\Z")
_LISTING: Final = re.compile(rf"{_MODEL}/[0-9]+/files\Z")
_DOWNLOAD: Final = re.compile(rf"{_MODEL}/[0-9]+/download(?:/.+)?\Z")
# As api.kaggle.com has it, and below /api where kagglehub takes this machine for Kaggle.
_CALL: Final = re.compile(r"/(?:api/)?v1/models\.ModelApiService/(?P<method>[A-Za-z]+)\Z")
_FRAMEWORK: Final = re.compile(r"MODEL_FRAMEWORK_([A-Z0-9]+(?:_[A-Z0-9]+)*)\Z")
_SLUG: Final = re.compile(rf"{_NAME}\Z")
_PAGE: Final = ("page_size", "page_token")

# What a call may say, in the order that it is sent on in.
_NUMBERS: Final = ("versionNumber", "pageSize")
_WORDS: Final = ("ownerSlug", "modelSlug", "framework", "instanceSlug")
_OTHERS: Final = ("pageToken", "path")

_HELP: Final = "Served is what kagglehub.model_download asks for."


@dataclass(frozen=True, slots=True, kw_only=True)
class Led(Document):
    """A call that is answered by a redirect to *path* on this mirror."""

    path: str


class Kaggle(Hosted):
    """A hub whose clients POST what they want to read."""

    def recognise(self, head: RequestHead, body: bytes) -> Question | None:
        """Say what a request means: a call, or one of the addresses."""
        place = self._place(head)
        call = None if place is None else _CALL.match(place.path)
        if call is None:
            return super().recognise(head, body)
        if head.method != "POST":
            raise MethodRefusedError("A call of this service is a POST.", allowed=("POST",))
        return self._called(call["method"], _read(body))

    def answer(self, question: Question, facts: Facts, base_url: str) -> Answer:
        """Answer with the file or document, or lead to the file."""
        if not isinstance(question, Led):
            return super().answer(question, facts, base_url)
        return Answer(
            302, (("Location", f"{base_url}{question.path}"), ("Cache-Control", "no-store"))
        )

    def needs(self, question: Question, facts: Facts) -> list[Need]:
        """Name what is missing; to be led on needs nothing."""
        return [] if isinstance(question, Led) else list(super().needs(question, facts))

    def refuse(self, error: MirrorError) -> Answer:
        """Word an error where kagglehub looks for a sentence."""
        answer = super().refuse(error)
        said = {"error": str(error), "code": answer.status, "message": str(error)}
        return replace(answer, body=(json.dumps(said).encode(),))

    def _called(self, method: str, said: Mapping[str, Any]) -> Question:
        if method == "DownloadModelInstanceVersion":
            if "versionNumber" not in said:
                raise MalformedQuestionError("The call names no version.", hint=_HELP)
            path = _model(said) + _version(said) + "/download"
            more = f"/{quote(said['path'])}" if said.get("path") else ""
            return Led(anonymous=True, path=f"/-/host/{_SITE}{path}{more}")
        if method == "ListModelInstanceVersionFiles":
            kind = Kind.PINNED if _version(said) else Kind.MOVING
        elif method == "GetModelInstance":
            kind = Kind.MOVING
        else:
            raise MalformedQuestionError(f"Calls of {method} are not served.", hint=_HELP)
        _model(said)
        place = Place(_API, f"/v1/models.ModelApiService/{method}")
        post = json.dumps(said, separators=(",", ":")).encode()
        route = Route(target=place.url, kind=kind, document=True, post=post)
        return HostedDocument(
            place=place, route=route, anonymous=True, title=f"{place.host}{place.path}"
        )


def _read(body: bytes) -> Mapping[str, Any]:
    """What a call says, without what means nothing here."""
    try:
        said = json.loads(body)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise MalformedQuestionError("A call of Kaggle's API is a JSON object.", hint=_HELP)
    known = {name: said[name] for name in (*_WORDS, *_NUMBERS, *_OTHERS) if said.get(name)}
    for name, value in known.items():
        right = type(value) is int and value > 0 if name in _NUMBERS else isinstance(value, str)
        if not right or (name in _WORDS and not _SLUG.match(value)):
            raise MalformedQuestionError(f"The call has a {name} that cannot be.", hint=_HELP)
    return known


def _model(said: Mapping[str, Any]) -> str:
    """The model of a call as a path of the older API."""
    framework = _FRAMEWORK.match(said.get("framework", ""))
    if framework is None or any(name not in said for name in _WORDS):
        raise MalformedQuestionError("The call names no model.", hint=_HELP)
    first, *others = framework[1].lower().split("_")
    camel = first + "".join(word.capitalize() for word in others)
    return f"{_V1}models/{said['ownerSlug']}/{said['modelSlug']}/{camel}/{said['instanceSlug']}"


def _version(said: Mapping[str, Any]) -> str:
    return f"/{said['versionNumber']}" if "versionNumber" in said else ""


def _route(place: Place) -> Route:
    """An address of the older API."""
    url = f"https://{_SITE}{place.path}"
    if _DOWNLOAD.match(place.path):
        return Route(target=url, kind=Kind.PINNED, probe="GET")
    listing = _LISTING.match(place.path) is not None
    if place.host != _SITE or not (listing or _NEWEST.match(place.path)):
        raise MalformedQuestionError("That is no address of Kaggle's models.", hint=_HELP)
    page = urlencode([pair for pair in parse_qsl(place.query) if pair[0] in _PAGE])
    return Route(
        target=f"{url}?{page}" if page else url,
        kind=Kind.PINNED if listing else Kind.MOVING,
        document=True,
    )


def _of_models(place: Place) -> bool:
    return place.path.startswith((f"{_V1}models/", f"{_V1}models.", "/v1/models."))


def _short(rest: str, query: str) -> Place:
    """``/-/kaggle/api/v1/models/…``: what ``KAGGLE_API_ENDPOINT`` may name, with a slash at its end."""
    return Place(_SITE, f"/{rest}", query)


def _root(rest: str, query: str) -> Place:
    """``/api/v1/models/…``, where the endpoint is the mirror itself."""
    return Place(_SITE, f"{_V1}{rest}", query)


FAMILIES: Final = (
    Family(
        name="kaggle",
        hosts=(_SITE, _API),
        router=_route,
        takes=_of_models,
        short={"/-/kaggle/": _short, _V1: _root},
    ),
)
