"""JSON documents bent by bytes: sound ones in which a few places hold what nobody expects."""

import copy
import json
from collections.abc import Sequence
from typing import Any, Final

_ODD: Final[tuple[Any, ...]] = (
    None, True, False, 0, -1, 1 << 63, 10**400, 1.5, float("nan"), float("inf"), "", "x", "\ud800", "\0",
    "../../etc/passwd", "a" * 300, "c" * 40, "C" * 40, "sha256:" + "a" * 64, "é", "true", [], {}, [[]],
    {"": None}, [None], "/", "//", "refs/heads/main", "****", "a/../b", "\n", "http://evil.test/?a=b",
)  # fmt: skip


def bent(documents: Sequence[Any], data: bytes) -> Any:
    """Choose one of *documents* and put odd values where *data* says."""
    document = copy.deepcopy(documents[data[0] % len(documents)]) if data else None
    for position in range(1, len(data) - 2, 3):
        where, what, how = data[position : position + 3]
        document = _put(document, where, _ODD[what % len(_ODD)], how)
    return document


def written(value: Any) -> bytes:
    """The document as bytes; what is no Unicode stays as an escape."""
    return json.dumps(value).encode("ascii")


def _put(value: Any, where: int, what: Any, how: int) -> Any:
    """Walk *where* bits down the document and replace, remove or add there."""
    if isinstance(value, dict) and value and where:
        keys = list(value)
        key = keys[where % len(keys)]
        if how % 4 == 1:
            del value[key]
        elif how % 4 == 2:
            value[str(what)] = copy.deepcopy(value[key])
        else:
            value[key] = _put(value[key], where // (len(keys) + 1), what, how)
        return value
    if isinstance(value, list) and value and where:
        index = where % len(value)
        if how % 4 == 1:
            del value[index]
        elif how % 4 == 2:
            value.append(copy.deepcopy(value[index]))
        else:
            value[index] = _put(value[index], where // (len(value) + 1), what, how)
        return value
    return copy.deepcopy(what)
