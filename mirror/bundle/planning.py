"""What a target needs, as the mirror tells it: the requests before the first file, and the plan they make."""

import posixpath
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol, TypeAlias
from urllib.parse import quote, unquote, urlsplit

from mirror.bundle import layouts
from mirror.bundle.endpoint import AnswerRefusedError, Head
from mirror.bundle.layouts import Member, Package
from mirror.bundle.places import Folder, Places
from mirror.bundle.plan import File, Packing, Plan
from mirror.digest import GIT_SHA1, SHA256, Digest
from mirror.errors import MirrorError, QuestionError
from mirror.hubs.torch import name_checks
from mirror.hubs.whisper import MODELS, OTHER_NAMES
from mirror.redaction import one_line
from mirror.targets import Kind, Target, handle_site

_KINDS: Final = {Kind.MODEL: "models", Kind.DATASET: "datasets", Kind.SPACE: "spaces"}
_NEXT: Final = re.compile(r'<([^>]*)>\s*;\s*rel="next"')
# How many pages of a file list are followed: of 1000 entries each.
_MOST_PAGES: Final = 10_000

_ELEMENT: Final = re.compile(r"<(package|collection|item|/collection)\b([^>]*)>")
_ATTRIBUTE: Final = re.compile(r'([a-z0-9_]+)="([^"]*)"')
_LINK: Final = re.compile(r'<a href="[^"#]*/([^"/#]+)(?:#sha256=([0-9a-f]{64}))?"')


Choose: TypeAlias = Callable[[Target, Iterator[Member]], Sequence[Member]]
"""Picks the files that a target means; raises `MirrorError` where there are none."""


class Documents(Protocol):
    """Where small documents are read: a mirror over HTTP (`Endpoint`), or what is stored of them."""

    def document(self, target: str, *, restricted: bool = False) -> tuple[Head, bytes]:
        """Fetch a small body whole. Raises `MirrorError`."""
        ...

    def json(self, target: str, *, restricted: bool = False) -> tuple[Head, Any]:
        """Fetch a document and read it as JSON. Raises `MirrorError`."""
        ...


class Planner:
    """Makes plans of what the mirror at *endpoint* tells; *places* say where things go.

    *choose* picks the files of a repo that a target means. With *real* a plan has no symbolic links. *newest*
    are the names of TF Hub targets that are found by their handle without its version, too.
    """

    def __init__(
        self,
        endpoint: Documents,
        places: Places,
        choose: Choose,
        *,
        real: bool,
        newest: Collection[str] = (),
    ) -> None:
        self._endpoint = endpoint
        self._choose = choose
        self._places = places
        self._real = real
        self._newest = newest

    def plan(self, target: Target, place: str) -> Plan:
        """What *target* needs: in *place*, a path as the app sees it, ``""`` for the client's own cache.

        Raises `MirrorError` for what the mirror refuses, has not or cannot be laid out.
        """
        makers: Mapping[Kind, Callable[[Target, str], Plan]] = {
            Kind.WHISPER: self._whisper,
            Kind.TORCH: self._checkpoint,
            Kind.TORCHHUB: self._torchhub,
            Kind.TFHUB: self._tfhub,
            Kind.KAGGLE: self._kaggle,
            Kind.TIKTOKEN: self._tiktoken,
            Kind.NLTK: self._nltk,
            Kind.SPACY: self._wheel,
            Kind.URL: self._url,
        }
        try:
            return makers.get(target.kind, self._repo)(target, place)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise MirrorError(
                f"What the mirror tells of {target} cannot be understood"
                f" ({type(error).__name__}: {one_line(str(error))}).",
                hint="Are the mirror and this of the same version?",
            ) from error

    # ── the Hub ────────────────────────────────────────────────────────────────────────────────

    def _repo(self, target: Target, place: str) -> Plan:
        api = f"/api/{_KINDS[target.kind]}/{target.name}"
        revision = quote(target.revision or "main", safe="")
        _, info = self._endpoint.json(f"{api}/revision/{revision}", restricted=True)
        commit = str(info.get("sha", "")) if isinstance(info, dict) else ""
        if not re.fullmatch(r"[0-9a-f]{40}", commit):
            raise MirrorError(f"The mirror names no commit of {target}.")
        members = self._choose(target, self._members(f"{api}/tree/{commit}?recursive=true"))
        if place and target.file:
            (member,) = members
            folder, name = self._said(place, posixpath.basename(member.path))
            return layouts.flat(target, commit, members, folder.path, name)
        if place:
            return layouts.flat(target, commit, members, self._places.below(place))
        folders = self._places.caches(target.kind)
        plan = layouts.hub_cache(target, commit, members, folders, real=self._real)
        old = self._places.transformers() if target.kind is Kind.MODEL else None
        return plan if old is None else layouts.with_version(plan, old)

    def _members(self, page: str) -> Iterator[Member]:
        for _ in range(_MOST_PAGES):
            head, entries = self._endpoint.json(page, restricted=True)
            for entry in entries:
                if entry["type"] == "file":
                    yield _member(entry)
            further = _NEXT.search(head.headers.get("link", ""))
            if further is None:
                return
            parts = urlsplit(further[1])
            # A mirror behind another server names the address that is known outside; this is asked here.
            path = parts.path[parts.path.index("/api/") :] if "/api/" in parts.path else parts.path
            page = f"{path}?{parts.query}"
        raise MirrorError("The list of files has no end.")

    # ── one file ───────────────────────────────────────────────────────────────────────────────

    def _one(self, target: Target, place: str, file: File, name: str, below: str = "") -> Plan:
        if place:
            folder, name = self._said(place, name)
            return layouts.one_file(file, name, folder)
        url = target.name if target.kind is Kind.URL else ""
        folders = self._places.caches(target.kind, url)
        if not folders:
            raise QuestionError(
                f"No client has a cache of its own for {target}.",
                hint=f"Say where it is to be: {target}=PATH, or PATH/ for a folder.",
            )
        return layouts.one_file(file, name, folders[0], below=below)

    def _said(self, place: str, name: str) -> tuple[Folder, str]:
        """The folder and name of a place that is said: a file, or with a slash at its end a folder."""
        path = self._places.below(place)
        if place.endswith("/") or not path:
            return Folder(path, "", ""), name
        return Folder(posixpath.dirname(path), "", ""), posixpath.basename(path)

    def _whisper(self, target: Target, place: str) -> Plan:
        name = OTHER_NAMES.get(target.name, target.name)
        if name not in MODELS:
            raise QuestionError(
                f"Whisper has no model {target.name!r}.",
                hint=f"It has {', '.join((*MODELS, *OTHER_NAMES))}.",
            )
        file = File(source=f"/-/whisper/{name}", proven=True)
        return self._one(target, place, file, f"{name}.pt")

    def _checkpoint(self, target: Target, place: str) -> Plan:
        file = File(source=target.sources[0], prefix=_prefix(target.name))
        return self._one(target, place, file, posixpath.basename(target.name), "checkpoints")

    def _url(self, target: Target, place: str) -> Plan:
        parts = urlsplit(target.name)
        name = unquote(posixpath.basename(parts.path))
        proven = re.search(r"/[0-9a-f]{64}/[^/]+\Z", parts.path) is not None
        file = File(source=target.sources[0], prefix=_prefix(name), proven=proven)
        below = "checkpoints" if parts.hostname == "download.pytorch.org" else ""
        return self._one(target, place, file, name, below)

    def _tiktoken(self, target: Target, place: str) -> Plan:
        plans = []
        for source in target.sources:
            url = f"https://{source.removeprefix('/-/host/')}"
            name = posixpath.basename(source) if place else layouts.tiktoken_name(url)
            file = File(source=source, proven=True)
            folder = f"{place.rstrip('/')}/" if place and len(target.sources) > 1 else place
            plans.append(self._one(target, folder, file, name))
        files = tuple(file for plan in plans for file in plan.files)
        return Plan(files=files, environment=plans[0].environment)

    def _wheel(self, target: Target, place: str) -> Plan:
        """The package of a spaCy model: of the version that is said, else of the newest."""
        if target.revision:
            source = target.sources[0]
            return self._one(target, place, File(source=source), posixpath.basename(source))
        project = target.name.replace("_", "-")
        _, page = self._endpoint.document(f"/-/spacy/simple/{project}/")
        found = _LINK.search(page.decode("utf-8", "replace"))
        if found is None:
            raise MirrorError(f"The mirror lists no package of {target}.")
        digest = Digest(SHA256, found[2]) if found[2] else None
        file = File(source=f"/-/spacy/files/{found[1]}", digest=digest)
        return self._one(target, place, file, found[1])

    # ── folders ────────────────────────────────────────────────────────────────────────────────

    def _torchhub(self, target: Target, place: str) -> Plan:
        ref = target.revision
        if not ref:  # As torch.hub finds it out (`_parse_repo_info`).
            try:
                self._endpoint.document(f"/-/host/github.com/{target.name}/tree/main/")
                ref = "main"
            except AnswerRefusedError as error:
                if error.status != 404:
                    raise
                ref = "master"
        source = replace(target, revision=ref).sources[0]
        if place:
            return layouts.unpacked(source, Packing.ZIP, self._places.below(place))
        return layouts.torchhub(target, ref, source, self._folder(target, place))

    def _tfhub(self, target: Target, place: str) -> Plan:
        where, source = handle_site(target.name), target.sources[0]
        names = [target.name]
        if target.name in self._newest:
            names.append(target.name.rpartition("/")[0])
        handles = [f"https://{where}/{name}" for name in names]
        if where != "tfhub.dev":
            handles += [f"https://{where}/{_in_full(name)}" for name in names]
        if self._real:  # Without links each would be all of it again.
            del handles[1:]
        if place:
            return layouts.unpacked(source, Packing.TAR, self._places.below(place))
        return layouts.tfhub(handles, source, self._folder(target, place))

    def _kaggle(self, target: Target, place: str) -> Plan:
        api = f"/-/kaggle/api/v1/models/{target.name}"
        # A page as long as kagglehub's own; of more files it takes the archive (`http_resolver.py`).
        _, listing = self._endpoint.json(f"{api}/files?page_size=25")
        files = {}
        if not listing.get("nextPageToken"):
            names = [str(file["name"]) for file in listing["files"]]
            files = {name: f"{api}/download/{quote(name)}" for name in names}
        folder = self._folder(target, place)
        return layouts.kaggle(target, files, f"{api}/download", folder)

    def _nltk(self, target: Target, place: str) -> Plan:
        _, index = self._endpoint.document("/-/nltk/index.xml")
        packages = _packages(index.decode("utf-8", "replace"), target.name)
        if not packages:
            raise MirrorError(
                f"NLTK's index has no package or collection {target.name!r}.",
                hint="They are listed at https://www.nltk.org/nltk_data/.",
            )
        return layouts.nltk(packages, self._folder(target, place))

    def _folder(self, target: Target, place: str) -> Folder:
        if place:
            return Folder(self._places.below(place), "", "")
        return self._places.caches(target.kind)[0]


def versions(names: Iterable[str]) -> frozenset[str]:
    """Those of TF Hub's *names* that stand for their handle without its version: the newest of each."""
    newest: dict[str, int] = {}
    names = frozenset(names)
    for name in names:
        handle, _, version = name.rpartition("/")
        if version.isascii() and version.isdigit() and "/" in handle and handle not in names:
            newest[handle] = max(int(version), newest.get(handle, 0))
    return frozenset(f"{handle}/{version}" for handle, version in newest.items())


def _in_full(name: str) -> str:
    """Kaggle's other spelling of the handle *name*."""
    owner, model, framework, variation, *version = name.split("/")
    words = [owner, model, "frameworks", framework, "variations", variation]
    return "/".join([*words, "versions", *version] if version else words)


def _member(entry: Mapping[str, Any]) -> Member:
    """A file of a list as the Hub describes it."""
    lfs = entry.get("lfs")
    try:
        if lfs:
            digest = Digest(SHA256, str(lfs["oid"]).removeprefix("sha256:"))
            return Member(str(entry["path"]), int(lfs["size"]), digest)
        return Member(str(entry["path"]), int(entry["size"]), Digest(GIT_SHA1, str(entry["oid"])))
    except (KeyError, TypeError, ValueError) as error:
        raise MirrorError(f"The mirror describes {entry.get('path')} in no known way.") from error


def _prefix(name: str) -> str:
    """The digits of a sha256 in the name of a checkpoint."""
    return next((check.hex for check in name_checks(name)), "")


def _packages(index: str, wanted: str) -> list[Package]:
    """The packages that NLTK's index has under a name: one, or those of a collection and of its own."""
    packages: dict[str, Package] = {}
    collections: dict[str, list[str]] = {}
    inside = ""
    for found in _ELEMENT.finditer(index):
        said = dict(_ATTRIBUTE.findall(found[2]))
        match found[1]:
            case "package":
                packages[said["id"]] = _package(said)
            case "collection":
                inside = said["id"]
                collections[inside] = []
            case "item" if inside:
                collections[inside].append(said["ref"])
            case _:
                inside = ""
    names, meant = [wanted], {}
    for name in names:
        if name in packages:
            meant[name] = packages[name]
        names += [item for item in collections.get(name, ()) if item not in names]
    return list(meant.values())


def _package(said: Mapping[str, str]) -> Package:
    url = urlsplit(said["url"])
    name = posixpath.basename(url.path)
    sha256 = said.get("sha256_checksum", "")
    return Package(
        source=f"/-/host/{url.netloc}{url.path}",
        path=f"{said['subdir']}/{name}",
        unpacked=said.get("unzip", "1") == "1",
        digest=Digest(SHA256, sha256) if re.fullmatch(r"[0-9a-f]{64}", sha256) else None,
    )
