"""Whatever stands in the data folder's JSON files, it is read as what it is or taken for nothing."""

import json
import math
from contextlib import suppress
from typing import Any, Final

from mirror.digest import Digest
from mirror.index.codec import decode_reply, encode_reply
from mirror.index.lines import Line, Link, Note, decode, encode
from mirror.index.records import SnapshotRecord, _decode, _encode
from mirror.messages import Response
from mirror.names import Alias, Ref, Reply, Repo, SnapshotState, Visibility
from mirror.store.resume import Progress
from tests.fuzz.mutation import bent, written
from tests.unit.index.samples import (
    COMMIT,
    NOON,
    OTHER,
    REPO,
    folder,
    git_sha1,
    head,
    large,
    sha256,
    small,
)

_REPLY: Final = Reply(
    "k", Response(200, {"a": "b"}, b"{}", "https://h", "https://h/x"), 1.0, 2.0, lasting=True
)
_RECORD: Final = SnapshotRecord(
    head(SnapshotState.COMPLETE),
    Visibility(REPO, private=False, gated=True, seen_at=NOON),
    (Ref(REPO, "main", COMMIT, NOON),),
    (small("config.json"), large("model.safetensors"), folder("onnx")),
    ("absent.txt",),
)
_LINES: Final[tuple[Line, ...]] = (
    Link(git_sha1("a"), sha256("a")),
    Ref(REPO, "main", COMMIT, NOON),
    Alias(OTHER, REPO, "id", NOON),
    Visibility(REPO, private=True, gated=False, seen_at=NOON),
    Note("pin", "x", {"a": 1}),
    Note("pin", "x", None),
)
_PROGRESS: Final = Progress(sha256("a"), 9 << 20, '"v"', 1 << 20, ((2 << 20, 3 << 20),))
_DOCUMENTS: Final[list[Any]] = [
    json.loads(text)
    for text in (encode_reply(_REPLY), _encode(_RECORD), _PROGRESS.encode(), *map(encode, _LINES))
]
SEEDS: Final = (
    *(bytes((128,)) + written(document) for document in _DOCUMENTS),
    *(bytes((0, which, where, what, 0)) for which in range(len(_DOCUMENTS)) for where in (1, 2, 3, 5, 8, 11)
      for what in range(33)),
    b"\x80" + b"[" * 5000,
    b"\x80" + b'{"ref":' * 2000,
)  # fmt: skip


def check(data: bytes) -> None:
    """Give *data*, or a document bent by it, to every reader; what comes back has the types it promises."""
    if not data:
        return
    text = data[1:] if data[0] >= 128 else written(bent(_DOCUMENTS, data[1:]))
    reply = decode_reply(text)
    if reply is not None:
        _reply(reply)
    record = _decode(text)
    if record is not None:
        _record(record)
        assert _decode(_encode(record)) == record
    match decode(text):
        case Link(git, sha):
            assert isinstance(git, Digest)
            assert isinstance(sha, Digest)
        case Ref(repo, revision, commit, seen_at):
            _texts(repo, revision, commit)
            _time(seen_at)
        case Alias(asked, repo, upstream_id, seen_at):
            _texts(asked, upstream_id)
            _texts(repo)
            _time(seen_at)
        case Visibility(repo, private, gated, seen_at):
            _texts(repo)
            _visibility(private, gated, seen_at)
        case Note(kind, subject, value):
            _texts(None, kind, subject)
            assert value is None or isinstance(value, dict)
        case _:
            pass
    with suppress(ValueError):
        progress = Progress.decode(text)
        assert 0 <= progress.synced <= progress.end <= progress.size
        assert isinstance(progress.validator, str | None)


def _texts(repo: Repo | None, *texts: object) -> None:
    names = () if repo is None else (repo.hub, repo.name)
    assert all(isinstance(text, str) for text in (*names, *texts))


def _time(seen_at: object) -> None:
    assert isinstance(seen_at, float)
    assert math.isfinite(seen_at)


def _visibility(private: object, gated: object, seen_at: object) -> None:
    assert isinstance(private, bool)
    assert isinstance(gated, bool)
    _time(seen_at)


def _reply(reply: Reply) -> None:
    response = reply.response
    _texts(None, reply.key, response.base, response.url, *response.headers.values())
    assert isinstance(response.status, int)
    assert isinstance(reply.lasting, bool)
    assert isinstance(reply.private, bool)
    _time(reply.seen_at)
    _time(reply.lifetime)


def _record(record: SnapshotRecord) -> None:
    snapshot, seen = record.snapshot, record.visibility
    _texts(snapshot.repo, snapshot.commit, snapshot.view)
    _time(snapshot.seen_at)
    if seen is not None:
        _visibility(seen.private, seen.gated, seen.seen_at)
    for ref in record.refs:
        _texts(ref.repo, ref.revision)
        _time(ref.seen_at)
    for entry in record.entries:
        _texts(None, entry.path, entry.kind, entry.oid, "" if entry.xet is None else entry.xet)
        assert type(entry.size) is int
        assert 0 <= entry.size < 1 << 63
    _texts(None, *record.absent)
