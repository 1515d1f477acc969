"""How the Hub writes names: repo ids, revisions and paths, percent-decoded exactly once.

Segments are split before they are decoded, so ``refs%2Fpr%2F1`` stays one revision and a file called
``a%2Fb`` cannot climb. Names are only ever names here: none becomes a path on disk.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final
from urllib.parse import parse_qsl, quote, unquote

from mirror.errors import MalformedQuestionError
from mirror.messages import RequestHead
from mirror.names import Repo

HUB: Final = "huggingface"
# Its own, and the mirror of it that Pix2Text asks first.
_HOSTS: Final = ("huggingface.co", "hf-mirror.com")
KINDS: Final = ("models", "datasets", "spaces", "kernels")

# What may follow a repo id in the API; it tells one-segment ids (``gpt2``) from two-segment ones.
API_WORDS: Final = frozenset({
    "resolve", "tree", "blob", "raw", "refs", "commit", "commits", "discussions", "settings",
    "revision", "paths-info", "xet-read-token", "xet-write-token", "parquet", "auth-check",
    "likers", "lfs-files", "preupload", "safetensors-metadata",
})  # fmt: skip
# What may follow a repo id outside the API and is served here.
WEB_WORDS: Final = frozenset(("resolve", "raw", "info", "git-upload-pack", "git-receive-pack"))

# Longest target and longest decoded path that are looked at: Linux' PATH_MAX, percent-encoded UTF-8
# of ordinary names below twice that.
MAX_TARGET: Final = 8192
MAX_PATH: Final = 4096
MAX_REVISION: Final = 255

_COMMIT: Final = re.compile(r"[0-9a-f]{40}\Z")
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}\Z")
_BAD_IN_REVISION: Final = re.compile(r"[\x00-\x20\x7f\\\ud800-\udfff]|\.\.|//|\A/|/\Z")
_NOT_IN_PATH: Final = re.compile(r"[\x00\ud800-\udfff]")  # NUL, and halves of surrogate pairs
_TRUE: Final = frozenset(("true", "1", "yes"))
_PRINTABLE: Final = "".join(map(chr, range(0x21, 0x7F)))


def at_root(head: RequestHead) -> RequestHead:
    """*head* as it would be asked of the root, where it names one of the Hub's hosts."""
    for host in _HOSTS:
        prefix = f"/-/host/{host}/"
        if head.path.lower().startswith(prefix) and not head.path.startswith("-/", len(prefix)):
            return replace(head, path=head.path[len(prefix) - 1 :])
    return head


def is_commit(revision: str) -> bool:
    """Tell whether *revision* is a full commit id (40 hex digits), which never moves."""
    return _COMMIT.match(revision) is not None


def segments(path: str) -> list[str]:
    """Split a raw target path at its slashes and decode each part once; a trailing slash is dropped.

    Raises `MalformedQuestionError` for an over-long target, dot segments, invalid UTF-8 and NUL.
    """
    if len(path) > MAX_TARGET:
        raise MalformedQuestionError(f"The request target is longer than {MAX_TARGET} characters.")
    try:
        parts = [unquote(part, errors="strict") for part in path.removeprefix("/").split("/")]
        "".join(parts).encode()
    except UnicodeError:
        raise MalformedQuestionError("The request target is not valid UTF-8.") from None
    if any("\0" in part for part in parts):
        raise MalformedQuestionError("The request target contains a NUL.")
    if "." in parts or ".." in parts:
        raise MalformedQuestionError("The request target climbs with dot segments.")
    while len(parts) > 1 and not parts[-1]:
        parts.pop()
    return parts


def repo_of(kind: str, parts: Sequence[str]) -> Repo:
    """Name the repo of *kind* whose id has the one or two segments *parts*.

    Raises `MalformedQuestionError` when a segment is no name the Hub gives out.
    """
    for part in parts:
        if not _NAME.match(part) or ".." in part:
            raise MalformedQuestionError(
                f"{shown('/'.join(parts))} is not a repo id.",
                hint="An id is `name` or `owner/name` of letters, digits, '-', '_' and '.'.",
            )
    return Repo(HUB, "/".join((kind, *parts)))


def valid_id(name: str) -> bool:
    """Tell whether *name* (``owner/name`` or ``name``) is well formed."""
    parts = name.split("/")
    return len(parts) <= 2 and all(_NAME.match(part) and ".." not in part for part in parts)


def id_length(parts: Sequence[str], words: frozenset[str]) -> int:
    """Count the segments of the id that *parts* begins with: the sub-path word after it tells."""
    return 1 if len(parts) < 2 or parts[1] in words else 2


def checked_revision(revision: str) -> str:
    """Return *revision*, with ``HEAD`` read as ``main`` (the Hub's only default branch).

    Raises `MalformedQuestionError` for what git could never name.
    """
    if not revision or len(revision) > MAX_REVISION or _BAD_IN_REVISION.search(revision):
        raise MalformedQuestionError(f"{shown(revision)} is not a revision.")
    return "main" if revision == "HEAD" else revision


def take_revision(parts: Sequence[str]) -> tuple[str, list[str]]:
    """Split *parts* into a revision and the rest.

    A revision with slashes is one encoded segment, but ``refs/pr/N`` and ``refs/convert/NAME`` are taken
    literally too, as the Hub does. Raises `MalformedQuestionError` when there is none.
    """
    if not parts:
        raise MalformedQuestionError("The revision is missing.")
    if len(parts) >= 3 and parts[0] == "refs" and parts[1] in ("pr", "convert"):
        return checked_revision("/".join(parts[:3])), list(parts[3:])
    return checked_revision(parts[0]), list(parts[1:])


def checked_path(path: str) -> str:
    """Return *path* (decoded, relative) if it names a file or folder of a repo.

    Raises `MalformedQuestionError` for empty parts, ``.`` and ``..`` and over-long paths.
    """
    if len(path) > MAX_PATH:
        raise MalformedQuestionError(f"The path is longer than {MAX_PATH} characters.")
    if _NOT_IN_PATH.search(path) or any(part in ("", ".", "..") for part in path.split("/")):
        raise MalformedQuestionError(f"{shown(path)} is not a path inside a repo.")
    return path


def web_name(repo: Repo) -> str:
    """Write *repo* as it stands at the root of the Hub: models have no prefix."""
    return repo.name.removeprefix("models/")


def repo_id(repo: Repo) -> str:
    """Return the Hub id of *repo* without its kind: ``acme/tiny-bert``."""
    return repo.name.partition("/")[2]


def kind_of(repo: Repo) -> str:
    """Return the kind of *repo*: ``models``, ``datasets``, ``spaces`` or ``kernels``."""
    return repo.name.partition("/")[0]


def quoted_path(path: str) -> str:
    """Percent-encode *path*, keeping its slashes."""
    return quote(path, safe="/")


def quoted_revision(revision: str) -> str:
    """Percent-encode *revision* whole, slashes too."""
    return quote(revision, safe="")


def clean_target(path: str, query: str) -> str:
    """Write a raw *path* and *query* as a target to send on: printable ASCII, no dot segments.

    Raises `MalformedQuestionError` where a dot segment is hidden in it.
    """
    if any(unquote(part) in (".", "..") for part in path.split("/")):
        raise MalformedQuestionError("The request target climbs with dot segments.")
    if len(query) > MAX_TARGET:
        raise MalformedQuestionError(f"The query is longer than {MAX_TARGET} characters.")
    target = f"{path}?{query}" if query else path
    return quote(target, safe=_PRINTABLE, errors="replace")


def parameters(query: str) -> list[tuple[str, str]]:
    """Read a query or form body as pairs, in order.

    Raises `MalformedQuestionError` when it is not one, or has more than 10 000 fields.
    """
    try:
        return parse_qsl(query, keep_blank_values=True, max_num_fields=10_001, errors="strict")
    except ValueError:
        raise MalformedQuestionError("The query or form cannot be read.") from None


def flag(pairs: Sequence[tuple[str, str]], name: str) -> bool:
    """Tell whether the parameter *name* is set to a true word (``true``, ``True``, ``1``)."""
    return any(key == name and value.lower() in _TRUE for key, value in pairs)


def value(pairs: Sequence[tuple[str, str]], name: str) -> str:
    """Return the last value of the parameter *name*, or an empty string."""
    return next((text for key, text in reversed(pairs) if key == name), "")


def shown(text: str) -> str:
    """Quote *text* for a sentence, cut to 80 characters."""
    return repr(text if len(text) <= 80 else text[:79] + "…")
