"""The requests the mirror makes of the Hub, each as a `Need`.

They are written from scratch: nothing of a client's request reaches upstream but what stands here.
``context`` says in words what the response will be read as, so `learning` needs no second look at the
target.
"""

import json
from collections.abc import Sequence
from hashlib import sha256
from typing import Final
from urllib.parse import urlencode

from mirror.digest import Digest
from mirror.hubs.huggingface.grammar import quoted_path, quoted_revision, web_name
from mirror.messages import BlobRef, UpstreamRequest
from mirror.names import Entry, Need, Repo

LFS_JSON: Final = "application/vnd.git-lfs+json"
_LFS: Final = (("accept", LFS_JSON), ("content-type", LFS_JSON))
_FORM: Final = (("content-type", "application/x-www-form-urlencoded"),)
# A tree page of 1000 entries is 400 KiB; upstream answers of a repo with 100 000 siblings 10 MiB.
_LISTING_LIMIT: Final = 32 << 20
_PROBE_LIMIT: Final = 64 << 10


def revision_need(repo: Repo, revision: str) -> Need:
    """Ask what *revision* of *repo* points at, and who may see it."""
    target = f"/api/{repo.name}/revision/{quoted_revision(revision)}"
    return Need(
        key=f"revision {repo.name} {revision}",
        request=UpstreamRequest("GET", target),
        limit=_LISTING_LIMIT,
        context={"what": "revision", "repo": repo.name, "revision": revision},
    )


def tree_need(repo: Repo, commit: str, *, reader: bool = False) -> Need:
    """Ask for the whole file list of *commit*; as a *reader*, with the hashes others do not see."""
    context = {"what": "tree", "repo": repo.name, "commit": commit}
    if reader:
        context["reader"] = "yes"
    return Need(
        key=f"tree {repo.name} {commit}{' as reader' if reader else ''}",
        request=UpstreamRequest(
            "GET", f"/api/{repo.name}/tree/{commit}?recursive=true&expand=false"
        ),
        limit=_LISTING_LIMIT,
        pages=True,
        as_caller=reader,
        context=context,
    )


def paths_body(paths: Sequence[str], *, expand: bool) -> bytes:
    """Write the form that ``paths-info`` takes."""
    fields = [("paths", path) for path in paths] + [("expand", "true" if expand else "false")]
    return urlencode(fields).encode()


def paths_need(repo: Repo, commit: str, paths: Sequence[str]) -> Need:
    """Ask for some *paths* of *commit* alone, while or because its whole list is not known."""
    body = paths_body(paths, expand=False)
    return Need(
        key=f"paths {repo.name} {commit} {sha256(body).hexdigest()}",
        request=UpstreamRequest("POST", f"/api/{repo.name}/paths-info/{commit}", _FORM, body),
        limit=_LISTING_LIMIT,
        context={
            "what": "paths",
            "repo": repo.name,
            "commit": commit,
            "paths": "\0".join(paths),
        },
    )


def probe_need(repo: Repo) -> Need:
    """Ask whether the caller may read the content of *repo*."""
    return Need(
        key=f"probe {repo.name}",
        request=UpstreamRequest("GET", f"/api/{repo.name}/auth-check"),
        limit=_PROBE_LIMIT,
        as_caller=True,
        context={"what": "probe", "repo": repo.name},
    )


def batch_need(repo: Repo, objects: Sequence[tuple[str, int]]) -> Need:
    """Ask whether a git-lfs caller may read *objects*: git's credentials may open git's routes alone."""
    listed = [{"oid": oid, "size": size} for oid, size in objects]
    asked = {"operation": "download", "transfers": ["basic"], "objects": listed}
    body = json.dumps(asked | {"hash_algo": "sha256"}).encode()
    target = f"/{web_name(repo)}.git/info/lfs/objects/batch"
    return Need(
        key=f"batch {repo.name} {sha256(body).hexdigest()}",
        request=UpstreamRequest("POST", target, _LFS, body),
        as_caller=True,
        context={"what": "batch", "repo": repo.name},
    )


def reply_need(
    request: UpstreamRequest,
    *,
    lifetime: float,
    lasting: bool = False,
    private: bool = False,
    repo: Repo | None = None,
    limit: int = _LISTING_LIMIT,
) -> Need:
    """Ask for a document that is kept whole, or, at a *lifetime* of 0, used once.

    *lasting* and *private* are as in `mirror.names.Reply`; a private one is asked as the caller.
    """
    context = {"what": "reply", "lifetime": repr(lifetime)}
    if lasting:
        context["lasting"] = "yes"
    if private:
        context["private"] = "yes"
    if repo is not None:
        context["repo"] = repo.name
    key = reply_key(request)
    return Need(key=key, request=request, limit=limit, as_caller=private, context=context)


def reply_key(request: UpstreamRequest) -> str:
    """Name the answer to *request*: method, target, and what else upstream's answer depends on."""
    key = f"{request.method} {request.target}"
    agent = next((text for name, text in request.headers if name == "user-agent"), "")
    if agent:
        key += f" agent={agent}"
    if request.body:
        key += f" body={sha256(request.body).hexdigest()}"
    return key


def expanded_paths_request(repo: Repo, commit: str, paths: Sequence[str]) -> UpstreamRequest:
    """Ask for some *paths* with their last commit and security status."""
    body = paths_body(paths, expand=True)
    return UpstreamRequest("POST", f"/api/{repo.name}/paths-info/{commit}", _FORM, body)


def manifest_request(repo: Repo, tag: str, agent: str) -> UpstreamRequest:
    """Ask for the registry manifest of *tag*, as *agent* if that matters."""
    headers = (("accept", "application/json"), *((("user-agent", agent),) if agent else ()))
    return UpstreamRequest("GET", f"/v2/{web_name(repo)}/manifests/{quoted_revision(tag)}", headers)


def layer_request(repo: Repo, sha256_hex: str) -> UpstreamRequest:
    """Ask for a registry layer that is no file of the repo: the Hub makes small ones up."""
    return UpstreamRequest("GET", f"/v2/{web_name(repo)}/blobs/sha256:{sha256_hex}")


def blob_of(repo: Repo, commit: str, entry: Entry, digest: Digest) -> BlobRef:
    """Name the content of *entry*, and where it comes from."""
    target = f"/{web_name(repo)}/resolve/{commit}/{quoted_path(entry.path)}"
    source = UpstreamRequest("GET", target)
    return BlobRef(digest, entry.size, source, repo.hub, repo.name, entry.path)
