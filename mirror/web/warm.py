"""``POST /-/warm``: have the mirror fetch files before anybody asks for them.

A body of JSON names their paths; the answer is a stream of JSON lines. It has no more power than a GET of
each path would have, which is what it comes to.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from mirror.cache.keeper import Keeper
from mirror.errors import MalformedQuestionError, MethodRefusedError
from mirror.messages import Relay, RequestHead
from mirror.upkeep.warm import AT_ONCE, Warm
from mirror.web.targets import split

PATH: Final = "/-/warm"

_TYPE: Final = "application/json"
_HELP: Final = (
    'Send Content-Type: application/json and {"paths": ["/org/name/resolve/main/config.json"]}.'
)
_KEYS: Final = {"paths": list, "look": bool, "stored": bool, "at_once": int}


def answer(keeper: Keeper, head: RequestHead, body: bytes) -> Relay:
    """Answer one such request; raises `MethodRefusedError` or `MalformedQuestionError`."""
    if head.method != "POST":
        raise MethodRefusedError(f"{PATH} takes a POST.", allowed=("POST",), hint=_HELP)
    if head.headers.get("content-type", "").partition(";")[0].strip().lower() != _TYPE:
        # Pages of other sites can have a browser post anything but this without asking first.
        raise MalformedQuestionError(f"{PATH} takes {_TYPE}.", hint=_HELP)
    asked = _read(body)
    stored = bool(asked.get("stored"))
    warm = Warm(
        keeper,
        [_get(head, path, stored=stored) for path in asked["paths"]],
        look=stored or bool(asked.get("look")),
        at_once=int(asked.get("at_once", AT_ONCE)),
    )
    headers = (("Content-Type", "application/jsonl"), ("Cache-Control", "no-store"))
    return Relay(200, headers, None, warm.lines())


def _read(body: bytes) -> Mapping[str, Any]:
    try:
        asked = json.loads(body)
    except ValueError as error:
        raise MalformedQuestionError(f"The body is no JSON: {error}.", hint=_HELP) from error
    if not isinstance(asked, dict) or not isinstance(asked.get("paths"), list):
        raise MalformedQuestionError("The body names no paths.", hint=_HELP)
    for key, value in asked.items():
        if type(value) is not _KEYS.get(key):
            raise MalformedQuestionError(f"The body has a {key!r} that is not known.", hint=_HELP)
    if not all(isinstance(path, str) for path in asked["paths"]):
        raise MalformedQuestionError("A path is a string.", hint=_HELP)
    return asked


def _get(head: RequestHead, target: str, *, stored: bool) -> RequestHead:
    """The question that a GET of *target* would be from whoever sent *head*."""
    path, query = split(target)
    if path == PATH:
        raise MalformedQuestionError(f"{PATH} is no file.", hint=_HELP)
    # The way that it came is told on, for rings of mirrors.
    kept = {name: head.headers[name] for name in ("via",) if name in head.headers}
    if stored:
        kept["cache-control"] = "only-if-cached"
    return RequestHead("GET", path, query, kept, head.credential, head.base_url)
