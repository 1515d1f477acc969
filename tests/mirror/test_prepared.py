"""Prepared answers in a whole mirror: they are given while all is as it was, and never for longer."""

import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from mirror.cache.users import new_token, token_hash
from tests.mirror.operating import said
from tests.mirror.running import Got, Running
from tests.origin import Origin, Repo

SMALL: Final = b'{"model_type": "bert"}'
WEIGHTS: Final = random.Random(7).randbytes(1 << 20)
FILE: Final = "/acme/tiny/resolve/main/config.json"
LARGE: Final = "/acme/tiny/resolve/main/model.bin"
TREE: Final = "/api/models/acme/tiny/tree/main?recursive=true"
INFO: Final = "/api/models/acme/tiny/revision/main"

# A mirror that writes down each answer that the lane gives, itself or beyond the parser.
COUNTING: Final = """
import runpy, sys
from mirror.web import lane, sending
note = open(sys.argv.pop(1), "a", buffering=1)
def counted(kind, name):
    real = getattr(kind, name)
    def count(self, *given):
        note.write(name + "\\n")
        return real(self, *given)
    setattr(kind, name, count)
counted(lane.Lane, "send")
counted(sending.Sender, "again")
runpy.run_module("mirror", run_name="__main__")
"""


class Counted:
    """A mirror and what its lane gave; settings are named without the prefix."""

    def __init__(self, folder: Path, origin: Origin, **settings: str) -> None:
        named = {f"MODELMIRROR_{name}": value for name, value in settings.items()}
        self.notes = folder / "notes"
        self.notes.touch()
        self.origin = origin
        program = ("-c", COUNTING, str(self.notes))
        self.running = Running(folder / "data", origin, (), named, program=program)

    def given(self, path: str, method: str = "GET", **wishes: str) -> tuple[Got, bool]:
        """Ask, and tell whether the lane had the answer."""
        before = self.notes.read_text().count("\n")
        token = wishes.pop("token", None)
        got = self.running.ask(path, method=method, token=token, headers=wishes)
        return got, self.notes.read_text().count("\n") > before

    def warm(self, *paths: str) -> list[Got]:
        """Ask until the lane has each answer; returns them."""
        found = []
        for path in paths:
            assert self.running.ask(path).status == 200
            self.running.settle()
            self.running.wait_for(lambda path=path: self.given(path)[1])  # type: ignore[misc]
            got, prepared = self.given(path)
            assert prepared
            found.append(got)
        return found


@pytest.fixture
def repo(origin: Origin) -> Repo:
    """A public repo with a small and a large file."""
    files = {"config.json": SMALL, "model.bin": WEIGHTS}
    return origin.add_repo("models", "acme/tiny", files=files, lfs=("*.bin",))


@pytest.fixture
def mirror(tmp_path: Path, origin: Origin, repo: Repo) -> Iterator[Counted]:
    """A mirror that believes a branch for a second."""
    del repo
    counted = Counted(tmp_path, origin, HUGGINGFACE_REF_LIFETIME="1s")
    with counted.running:
        yield counted


@pytest.fixture
def steady(tmp_path: Path, origin: Origin, repo: Repo) -> Iterator[Counted]:
    """A mirror that believes a branch for an hour."""
    del repo
    counted = Counted(tmp_path, origin, HUGGINGFACE_REF_LIFETIME="1h")
    with counted.running:
        yield counted


def test_prepared_answers_are_those_of_the_ordinary_way(steady: Counted) -> None:
    """Bodies and heads are the same, but for the date, whoever asks and however."""
    small, large, tree, info = steady.warm(FILE, LARGE, TREE, INFO)

    assert (small.body, large.body) == (SMALL, WEIGHTS)
    for path, got in ((FILE, small), (LARGE, large), (TREE, tree), (INFO, info)):
        # A field that the lane does not know leads the ordinary way.
        plain, prepared = steady.given(path, X="y")
        assert not prepared
        assert plain.body == got.body
        assert {**plain.headers, "date": ""} == {**got.headers, "date": ""}
        assert steady.given(path, token="not-a-token")[0].body == got.body
    part, _ = steady.given(LARGE, Range="bytes=5-9")
    assert (part.status, part.body) == (206, WEIGHTS[5:10])
    same, _ = steady.given(LARGE, **{"If-None-Match": large.headers["etag"]})
    assert (same.status, same.body) == (304, b"")


def test_prepared_answers_end_with_the_lifetime_of_their_branch(
    mirror: Counted, origin: Origin, repo: Repo
) -> None:
    """A branch is asked about as often as before, no more and no less, and its new commit is shown."""
    (first,) = mirror.warm(FILE)
    origin.clear_log()
    began = time.monotonic()
    repo.push({"config.json": b"{}"})
    shown = first
    while shown.body == SMALL:
        shown, _ = mirror.given(FILE)
        assert time.monotonic() - began < 10
    took = time.monotonic() - began

    assert shown.body == b"{}"
    assert shown.headers["x-repo-commit"] != first.headers["x-repo-commit"]
    asked = origin.seen(server="hub", method="GET", path=".*/revision/.*")
    assert 1 <= len(asked) <= took + 1


def test_prepared_answers_of_a_repo_that_turns_private_end(
    mirror: Counted, origin: Origin, repo: Repo
) -> None:
    """Once the mirror was told, nobody without leave is shown anything any more, on any connection."""
    mirror.warm(FILE, LARGE, TREE, INFO)
    origin.set_access(repo, private=True, readers=("tokenA",))
    mirror.running.wait_for(lambda: mirror.given(INFO)[0].status != 200)

    for path in (FILE, LARGE, TREE, INFO):
        for method in ("GET", "HEAD"):
            got, prepared = mirror.given(path, method)
            assert (got.status, prepared) == (401, False)
            got, prepared = mirror.given(path, method, token="tokenA")
            assert (got.status, prepared) == (200, False)


def test_prepared_answers_of_a_removed_repo_end(steady: Counted, origin: Origin) -> None:
    """What the operator removed is not shown again, neither what it held nor that it was there."""
    steady.warm(FILE, LARGE, TREE, INFO)
    origin.stop()
    said(steady.running.data, "rm", "acme/tiny")

    for path in (FILE, LARGE, TREE, INFO):
        got, prepared = steady.given(path)
        assert got.status >= 500
        assert not prepared


def test_prepared_answers_of_an_evicted_file_end(
    tmp_path: Path, origin: Origin, repo: Repo
) -> None:
    """A head says that the file is here only while it is."""
    del repo
    others = [f"acme/m{number}" for number in range(6)]
    for number, name in enumerate(others):
        content = random.Random(number).randbytes(1 << 20)
        origin.add_repo("models", name, files={"model.bin": content}, lfs=("*.bin",))
    counted = Counted(tmp_path, origin, HUGGINGFACE_REF_LIFETIME="1h", QUOTA="3MiB")
    with counted.running as mirror:
        counted.warm(LARGE)
        head, _ = counted.given(LARGE, "HEAD")
        head, prepared = counted.given(LARGE, "HEAD")
        assert (head.headers["cache-status"], prepared) == ("modelmirror; hit", True)
        for name in others:
            assert mirror.ask(f"/{name}/resolve/main/model.bin").status == 200
            mirror.settle()
        head, prepared = counted.given(LARGE, "HEAD")
        assert (head.headers["cache-status"], prepared) == ("modelmirror; fwd=miss", False)


def test_uses_of_prepared_answers_keep_a_file(tmp_path: Path, origin: Origin, repo: Repo) -> None:
    """A file that is only ever given by the lane counts as used, so others are evicted before it."""
    del repo
    others = [f"acme/m{number}" for number in range(6)]
    for number, name in enumerate(others):
        content = random.Random(number).randbytes(1 << 20)
        origin.add_repo("models", name, files={"model.bin": content}, lfs=("*.bin",))
    counted = Counted(tmp_path, origin, HUGGINGFACE_REF_LIFETIME="1h", QUOTA="4MiB")
    with counted.running as mirror:
        counted.warm(FILE, LARGE)
        for name in others:
            assert counted.given(FILE)[1]
            assert counted.given(LARGE)[1]
            time.sleep(1.2)  # uses are written down once a second
            assert mirror.ask(f"/{name}/resolve/main/model.bin").status == 200
            mirror.settle()
        origin.clear_log()
        assert counted.given(LARGE)[0].body == WEIGHTS
        assert counted.given(FILE)[0].body == SMALL
        assert origin.seen(server="cdn", method="GET", path=".*") == []


def test_prepared_answers_of_a_damaged_file_end(steady: Counted) -> None:
    """A file that rotted is set aside and fetched again, whatever was kept of it."""
    steady.warm(LARGE)
    (blob,) = (
        path
        for path in (steady.running.data / "v1" / "blobs").glob("sha256/??/*")
        if path.stat().st_size == len(WEIGHTS)
    )
    blob.chmod(0o644)
    with blob.open("r+b") as file:
        file.seek(1000)
        file.write(b"rotten")

    assert steady.given(LARGE)[0].body == WEIGHTS
    steady.running.settle()
    assert "corrupt" in steady.running.log.read_text()
    assert steady.given(LARGE)[0].body == WEIGHTS


def test_local_users_are_asked_for_each_time(tmp_path: Path, origin: Origin, repo: Repo) -> None:
    """With local users nothing is kept: who was not told who he is gets nothing of what others got."""
    del repo
    alice, file = new_token(), tmp_path / "users.toml"
    file.write_text(f'[alice]\ntokens = ["{token_hash(alice)}"]\nread = {json.dumps(["*"])}\n')
    counted = Counted(tmp_path, origin, ACCESS_USERS=str(file))
    with counted.running:
        for _ in range(3):
            got, prepared = counted.given(FILE, token=alice)
            assert (got.status, prepared) == (200, False)
        assert counted.given(FILE)[0].status == 401


def test_offline_mirror_gives_prepared_answers_of_commits(
    tmp_path: Path, origin: Origin, repo: Repo
) -> None:
    """What tells its age is written each time; what names a commit is kept without a network, too."""
    pinned = FILE.replace("main", repo.commit)
    online = Counted(tmp_path, origin)
    with online.running as mirror:
        assert mirror.ask(pinned).status == mirror.ask(FILE).status == 200
        mirror.settle()
    origin.stop()
    offline = Counted(tmp_path, origin, OFFLINE="true")
    with offline.running:
        assert offline.warm(pinned)[0].body == SMALL
        for _ in range(3):
            got, prepared = offline.given(FILE)
            assert (got.body, prepared) == (SMALL, False)
            assert "age" in got.headers


@pytest.mark.parametrize("way", ["stats", "metrics"])
def test_prepared_answers_are_counted(steady: Counted, way: str) -> None:
    """Requests, hits and bytes that the lane gave are in the metrics and in what was saved."""
    count: Callable[[], tuple[int, int]]
    if way == "stats":

        def count() -> tuple[int, int]:
            traffic = steady.running.ask("/-/status").json()["traffic"]
            return traffic["hits"], traffic["served"]
    else:

        def count() -> tuple[int, int]:
            lines = steady.running.ask("/-/metrics").body.decode().splitlines()
            requests, sent = (
                sum(
                    float(line.split()[-1])
                    for line in lines
                    if line.startswith(name) and 'found="hit",hub="huggingface"' in line
                )
                for name in ("modelmirror_requests_total", "modelmirror_sent_bytes_total")
            )
            return int(requests), int(sent)

    steady.warm(FILE, LARGE)
    hits, served = count()
    for _ in range(5):
        assert steady.given(FILE)[1]
        assert steady.given(LARGE)[1]
        assert steady.running.ask(FILE, method="HEAD").status == 200
    assert count() == (hits + 15, served + 5 * (len(SMALL) + len(WEIGHTS)))
