"""GitHub: release assets, files of repositories, and what torch.hub asks.

Of a release asset the API tells the sha256 since June 2025. A file of a commit never changes. Archives are
made anew for each request and come without a length; the commit is what they are known by. A file in Git LFS
(git-lfs/docs/spec.md) is a pointer in the repository: it is read for the digest and size of the file and
never served in its place.
"""

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

from mirror.digest import SHA256, Digest
from mirror.errors import MalformedQuestionError
from mirror.hubs.places import Aside, Family, Kind, Place, Route, Told

_SITE: Final = "github.com"
_API: Final = "api.github.com"
_RAW: Final = "raw.githubusercontent.com"
_MEDIA: Final = "media.githubusercontent.com"
_ARCHIVES: Final = "codeload.github.com"
_HUB: Final = "huggingface.co"

_COMMIT: Final = re.compile(r"[0-9a-f]{40}\Z")

_REPO: Final = r"/(?P<repo>[^/]+/[^/]+)"
_ASSET: Final = re.compile(rf"{_REPO}/releases/download/(?P<tag>.+)/(?P<file>[^/]+)\Z")
_LATEST: Final = re.compile(rf"{_REPO}/releases/latest/download/[^/]+\Z")
_FILE: Final = re.compile(rf"{_REPO}/(?P<word>raw|blob)/(?P<path>[^/]+/.+)\Z")
_ARCHIVE: Final = re.compile(
    rf"{_REPO}/(?:(?:zip|tar)ball/(?P<ref>.+)|archive/(?P<named>.+)\.(?:zip|tar\.gz))\Z"
)
_TREE: Final = re.compile(rf"{_REPO}/tree/[^/]+/?\Z")
_DIRECT: Final = re.compile(rf"{_REPO}/(?:legacy\.)?(?:zip|tar\.gz)/(?P<ref>.+)\Z")
_CONTENT: Final = re.compile(rf"{_REPO}/(?P<path>[^/]+/.+)\Z")
_MEDIA_CONTENT: Final = re.compile(rf"/media{_REPO}/(?P<path>[^/]+/.+)\Z")
_PAGES: Final = re.compile(
    r"/(?:repos/[^/]+/[^/]+|repositories/[0-9]+)/(?:branches|tags|releases)(?:/(?:latest|tags/.+))?\Z"
)
_QUERY: Final = re.compile(r"(?:(?:per_page|page)=[0-9]{1,9}(?:&|\Z))*\Z")

# git-lfs/docs/spec.md: a pointer is shorter than this.
_POINTER_LIMIT: Final = 1024
_POINTER: Final = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n(?:ext-[^\n]*\n)*"
    rb"oid sha256:(?P<oid>[0-9a-f]{64})\nsize (?P<size>[0-9]{1,18})\n?\Z"
)
_ZOO: Final = re.compile(
    r"/opencv/opencv_zoo/[^/]+/(?P<path>models/(?P<model>[^/]+)/(?P<file>[^/]+))\Z"
)

_HELP: Final = (
    "Served are /o/r/releases/download/TAG/FILE, /o/r/raw/REF/PATH, /o/r/zipball/REF, "
    "/o/r/archive/REF.zip and /o/r/tree/BRANCH."
)


def _route(place: Place) -> Route:
    match place.host:
        case "raw.githubusercontent.com":
            found = _CONTENT.match(place.path)
            return _nothing(place) if found is None else _content(found["repo"], found["path"])
        case "media.githubusercontent.com":
            found = _MEDIA_CONTENT.match(place.path)
            return _nothing(place) if found is None else _content(found["repo"], found["path"])
        case "codeload.github.com":
            found = _DIRECT.match(place.path)
            return _nothing(place) if found is None else _archive(place, found["ref"])
        case "api.github.com":
            return _page(place)
        case _:
            return _site(place)


def _site(place: Place) -> Route:
    """An address of github.com itself."""
    url = f"https://{_SITE}{place.path}"
    if found := _ASSET.match(place.path):
        return _asset(url, found["repo"], found["tag"], found["file"])
    if _LATEST.match(place.path):
        return Route(target=url, kind=Kind.MOVING)
    if (found := _FILE.match(place.path)) and (found["word"] == "raw" or "raw=" in place.query):
        return _content(found["repo"], found["path"])
    if found := _ARCHIVE.match(place.path):
        return _archive(place, found["ref"] or found["named"])
    if _TREE.match(place.path):
        return Route(target=url, kind=Kind.MOVING, document=True, presence=True)
    return _nothing(place)


def _nothing(place: Place) -> Route:
    raise MalformedQuestionError(f"That is no address of {place.host} that is served.", hint=_HELP)


# ── release assets ──────────────────────────────────────────────────────────────────────────────────


def _asset(url: str, repo: str, tag: str, file: str) -> Route:
    release = f"https://{_API}/repos/{repo}/releases/tags/{tag}"
    aside = Aside(target=release, file=unquote(file), read=_digest)
    return Route(target=url, kind=Kind.PINNED, aside=aside)


def _digest(file: str, release: bytes) -> Told | None:
    """What the API says of the asset *file* of a release."""
    text = _digests(release).get(file, "")
    try:
        digest = Digest.parse(text)
    except ValueError:
        return None
    return Told(digest=digest) if digest.algorithm == SHA256 else None


@lru_cache(maxsize=16)
def _digests(release: bytes) -> Mapping[str, str]:
    """The digest of each asset by its name; a large release is 400 KB of JSON, and asked for often."""
    try:
        assets = json.loads(release)["assets"]
        return {str(asset["name"]): str(asset.get("digest") or "") for asset in assets}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


# ── files of a repository ───────────────────────────────────────────────────────────────────────────


def _content(repo: str, path: str) -> Route:
    """A file at *path* (its ref comes first), whichever of the hosts was asked for it."""
    at = f"/{repo}/{path}"
    aside = Aside(
        target=f"https://{_RAW}{at}",
        file=at,
        read=_pointed_at,
        below=_POINTER_LIMIT,
        needed=True,
    )
    return Route(target=f"https://{_RAW}{at}", kind=_kind(path.partition("/")[0]), aside=aside)


def _pointed_at(at: str, content: bytes) -> Told | None:
    """What a pointer says of its file; `None` for a small file that is no pointer."""
    pointer = _POINTER.match(content)
    if pointer is None:
        return None
    sources = [f"https://{_MEDIA}/media{at}"]
    # Its LFS budget is spent (opencv_zoo #294); its keepers publish the same files on the Hub (#303).
    if zoo := _ZOO.match(at):
        sources.append(f"https://{_HUB}/opencv/opencv_zoo/resolve/main/{zoo['path']}")
        sources.append(f"https://{_HUB}/opencv/{zoo['model']}/resolve/main/{zoo['file']}")
    digest = Digest(SHA256, pointer["oid"].decode())
    return Told(digest=digest, size=int(pointer["size"]), sources=tuple(sources))


def _kind(ref: str) -> Kind:
    return Kind.PINNED if _COMMIT.match(ref) else Kind.MOVING


# ── archives and pages ──────────────────────────────────────────────────────────────────────────────


def _archive(place: Place, ref: str) -> Route:
    kind = Kind.REGENERATED if _COMMIT.match(ref) else Kind.MOVING
    return Route(target=f"https://{place.host}{place.path}", kind=kind, collect=True)


def _page(place: Place) -> Route:
    if not _PAGES.match(place.path) or not _QUERY.match(place.query):
        _nothing(place)
    return Route(target=f"https://{_API}{place.target}", kind=Kind.MOVING, document=True)


FAMILIES: Final = (
    Family(
        name="github",
        hosts=(_SITE, _RAW, _MEDIA, _API, _ARCHIVES),
        sources=(_HUB,),
        router=_route,
    ),
)
