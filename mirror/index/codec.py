"""Replies as bytes, for the catalog, the memo and the records, without pickle.

The form is JSON with the body in base64. What comes back may have been planted by whoever can write the
data folder, so it is read as plain data, checked field by field, and anything else is no reply at all.
"""

import base64
import binascii
import json
import math
from typing import Any, Final

from mirror.messages import Response
from mirror.names import Reply

_FORM: Final = 1


def encode_reply(reply: Reply) -> bytes:
    """Write *reply* as bytes."""
    response = reply.response
    return json.dumps(
        {
            "form": _FORM,
            "key": reply.key,
            "seen_at": reply.seen_at,
            "lifetime": reply.lifetime,
            "lasting": reply.lasting,
            "private": reply.private,
            "status": response.status,
            "headers": dict(response.headers),
            "base": response.base,
            "url": response.url,
            "body": base64.b64encode(response.body).decode("ascii"),
        },
        separators=(",", ":"),
    ).encode("ascii")


def decode_reply(value: bytes) -> Reply | None:
    """Read back what `encode_reply` wrote; `None` for anything else."""
    try:
        fields = json.loads(value)
        if fields["form"] != _FORM:
            return None
        headers = {str(key): typed(str, text) for key, text in fields["headers"].items()}
        response = Response(
            typed(int, fields["status"]),
            headers,
            base64.b64decode(fields["body"], validate=True),
            typed(str, fields["base"]),
            typed(str, fields["url"]),
        )
        return Reply(
            typed(str, fields["key"]),
            response,
            moment(fields["seen_at"]),
            moment(fields["lifetime"]),
            lasting=typed(bool, fields["lasting"]),
            private=typed(bool, fields["private"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, binascii.Error):
        return None


def typed(kind: type, value: Any) -> Any:
    """Return *value* if it is of *kind*; raises `TypeError`, also for a bool as a number."""
    if isinstance(value, bool) and kind is not bool:
        raise TypeError(f"expected {kind.__name__}, found bool")
    if not isinstance(value, kind):
        raise TypeError(f"expected {kind.__name__}, found {type(value).__name__}")
    return value


def moment(value: Any) -> float:
    """Return a number of seconds as a float; raises `TypeError` or `ValueError` for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"expected a number, found {type(value).__name__}")
    try:
        seconds = float(value)
    except OverflowError:
        seconds = math.inf
    if not math.isfinite(seconds):
        raise ValueError("no such time")
    return seconds
