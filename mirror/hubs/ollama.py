"""Ollama's registry: manifests by their tags, layers by their digests.

What a pull asks for (ollama at fb3076099, ``server/images.go`` and ``download.go``): the manifest; of each
layer HEAD for its length, one GET whose body is dropped, and parts of 100 MB and more by Range. Where the
parts are, a client reads from the ``Location`` of that one GET: a plain 200 has none, and fails (#7244).
"""

import re
from dataclasses import replace
from typing import Final

from mirror.digest import SHA256, Digest, sha256_of
from mirror.errors import MalformedQuestionError
from mirror.hubs.base import Facts
from mirror.hubs.hosted import Hosted
from mirror.hubs.places import Family, HostedDocument, HostedFile, Kind, Place, Route
from mirror.messages import Answer
from mirror.names import Question

_REGISTRY: Final = "registry.ollama.ai"
# At the root the other namespaces are the Hub's.
_LIBRARY: Final = "/v2/library/"

_MANIFEST_TYPE: Final = "application/vnd.docker.distribution.manifest.v2+json"
_NAME: Final = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_MANIFEST: Final = re.compile(rf"/v2/{_NAME}/{_NAME}/manifests/(?P<tag>{_NAME})\Z")
_LAYER: Final = re.compile(rf"/v2/{_NAME}/{_NAME}/blobs/sha256[:-](?P<digest>[0-9a-f]{{64}})\Z")


class Ollama(Hosted):
    """A hub of layers that say where they are."""

    def answer(self, question: Question, facts: Facts, base_url: str) -> Answer:
        """Answer as other hubs do, with what a puller looks for besides."""
        answer = super().answer(question, facts, base_url)
        match question:
            case HostedFile(place=place):
                own = place.path.startswith(_LIBRARY)
                path = place.path if own else f"/-/host/{place.host}{place.path}"
                more = ("Location", f"{base_url}{path}")
            case HostedDocument() if answer.status == 200:
                content = b"".join(part for part in answer.body if isinstance(part, bytes))
                more = ("Docker-Content-Digest", str(sha256_of(content)))
            case _:
                return answer
        return replace(answer, headers=(*answer.headers, more))


def _route(place: Place) -> Route:
    if _MANIFEST.match(place.path):
        return Route(target=place.path, kind=Kind.MOVING, document=True, accept=_MANIFEST_TYPE)
    layer = _LAYER.match(place.path)
    if layer is None:
        raise MalformedQuestionError(
            "That is no manifest and no layer of Ollama's registry.",
            hint="Pull with: ollama pull --insecure HOST:PORT/library/MODEL.",
        )
    target = place.path.replace("sha256-", "sha256:")
    digest = Digest(SHA256, layer["digest"])
    # The registry redirects to addresses that are signed for one method.
    return Route(target=target, kind=Kind.PROVEN, digest=digest, probe="GET")


def _library(rest: str, query: str) -> Place:
    """``/v2/library/…``, as at the registry itself."""
    del query
    return Place(_REGISTRY, f"{_LIBRARY}{rest}")


FAMILIES: Final = (
    Family(name="ollama", hosts=(_REGISTRY,), router=_route, short={_LIBRARY: _library}),
)
