"""What upstream's answers teach: responses turned into facts.

An answer that cannot be what was asked for is as good as none (`UpstreamUnreachableError`), so the next
upstream is tried and nothing wrong is written down.
"""

import json
from typing import Any, Final

from mirror.digest import SHA256, Digest, sha256_of
from mirror.errors import DigestMismatchError, UpstreamRefusedError, UpstreamUnreachableError
from mirror.hubs.huggingface.entries import read_entries
from mirror.hubs.huggingface.grammar import (
    HUB,
    KINDS,
    is_commit,
    kind_of,
    repo_id,
    segments,
    valid_id,
)
from mirror.hubs.huggingface.links import local_target, next_target
from mirror.hubs.huggingface.questions import StoredObject
from mirror.messages import Response, UpstreamRequest
from mirror.names import (
    Access,
    Alias,
    Entries,
    Fact,
    Lead,
    Need,
    Question,
    Ref,
    Reply,
    Repo,
    Snapshot,
    SnapshotState,
    Verdict,
    Visibility,
)

# The answer to a token the Hub does not know. Clients must see it as it is, not as a missing repo.
BAD_TOKEN: Final = "Invalid credentials"  # noqa: S105 -- the Hub's words, not a token
# Needs whose refusal says something about the caller, and not only about what was asked.
_TELLING: Final = ("revision", "tree", "probe", "batch")
# Codes of a refusal that say it of any need: a reply may also be missing for reasons of its own.
_CLOSED: Final = ("RepoNotFound", "GatedRepo")
_PASSED_ON: Final = ("x-error-code", "x-error-message", "x-request-id", "ratelimit")


def absorb(question: Question, need: Need, response: Response, now: float) -> list[Fact]:
    """Read *response* as what *need* asked for; see `mirror.hubs.base.Hub.absorb`."""
    what = need.context.get("what", "reply")
    if response.status >= 400:
        raise refusal(need, response, now)
    if not 200 <= response.status < 300:
        raise UpstreamUnreachableError(f"The Hub answered {response.status}, which leads nowhere.")
    match what:
        case "revision":
            return _revision(need, response, now)
        case "tree":
            return _tree(need, response, now)
        case "paths":
            return _paths(need, response)
        case "probe":
            return [Verdict(_repo(need), Access.READ, accepted=True, seen_at=now)]
        case "batch":
            return _batch(need, response, now)
        case _:
            return [_reply(question, need, response, now)]


def refusal(need: Need, response: Response, now: float) -> UpstreamRefusedError:
    """Keep upstream's refusal in its own words, and what it says about the caller.

    A bare 401 about a repo is how the Hub tells anonymous callers that it does not exist; clients only
    understand that over https, so the code is added (§1.5 of the protocol notes).
    """
    headers = {name: response.headers[name] for name in _PASSED_ON if name in response.headers}
    message = headers.get("x-error-message") or _json_error(response.body)
    bad_token = message.startswith(BAD_TOKEN)
    about_repo = "repo" in need.context
    if response.status == 401 and about_repo and not bad_token:
        headers.setdefault("x-error-code", "RepoNotFound")
    facts: list[object] = []
    if response.status == 401 and bad_token:
        facts.append(Verdict(Repo(HUB, ""), Access.NONE, accepted=False, seen_at=now))
    if about_repo and response.status in (401, 403, 404):
        repo, code = _repo(need), headers.get("x-error-code", "")
        telling = need.context["what"] in _TELLING
        if code in _CLOSED or (telling and code not in ("RevisionNotFound", "EntryNotFound")):
            facts.append(Verdict(repo, Access.READ, accepted=False, seen_at=now))
            if code == "RepoNotFound" or (telling and code != "GatedRepo"):
                facts.append(Verdict(repo, Access.LIST, accepted=False, seen_at=now))
    sentence = message or f"The Hub answered {response.status}."
    return UpstreamRefusedError(
        sentence,
        status=response.status,
        headers=headers,
        body=response.body[:4096],
        facts=tuple(facts),
    )


def _json_error(body: bytes) -> str:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    error = document.get("error") if isinstance(document, dict) else None
    return error if isinstance(error, str) else ""


def _repo(need: Need) -> Repo:
    return Repo(HUB, need.context["repo"])


def _object(response: Response) -> dict[str, Any]:
    try:
        document = json.loads(response.body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise UpstreamUnreachableError("The Hub sent something else than a repo's description.")
    return document


def _revision(need: Need, response: Response, now: float) -> list[Fact]:
    asked, revision = _repo(need), need.context["revision"]
    info = _object(response)
    commit, name = info.get("sha"), info.get("id")
    if not isinstance(commit, str) or not is_commit(commit):
        raise UpstreamUnreachableError(f"The Hub did not say which commit {revision!r} is.")
    if is_commit(revision) and commit != revision:
        raise UpstreamUnreachableError("The Hub described another commit than the one asked for.")
    repo = asked
    if isinstance(name, str) and name != repo_id(asked):
        if not valid_id(name):
            raise UpstreamUnreachableError("The Hub sent a repo id that cannot be.")
        repo = Repo(HUB, f"{kind_of(asked)}/{name}")
    gated = info.get("gated") not in (None, False, "", "false")
    private, own_id = bool(info.get("private")), str(info.get("_id") or "")
    facts: list[Fact] = [Alias(name, repo, own_id, now) for name in dict.fromkeys((asked, repo))]
    facts.append(Visibility(repo, private=private, gated=gated, seen_at=now))
    # An answer that everybody gets says nothing of the caller: it must not outlive the day on which the
    # repo is closed. Whoever may see a private repo may read it, unless its content is gated on top.
    if private:
        levels = (Access.LIST,) if gated else (Access.LIST, Access.READ)
        facts += [Verdict(repo, level, accepted=True, seen_at=now) for level in levels]
    names = {revision, commit} if revision else {commit}
    facts += [Ref(repo, seen, commit, now) for seen in sorted(names)]
    facts.append(Snapshot(repo, commit, SnapshotState.PENDING, "", response.body, now))
    return facts


def _led_to(need: Need, response: Response) -> Repo:
    """The repo that answered: upstream redirects old names to the canonical one."""
    target = local_target(response.url, response.base)
    if target is not None:
        parts = segments(target.partition("?")[0])
        if parts[0] == "api" and len(parts) > 3 and parts[1] in KINDS:
            name = "/".join(parts[2:4] if parts[3] not in ("tree", "paths-info") else parts[2:3])
            if parts[1] == kind_of(_repo(need)) and valid_id(name):
                return Repo(HUB, f"{parts[1]}/{name}")
    return _repo(need)


def _tree(need: Need, response: Response, now: float) -> list[Fact]:
    repo, commit = _led_to(need, response), need.context["commit"]
    entries, redacted = read_entries(response.body)
    # Whoever asks as a reader sees as much as anyone can; asking again would show no more.
    view = "redacted" if redacted and "reader" not in need.context else "full"
    facts: list[Fact] = [Entries(repo, commit, tuple(entries))]
    further = next_target(response.headers.get("link", ""), response.base)
    if further is None:
        return [*facts, Snapshot(repo, commit, SnapshotState.COMPLETE, view, b"", now)]
    folders = (f"/api/{name.name}/tree/{commit}" for name in (repo, _repo(need)))
    if further.partition("?")[0] not in folders or further == need.request.target:
        raise UpstreamUnreachableError("The Hub's next page is no page of the same listing.")
    facts.append(Snapshot(repo, commit, SnapshotState.PENDING, view, b"", now))
    return [*facts, Lead(UpstreamRequest("GET", further))]


def _paths(need: Need, response: Response) -> list[Fact]:
    entries, _ = read_entries(response.body)
    got = {entry.path for entry in entries}
    absent = tuple(path for path in need.context["paths"].split("\0") if path not in got)
    return [Entries(_led_to(need, response), need.context["commit"], tuple(entries), absent)]


def _batch(need: Need, response: Response, now: float) -> list[Fact]:
    """A link to one object opens them all; objects without one carry the refusal (git-lfs batch API)."""
    objects = _object(response).get("objects")
    listed = (
        [item for item in objects if isinstance(item, dict)] if isinstance(objects, list) else []
    )
    if any(item.get("actions") for item in listed):
        repo = _repo(need)
        levels = (Access.LIST, Access.READ)
        return [Verdict(repo, level, accepted=True, seen_at=now) for level in levels]
    errors = [item["error"] for item in listed if isinstance(item.get("error"), dict)]
    error = errors[0] if errors else {}
    code = error.get("code")
    status = code if isinstance(code, int) and 400 <= code < 500 else 403
    message = str(error.get("message") or "The Hub gives no link to these objects.")
    raise UpstreamRefusedError(message, status=status, headers={})


def _reply(question: Question, need: Need, response: Response, now: float) -> Reply:
    if isinstance(question, StoredObject):
        got, expected = sha256_of(response.body), Digest(SHA256, question.sha256)
        if got != expected:
            raise DigestMismatchError(
                "The Hub sent a registry layer that is not what its name says.",
                expected=expected,
                got=got,
            )
    return Reply(
        need.key,
        response,
        now,
        lifetime=float(need.context["lifetime"]),
        lasting="lasting" in need.context,
        private="private" in need.context,
    )
