"""Whatever a client sends as JSON or form, its hub understands it or refuses it with a sentence."""

import json
from typing import Any, Final

from mirror.errors import QuestionError
from tests.fuzz.mutation import bent, written
from tests.hubs.huggingface.scripts import new_hub, request

_JSON: Final = {"content-type": "application/json"}
_FORM: Final = {"content-type": "application/x-www-form-urlencoded"}
_LFS: Final = {"content-type": "application/vnd.git-lfs+json"}
_PATHS: Final[Any] = {"paths": ["config.json", "a/b"], "expand": True}
_BATCH: Final[Any] = {
    "operation": "download",
    "transfers": ["basic"],
    "ref": {"name": "refs/heads/main"},
    "objects": [{"oid": "a" * 64, "size": 5}, {"oid": "b" * 64, "size": 6}],
    "hash_algo": "sha256",
}
_WAYS: Final = (
    (request("/api/models/acme/tiny/paths-info/main", method="POST", headers=_JSON), _PATHS),
    (request("/api/models/acme/tiny/paths-info/main", method="POST", headers=_FORM), None),
    (
        request("/acme/tiny.git/info/lfs/objects/batch", method="POST", headers=_LFS),
        _BATCH,
    ),
)
SEEDS: Final = (
    b"\x80" + written(_PATHS),
    b"\x81paths=config.json&paths=a%2Fb&expand=true",
    b"\x82" + written(_BATCH),
    *(bytes((way, where, what, how)) for way in (0, 2) for where in (1, 2, 7) for what in range(33)
      for how in (0, 1)),
    b"\x80" + b"[" * 5000,
    # Found here: a name that is no text, a size that is no number, in a batch.
    b'\x82{"operation": "download", "objects": [], "ref": {"name": true}}',
    b'\x82{"operation": "download", "objects": [{"oid": "a", "size": 1e999}]}',
    b"\x82" + json.dumps({"objects": [{"oid": "a" * 64, "size": 1}] * 300}).encode(),
)  # fmt: skip
_HUB: Final = new_hub()


def check(data: bytes) -> None:
    """Send *data*, or a document bent by it, in each way that a body is read."""
    if not data:
        return
    head, document = _WAYS[(data[0] & 127) % len(_WAYS)]
    raw = data[0] >= 128 or document is None
    body = data[1:] if raw else written(bent([document], b"\0" + data[1:]))
    try:
        question = _HUB.recognise(head, body)
    except QuestionError as error:
        assert len(str(error)) > 10  # noqa: PT017
        return
    assert question is not None
    assert question.repo is not None
