"""Refs and commits of a repo."""

from urllib.parse import urlencode

from tests.origin.access import Call, commit_of
from tests.origin.listing import timestamp
from tests.origin.wire import Reply, json_reply

_page = 50


def refs(call: Call) -> Reply:
    """Answer ``/refs``: branches, tags, converts, and pull requests if asked for."""
    groups = {
        "branches": "refs/heads/",
        "tags": "refs/tags/",
        "converts": "refs/convert/",
        "pullRequests": "refs/pr/",
    }
    if not call.request.flag("include_prs"):
        del groups["pullRequests"]
    held = call.repo.refs
    return json_reply(
        {
            group: [
                {"name": ref.removeprefix(prefix), "ref": ref, "targetCommit": oid}
                for ref, oid in sorted(held.items())
                if ref.startswith(prefix)
            ]
            for group, prefix in groups.items()
        }
    )


def commits(call: Call, revision: str) -> Reply:
    """Answer one page of ``/commits/{revision}``, newest first."""
    request = call.request
    line = call.repo.history(commit_of(call.repo, revision))
    wish = request.parameter("limit")
    limit = min(1000, int(wish)) if wish.isdecimal() and int(wish) else _page
    number = request.parameter("p", "0")
    page = int(number) if number.isdecimal() else 0
    rows = [
        {
            "id": commit.oid,
            "title": commit.message.partition("\n")[0],
            "message": commit.message.partition("\n")[2].strip(),
            "authors": [{"user": "acme", "avatar": "/avatars/acme.svg"}],
            "date": timestamp(commit.when),
        }
        for commit in line[page * limit : (page + 1) * limit]
    ]
    headers = {"X-Total-Count": str(len(line))}
    if (page + 1) * limit < len(line):
        query = {name: values[0] for name, values in request.parameters.items()}
        query |= {"p": str(page + 1), "limit": str(limit)}
        url = f"{call.world.hub_url}{request.path}?{urlencode(query)}"
        headers["Link"] = f'<{url}>; rel="next"'
    return json_reply(rows, headers)
