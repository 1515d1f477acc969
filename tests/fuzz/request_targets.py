"""A request target is refused, or has one meaning to everybody: at the door and in the hub's grammar."""

from typing import Final
from urllib.parse import unquote

from mirror.errors import QuestionError
from mirror.web.targets import Targets
from tests.hubs.huggingface.scripts import new_hub
from tests.unit.web.test_targets import PEER
from tests.web.hostile import TARGETS

SEEDS: Final = (
    *(target.encode("utf-8") for target in TARGETS if len(target) < 500),
    b"/acme/tiny-bert/resolve/main/onnx/na%C3%AFve%20file%2B1.txt?download=true",
    b"/datasets/a/b/resolve/refs%2Fconvert%2Fparquet/default/train/0000.parquet",
    b"/api/models/acme/tiny/tree/main/onnx?recursive=true&expand=1&limit=10&cursor=abc",
    b"/api/models?search=x&author=y&full=true",
    b"/api/datasets/acme/d/parquet/c/train/3.parquet",
    b"/acme/tiny.git/info/refs?service=git-upload-pack",
    b"/v2/acme/tiny/manifests/latest",
    b"/-/cas/v1/reconstructions/" + b"e" * 64,
    b"/-/cas/xorbs/default/" + b"0" * 64 + b"?pass=abc.def&index=0",
    b"/acme/tiny/raw/main/README.md",
    b"/api/models/acme/tiny/xet-read-token/main",
)

_HUB: Final = new_hub()
_TARGETS: Final = Targets(None, ())


def check(data: bytes) -> None:
    """Whatever is accepted is ASCII without control characters, and decodes to plain segments, twice too."""
    try:
        head = _TARGETS.read("GET", data.decode("utf-8", "surrogateescape"), [("Host", "m")], PEER)
    except QuestionError:
        return
    assert head.path.isascii()
    assert head.path.isprintable()
    assert " " not in head.path
    assert head.query.isascii()
    for decoded in (unquote(head.path, errors="strict"), unquote(unquote(head.path))):
        pieces = decoded.removeprefix("/").removesuffix("/").split("/")
        assert head.path == "/" or not {"", ".", ".."} & set(pieces)
        assert not any(c < " " or "\x7f" <= c <= "\x9f" or c == "\\" for c in decoded)
        assert all(len(piece.encode()) <= 255 for piece in pieces)
    try:
        question = _HUB.recognise(head, b"")
    except QuestionError:
        return
    if question is not None and question.repo is not None:
        parts = question.repo.name.split("/")
        assert not {"", ".", ".."} & set(parts)
        assert question.repo.name.isascii()
