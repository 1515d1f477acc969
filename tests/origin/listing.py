"""The tree of a commit and the info of chosen paths."""

import base64
import json
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlencode

from tests.origin.access import Call, commit_of, no_entry, refused, sees_content
from tests.origin.repos import Commit
from tests.origin.wire import Reply, json_reply


def timestamp(when: int) -> str:
    """Return seconds since the epoch as the Hub writes times."""
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def node(call: Call, commit: Commit, path: str, *, expand: bool) -> dict[str, object]:
    """Return the listing row of a file or folder of ``commit``."""
    entry = commit.files.get(path)
    row: dict[str, object]
    if entry is None:
        row = {"type": "directory", "oid": commit.trees[path].oid, "size": 0, "path": path}
    else:
        row = {"type": "file", "oid": entry.oid, "size": entry.size, "path": path}
        if entry.lfs:
            row["lfs"] = {
                "oid": entry.sha256,
                "size": entry.size,
                "pointerSize": len(entry.pointer),
            }
        if entry.xet_hash is not None:
            row["xetHash"] = entry.xet_hash if sees_content(call) else "****"
    if expand:
        last = call.repo.commits[commit.touched[path]]
        row["lastCommit"] = {
            "id": last.oid,
            "title": last.message.partition("\n")[0],
            "date": timestamp(last.when),
        }
        if entry is not None:
            row["securityFileStatus"] = {
                "status": "safe",
                "jFrogScan": {"status": "unscanned"},
                "avScan": {"status": "safe", "virusNames": None},
                "pickleImportScan": None,
            }
    return row


def tree(call: Call, revision: str, folder: str) -> Reply:
    """Answer one page of ``/tree/{revision}[/{folder}]``, with the next page in ``Link``."""
    commit = commit_of(call.repo, revision)
    if folder not in commit.trees:
        message = f'{folder} does not exist on "{revision}"'
        raise no_entry(commit, message)
    request, world = call.request, call.world
    expand = request.flag("expand")
    most = min(world.page_size, world.expanded_page_size) if expand else world.page_size
    wish = request.parameter("limit")
    limit = min(most, int(wish)) if wish.isdecimal() and int(wish) else most
    start = _position(request.parameter("cursor"), commit)
    paths = commit.listing(folder, recursive=request.flag("recursive"))
    page = paths[start : start + limit]
    headers = {"X-Repo-Commit": commit.oid}
    if start + limit < len(paths):
        query = {name: values[0] for name, values in request.parameters.items()}
        query |= {"limit": str(limit), "cursor": _cursor(start + limit, commit)}
        link = f"{world.hub_url}{request.path}?{urlencode(query)}"
        headers["Link"] = f'<{link}>; rel="next"'
    return json_reply([node(call, commit, path, expand=expand) for path in page], headers)


def _cursor(position: int, commit: Commit) -> str:
    return base64.b64encode(f"{commit.oid}:{position}".encode()).decode()


def _position(cursor: str, commit: Commit) -> int:
    if not cursor:
        return 0
    try:
        oid, _, position = base64.b64decode(cursor, validate=True).decode().partition(":")
        if oid == commit.oid:
            return int(position)
    except ValueError:
        pass
    raise refused(400, "Invalid cursor")


def paths_info(call: Call, revision: str) -> Reply:
    """Answer ``POST /paths-info/{revision}``, form or JSON; missing paths are left out."""
    request = call.request
    commit = commit_of(call.repo, revision)
    if "json" in request.headers.get("content-type", ""):
        try:
            wish = json.loads(request.body)
            paths = [str(path) for path in wish["paths"]]
            expand = bool(wish.get("expand", False))
        except (ValueError, TypeError, KeyError):
            raise refused(400, "Invalid body") from None
    else:
        form = parse_qs(request.body.decode(), keep_blank_values=True)
        paths = form.get("paths", [])
        expand = form.get("expand", ["false"])[0].lower() == "true"
    wanted = (path.strip("/") for path in paths)
    rows = [
        node(call, commit, path, expand=expand)
        for path in wanted
        if path in commit.files or (path and path in commit.trees)
    ]
    return json_reply(rows, {"X-Repo-Commit": commit.oid})
