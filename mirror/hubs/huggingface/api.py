"""The Hub's API: what ``/api/…`` requests mean.

Answered from snapshots are descriptions, file lists, paths, references and read tokens; kept for a while
are searches, histories and discussions; everything else that reads is passed on as the caller.
"""

import json
from typing import Final

from mirror.errors import MalformedQuestionError, MethodRefusedError
from mirror.hubs.huggingface.grammar import (
    API_WORDS,
    KINDS,
    checked_path,
    checked_revision,
    clean_target,
    flag,
    id_length,
    is_commit,
    parameters,
    repo_of,
    take_revision,
    value,
)
from mirror.hubs.huggingface.links import read_cursor
from mirror.hubs.huggingface.questions import (
    AuthCheck,
    Fixed,
    Passed,
    PathsInfo,
    RepoFile,
    RepoInfo,
    RepoPage,
    RepoRefs,
    RepoTree,
    XetToken,
)
from mirror.hubs.huggingface.refusals import PUSH
from mirror.messages import RequestHead
from mirror.names import Access, Question, Repo

_READS: Final = ("GET", "HEAD")
MAX_PAGE: Final = 1000
MAX_PATHS: Final = 10_000
_HARNESSES: Final = b'{"standardEnvVars":[],"harnesses":{}}'
# Parameters of a description that its plain form does not answer.
_BEYOND_INFO: Final = ("expand", "expand[]", "securityStatus")


def recognise_api(
    head: RequestHead, body: bytes, parts: list[str], search_lifetime: float
) -> Question:
    """Say what a request below ``/api/`` means; *parts* is the decoded path after ``api``.

    *search_lifetime* is how long, in seconds, a search result is used. Raises `QuestionError` for
    writes and malformed names.
    """
    target = clean_target(head.path, head.query)
    match parts:
        case ["telemetry", *_]:
            return Fixed()
        case ["agent-harnesses"]:
            return Fixed(body=_HARNESSES)
        case ["buckets", *_]:
            raise MalformedQuestionError(
                "Buckets change without a trace and are not mirrored.",
                hint="Ask huggingface.co directly.",
            )
        case ["resolve-cache", kind, *rest] if kind in KINDS:
            return _resolve_cache(head, kind, rest)
        case [kind, first, *_] if kind in KINDS and first:
            rest = parts[1:]
            length = id_length(rest, API_WORDS)
            repo = repo_of(kind, rest[:length])
            return _repo_call(head, body, repo, rest[length:], target)
        case _ if head.method not in _READS:
            raise MethodRefusedError(PUSH)
        case [kind] if kind in KINDS:
            return Passed(target=target, lifetime=search_lifetime)
        case _:
            return Passed(target=target)


def _resolve_cache(head: RequestHead, kind: str, rest: list[str]) -> RepoFile:
    """What the Hub's own redirects lead to; its query may be missing and is not needed."""
    length = next((at for at in (1, 2) if len(rest) > at and is_commit(rest[at])), None)
    if length is None:
        raise MalformedQuestionError("A resolve-cache URL names a repo and a full commit id.")
    if head.method not in _READS:
        raise MethodRefusedError(PUSH)
    return RepoFile(
        repo=repo_of(kind, rest[:length]),
        access=Access.READ,
        revision=rest[length],
        path=checked_path("/".join(rest[length + 1 :])),
        chained=is_chained(head),
    )


def _repo_call(  # noqa: PLR0911 -- one line a route
    head: RequestHead, body: bytes, repo: Repo, rest: list[str], target: str
) -> Question:
    if rest[:1] == ["paths-info"] and head.method == "POST":
        return _paths_info(head, body, repo, take_revision(rest[1:])[0])
    if head.method not in _READS or rest[:1] == ["xet-write-token"]:
        allowed = ("POST",) if rest[:1] == ["paths-info"] else _READS
        raise MethodRefusedError(PUSH, allowed=allowed)
    match rest:
        case []:
            return _info(head, repo, "main")
        case ["revision", *revision]:
            return _info(head, repo, _whole_revision(revision))
        case ["tree", *tail]:
            return _tree(head, repo, tail or ["main"])
        case ["paths-info", *_]:
            raise MethodRefusedError("Paths are asked for by POST.", allowed=("POST",))
        case ["refs"]:
            pairs = parameters(head.query)
            prs = flag(pairs, "include_prs") or flag(pairs, "include_pull_requests")
            return RepoRefs(repo=repo, access=Access.LIST, prs=prs)
        case ["auth-check"]:
            return AuthCheck(repo=repo, access=Access.READ)
        case ["xet-read-token", *revision]:
            named = _whole_revision(revision) if revision else "main"
            return XetToken(repo=repo, access=Access.READ, revision=named)
        case ["parquet", config, split, name] if _parquet_number(name) is not None:
            return _parquet_file(head, repo, (config, split), _parquet_number(name) or 0)
        case [("commits" | "discussions" | "parquet") as page, *_]:
            # What the Hub converted is content: of a gated repo its readers alone are told.
            access = Access.READ if page == "parquet" else Access.LIST
            return RepoPage(repo=repo, access=access, tail=_below(repo, target))
        case _:
            return Passed(about=repo, target=target)


def _below(repo: Repo, target: str) -> str:
    """Return what follows *repo* in *target*, as the client wrote it."""
    path, _, query = target.partition("?")
    below = path.split("/", 2 + repo.name.count("/") + 1)[-1]
    return f"/{below}?{query}" if query else f"/{below}"


def _whole_revision(parts: list[str]) -> str:
    revision, rest = take_revision(parts)
    # Nothing may follow: unlike below `tree`, the rest can only be a revision with bare slashes.
    return checked_revision("/".join((revision, *rest)))


def _info(head: RequestHead, repo: Repo, revision: str) -> RepoInfo:
    pairs = parameters(head.query)
    expand = tuple(text for key, text in pairs if key in ("expand", "expand[]"))
    beyond = bool(expand) or flag(pairs, "securityStatus")
    kept = [pair for pair in head.query.split("&") if _name(pair) in _BEYOND_INFO]
    return RepoInfo(
        repo=repo,
        access=Access.LIST,
        revision=revision,
        blobs=flag(pairs, "blobs"),
        query=clean_target("", "&".join(kept)).removeprefix("?") if beyond else "",
        expand=expand,
        chained=is_chained(head),
    )


def _name(pair: str) -> str:
    return next((key for key, _ in parameters(pair)), "")


def _tree(head: RequestHead, repo: Repo, tail: list[str]) -> RepoTree:
    revision, folders = take_revision(tail)
    folder = "/".join(folders).rstrip("/")
    pairs = parameters(head.query)
    cursor = value(pairs, "cursor")
    after = read_cursor(cursor) if cursor else ""
    limit = value(pairs, "limit")
    if limit and not (limit.isascii() and limit.isdigit() and int(limit[:9]) > 0):
        raise MalformedQuestionError("The limit of a page is a positive number.")
    return RepoTree(
        repo=repo,
        access=Access.LIST,
        revision=revision,
        folder=checked_path(folder) if folder else "",
        recursive=flag(pairs, "recursive"),
        expand=flag(pairs, "expand"),
        limit=min(int(limit[:9] or MAX_PAGE), MAX_PAGE),
        after=after or "",
        foreign=after is None,
        query=clean_target("", head.query).removeprefix("?"),
        chained=is_chained(head),
    )


def _paths_info(head: RequestHead, body: bytes, repo: Repo, revision: str) -> PathsInfo:
    """Python sends a form, JavaScript sends JSON."""
    if "json" in head.headers.get("content-type", ""):
        try:
            asked = json.loads(body)
            paths = asked["paths"]
            expand = bool(asked.get("expand", False))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise MalformedQuestionError("The body is no JSON object with `paths`.") from None
    else:
        try:
            pairs = parameters(body.decode())
        except UnicodeDecodeError:
            raise MalformedQuestionError("The form is not valid UTF-8.") from None
        paths = [text for key, text in pairs if key == "paths"]
        expand = flag(pairs, "expand")
    paths = [paths] if isinstance(paths, str) else paths
    if not isinstance(paths, list) or len(paths) > MAX_PATHS:
        raise MalformedQuestionError(f"A request names up to {MAX_PATHS} paths.")
    if not all(isinstance(path, str) for path in paths):
        raise MalformedQuestionError("A path is a string.")
    return PathsInfo(
        repo=repo,
        access=Access.LIST,
        revision=revision,
        paths=tuple(checked_path(path.strip("/")) for path in paths if path.strip("/")),
        expand=expand,
        chained=is_chained(head),
    )


def _parquet_number(name: str) -> int | None:
    number = name.removesuffix(".parquet")
    return int(number) if number != name and number.isascii() and number.isdigit() else None


def _parquet_file(head: RequestHead, repo: Repo, part: tuple[str, str], number: int) -> RepoFile:
    """The *number*-th converted file of a config and split.

    The Hub redirects to its conversion branch, where the splits of large datasets are ``partial-``.
    """
    config, split = part
    name = f"{number:04d}.parquet"
    return RepoFile(
        repo=repo,
        access=Access.READ,
        revision="refs/convert/parquet",
        path=checked_path(f"{config}/{split}/{name}"),
        alternates=(checked_path(f"{config}/partial-{split}/{name}"),),
        chained=is_chained(head),
    )


def is_chained(head: RequestHead) -> bool:
    """Tell whether another mirror asks (RFC 9110 §7.6.3: each proxy names itself in ``Via``)."""
    return "modelmirror" in head.headers.get("via", "")
