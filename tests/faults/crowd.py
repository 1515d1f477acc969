"""What a crowd of clients wants of a mirror that is about to die, and whether what it got was right."""

import random
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from tests.faults.clients import Download, digest, download
from tests.faults.site import MIB, noise
from tests.origin import Origin

# Small files of git, which are published in batches; files of one piece and of several; and one that
# comes in parts where the nursery's thresholds hold.
SIZES: Final = (
    17, 130, 900, 2_000, 5_000, 9_000, 20_000, 65_536, 90_000, MIB, MIB + 1, 2 * MIB + 7, 3 * MIB + 5,
)  # fmt: skip

CLIENTS: Final = 8
PATIENCE: Final = 20.0  # seconds


@dataclass(frozen=True, slots=True)
class Published:
    """A repo of the origin: its name and its files."""

    name: str
    files: Mapping[str, bytes]

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(map(len, self.files.values()))


def publish(origin: Origin, name: str, seed: int) -> Published:
    """Add a repo with a file of each of `SIZES`, whose bytes no other *seed* has."""
    files = {f"{at}.bin": noise(size, seed * 100 + at) for at, size in enumerate(SIZES)}
    large = lambda path: len(files.get(path, b"")) > 10_000  # noqa: E731 -- small files are git's own
    origin.add_repo("models", name, files=dict(files), lfs=large, xet=False)
    return Published(name, files)


def fetch(url: str, repo: Published, path: str, span: tuple[int, int] | None = None) -> Download:
    """GET a file of a repo, or bytes *span* (the last one included) of it."""
    headers = {} if span is None else {"Range": f"bytes={span[0]}-{span[1]}"}
    where = f"{url}/{repo.name}/resolve/main/{path}"
    return download(where, headers=headers, timeout=PATIENCE)


@contextmanager
def crowd(url: str, repos: list[Published], chance: random.Random) -> Iterator[list[str]]:
    """Eight clients meanwhile, each after every file of the last repo and some of the others.

    In an order of its own, some by a range, until it is cut or has all. The list says at the end which
    whole successes were wrong.
    """
    wrong: list[str] = []
    threads = [
        threading.Thread(target=_wander, args=(url, repos, random.Random(chance.random()), wrong))
        for _ in range(CLIENTS)
    ]
    for thread in threads:
        thread.start()
    try:
        yield wrong
    finally:
        for thread in threads:
            thread.join()


def _wander(url: str, repos: list[Published], chance: random.Random, wrong: list[str]) -> None:
    wanted = [(repos[-1], path) for path in repos[-1].files]
    for repo in repos[:-1]:
        wanted += [(repo, path) for path in chance.sample(list(repo.files), 2)]
    chance.shuffle(wanted)
    for repo, path in wanted:
        content, span = repo.files[path], None
        if len(content) > MIB and chance.random() < 0.3:
            start = chance.randrange(len(content) - 1000)
            span = (start, start + 999)
        got = fetch(url, repo, path, span)
        if not got.whole:
            return
        if not _right(got, content, span):
            wrong.append(f"{repo.name}/{path} {span or ''}: {got.status} with {got.size} bytes")


def _right(got: Download, content: bytes, span: tuple[int, int] | None) -> bool:
    """Whether a whole answer has the bytes that it says it has; an error has none."""
    if got.status == 206 and span is not None:
        return got.sha256 == digest(content[span[0] : span[1] + 1])
    return got.status >= 400 or got.clean(content)
