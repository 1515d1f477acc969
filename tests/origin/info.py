"""The description of a repo and of one of its revisions, and the search over all repos."""

import base64
import json
from urllib.parse import urlencode

from tests.origin.access import Call, Caller, commit_of
from tests.origin.listing import timestamp
from tests.origin.repos import Commit, Repo
from tests.origin.wire import Reply, Request, json_reply
from tests.origin.world import World

_config_limit = 1 << 20
_search_page = 1000
_always = frozenset({"_id", "id"})


def info(call: Call, revision: str) -> Reply:
    """Answer ``/api/{kind}/{repo}[/revision/{revision}]``."""
    commit = commit_of(call.repo, revision)
    request = call.request
    row = describe(call.repo, commit)
    row["siblings"] = siblings(commit, blobs=request.flag("blobs"))
    if request.flag("securityStatus"):
        row["securityRepoStatus"] = {"scansDone": True, "filesWithIssues": []}
    row |= call.repo.info
    wanted = {
        name
        for key in ("expand", "expand[]")
        for value in request.parameters.get(key, [])
        for name in value.split(",")
    }
    if wanted:
        row = {name: value for name, value in row.items() if name in wanted | _always}
    return json_reply(row)


def describe(repo: Repo, commit: Commit) -> dict[str, object]:
    """Return what the Hub tells of a repo, seen at one of its commits."""
    head = repo.head()
    config = _config(commit)
    row: dict[str, object] = {
        "_id": repo.ident,
        "id": repo.name,
        "author": repo.name.partition("/")[0] if "/" in repo.name else None,
        "sha": commit.oid,
        "lastModified": timestamp(head.when),
        "createdAt": timestamp(repo.history(head)[-1].when),
        "private": repo.access.private,
        "gated": repo.access.gated,
        "disabled": repo.access.disabled,
        "downloads": 12,
        "likes": 3,
        "tags": ["region:us"],
        "cardData": {},
        "usedStorage": sum(entry.size for entry in commit.files.values()),
    }
    if repo.kind == "models":
        library = "transformers" if "model_type" in config else None
        row |= {
            "modelId": repo.name,
            "pipeline_tag": None,
            "library_name": library,
            "tags": [library, "region:us"] if library else ["region:us"],
            "config": config,
            "widgetData": [],
            "spaces": [],
            "model-index": None,
        }
    elif repo.kind == "datasets":
        row |= {"description": "", "citation": None, "paperswithcode_id": None}
    elif repo.kind == "spaces":
        row |= {
            "sdk": "static",
            "host": f"https://{repo.name.replace('/', '-')}.static.hf.space",
            "subdomain": repo.name.replace("/", "-"),
            "runtime": {"stage": "RUNNING", "hardware": {"current": None, "requested": None}},
        }
    return row


def siblings(commit: Commit, *, blobs: bool) -> list[dict[str, object]]:
    """Return every file of a commit as the info lists them, with digests if ``blobs``."""
    rows: list[dict[str, object]] = []
    for path in sorted(commit.files):
        row: dict[str, object] = {"rfilename": path}
        if blobs:
            entry = commit.files[path]
            row |= {"size": entry.size, "blobId": entry.oid}
            if entry.lfs:
                row["lfs"] = {
                    "sha256": entry.sha256,
                    "size": entry.size,
                    "pointerSize": len(entry.pointer),
                }
        rows.append(row)
    return rows


def _config(commit: Commit) -> dict[str, object]:
    entry = commit.files.get("config.json")
    if entry is None or entry.size > _config_limit:
        return {}
    try:
        held = json.loads(entry.data)
    except ValueError:
        return {}
    if not isinstance(held, dict):
        return {}
    return {name: held[name] for name in ("architectures", "model_type") if name in held}


def search(world: World, request: Request, caller: Caller, kind: str) -> Reply:
    """Answer ``/api/{kind}``: visible repos that fit, one page of them."""
    wish = request.parameter("limit")
    limit = min(_search_page, int(wish)) if wish.isdecimal() and int(wish) else _search_page
    start = 0
    cursor = request.parameter("cursor")
    if cursor:
        try:
            start = int(base64.b64decode(cursor, validate=True))
        except ValueError:
            return json_reply({"error": "Invalid cursor"}, status=400)
    found = [repo for repo in world.shelf.all(kind) if _fits(repo, request, caller)]
    rows = []
    for repo in found[start : start + limit]:
        row = describe(repo, repo.head()) | dict(repo.info)
        if request.flag("full"):
            row["siblings"] = siblings(repo.head(), blobs=False)
        if not request.flag("config"):
            row.pop("config", None)
        if not request.flag("cardData"):
            row.pop("cardData", None)
        rows.append(row)
    headers = {}
    if start + limit < len(found):
        query = {name: values[0] for name, values in request.parameters.items()}
        query["cursor"] = base64.b64encode(str(start + limit).encode()).decode()
        headers["Link"] = f'<{world.hub_url}{request.path}?{urlencode(query)}>; rel="next"'
    return json_reply(rows, headers)


def _fits(repo: Repo, request: Request, caller: Caller) -> bool:
    if repo.access.private and caller.token not in repo.access.readers:
        return False
    author = request.parameter("author")
    if author and not repo.name.startswith(f"{author}/"):
        return False
    if request.parameter("search").lower() not in repo.name.lower():
        return False
    tags = repo.info.get("tags", ["region:us"])
    wanted = [tag for value in request.parameters.get("filter", []) for tag in value.split(",")]
    return all(isinstance(tags, list) and tag in tags for tag in wanted)
