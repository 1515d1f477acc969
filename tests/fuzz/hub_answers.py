"""Whatever upstream says in JSON, the hub answers or refuses: nothing unforeseen, nothing it may not say."""

import json
from typing import Any, Final
from urllib.parse import quote

from mirror.errors import MirrorError
from mirror.messages import RequestHead, Span
from tests.fuzz.mutation import bent, written
from tests.hubs.huggingface.scripts import COMMIT, ELEMENTS, TREE, engine, info, request, upstream

_API: Final = "/api/models/acme/tiny-bert"
_DOCUMENTS: Final[tuple[tuple[str, Any], ...]] = (
    (f"{_API}/revision/main", json.loads(info())),
    (f"{_API}/tree/{COMMIT}{TREE}", list(ELEMENTS)),
)
_ASKED: Final = (
    request("/acme/tiny-bert/resolve/main/model.safetensors"),
    request(f"/acme/tiny-bert/resolve/{COMMIT}/config.json"),
    request("/acme/tiny-bert/resolve/main/not-there"),
    request(f"{_API}/tree/main", "recursive=true"),
    request(f"{_API}/revision/main", "blobs=true"),
    request(f"{_API}/xet-read-token/main"),
    request("/acme/tiny-bert.git/info/lfs/objects/" + "a" * 64),
    request("/v2/acme/tiny-bert/manifests/latest"),
)
SEEDS: Final = (
    *(bytes((which, where, what, 0)) for which in (0, 1) for where in (1, 3, 9) for what in range(33)),
    *(bytes((128 + which,)) + written(document) for which, (_, document) in enumerate(_DOCUMENTS)),
)  # fmt: skip


def check(data: bytes) -> None:
    """Let one of upstream's answers be bent, or be any bytes, and ask the hub in each of its ways."""
    if not data:
        return
    which, raw = data[0] & 1, data[0] >= 128
    target, document = _DOCUMENTS[which]
    body = data[1:] if raw else written(bent([document], b"\0" + data[1:]))
    for head in _ASKED:
        _ask(target, body, head)


def _ask(target: str, body: bytes, head: RequestHead) -> None:
    scripted = upstream()
    scripted.put(target, body)
    try:
        answer = engine(scripted).ask(head)
    except MirrorError:
        return
    except AssertionError as error:
        # The double's own way to say that a walk did not end; the cache says it to the client.
        if "needs never end" in str(error) or "asked again" in str(error):
            return
        raise
    for name, value in answer.headers:
        assert f"{name}{value}".isprintable()
    for segment in answer.body:
        if isinstance(segment, Span):
            assert 0 <= segment.start <= segment.end <= segment.blob.size
            assert segment.blob.source.target.startswith(f"/{quote('acme')}/")
