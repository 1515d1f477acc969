"""F28: bits of stored blobs flip on the medium, with the page that holds them in memory or not.

The disk is an image, and a bit is flipped in the image: neither the kernel's memory nor the file's status
knows of it, as when a disk rots. What is *not* promised: that a page of memory which goes bad after it was
checked is noticed, nor one that left memory and was brought back by somebody else between two looks of
the mirror (docs/reliability.md, Rot).
"""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.faults.audit import blob_sizes, sha256_of_file
from tests.faults.clients import Download, digest, together
from tests.faults.conftest import Torture
from tests.faults.crowd import Published, fetch
from tests.faults.disks import NotPermittedError, Rotting, drop, rotting_disk
from tests.faults.nursery import Child, Nursery
from tests.faults.site import MIB, noise, wait_for
from tests.origin import Origin

# A small file of git, one of LFS within a piece, one of a piece and a bit, and one of several.
SIZES: Final = (5_000, 90_000, MIB + 1, 5 * MIB + 17)

ROUNDS_FAST: Final = 12


@pytest.mark.torture
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("memory", ["dropped", "kept"])
def test_f28_bits_flip_again_and_again(tmp_path: Path, torture: Torture, memory: str) -> None:
    """Wherever a bit flips, no wrong byte is part of a whole answer, and all is right afterwards."""
    _flip_again_and_again(tmp_path, torture, memory)


@pytest.mark.parametrize("memory", ["dropped", "kept"])
def test_f28_bits_flip_a_few_times(tmp_path: Path, memory: str) -> None:
    """The same, a dozen times."""
    _flip_again_and_again(tmp_path, Torture.few(ROUNDS_FAST, seed=28), memory)


def _flip_again_and_again(folder: Path, torture: Torture, memory: str) -> None:
    try:
        with rotting_disk(folder, 128 * MIB) as disk, Origin() as origin, Nursery() as nursery:
            files = {f"{at}.bin": noise(size, at) for at, size in enumerate(SIZES)}
            large = lambda path: len(files.get(path, b"")) > 10_000  # noqa: E731
            origin.add_repo("models", "acme/rot", files=dict(files), lfs=large)
            repo = Published("acme/rot", files)
            mirror = Child(disk.disk / "data", origin, nursery=nursery)
            with mirror:
                here = _Rot(mirror, disk, repo, torture)
                for number in torture.rounds():
                    here.round(number, here.dropped if memory == "dropped" else here.kept)
            assert nursery.verify(mirror.data, "--data") == "fine"
            met = ", ".join(f"{count} times {what}" for what, count in sorted(here.met.items()))
            print(f"\nmet: {met}")  # noqa: T201
    except NotPermittedError as error:
        pytest.skip(str(error))


class _Rot:
    """A mirror on a rotting disk, and the kinds of rounds."""

    def __init__(self, mirror: Child, disk: Rotting, repo: Published, torture: Torture) -> None:
        self._mirror = mirror
        self._disk = disk
        self._repo = repo
        self._torture = torture
        self._chance = torture.chance
        self.met = Counter[str]()
        self._path = ""
        self._told = ""

    def round(self, number: int, how: Callable[[Path, int, int], None]) -> None:
        """Flip one bit of one file; the file is hot and checked before, and right afterwards."""
        self._path = self._chance.choice(list(self._repo.files))
        place = self._chance.randrange(len(self._content))
        bit = self._chance.randrange(8)
        self._told = f"seed {self._torture.seed}, round {number}: byte {place} of {self._path}"
        assert self._get().clean(self._content), self._told
        self._mirror.settle()
        how(self._blob, place, bit)
        wait_for(lambda: self._get().clean(self._content))
        self._mirror.settle()
        assert sha256_of_file(self._blob) == self._blob.name, self._told

    def dropped(self, blob: Path, place: int, bit: int) -> None:
        """The medium changes, and the page is not in memory: it is found before it is sent."""
        self._disk.flip(blob, place, bit)
        before = blob.stat().st_ino
        drop(blob, place)
        self._ask(place)
        assert self._get().harmless(self._content), self._told
        wait_for(lambda: blob.exists() and blob.stat().st_ino != before)
        self.met["found on the way from the medium"] += 1

    def kept(self, blob: Path, place: int, bit: int) -> None:
        """The page is in memory when the bit flips: on the medium, or in memory too by a write."""
        kind = self._chance.choice((self._beneath, self._written, self._written_while_down))
        kind(blob, place, bit)

    def _beneath(self, blob: Path, place: int, bit: int) -> None:
        """Memory has the right bytes and they are sent; the medium is mended before they leave it."""
        self._disk.flip(blob, place, bit)
        self._ask(place)
        assert self._get().clean(self._content), self._told
        self._disk.flip(blob, place, bit)
        self.met["right in memory, wrong on the medium"] += 1

    def _written(self, blob: Path, place: int, bit: int) -> None:
        """Somebody writes into the file: its time of modification tells."""
        before = blob.stat().st_ino
        _write(blob, place, bit)
        self._ask(place)
        assert self._get().harmless(self._content), self._told
        wait_for(lambda: blob.exists() and blob.stat().st_ino != before)
        self.met["found by the time of modification"] += 1

    def _written_while_down(self, blob: Path, place: int, bit: int) -> None:
        """The same while no mirror runs, with the times put back: nothing was checked since its start."""
        status = blob.stat()
        self._mirror.stop()
        _write(blob, place, bit)
        os.utime(blob, ns=(status.st_atime_ns, status.st_mtime_ns))
        self._mirror.start()
        self._ask(place)
        assert self._get().harmless(self._content), self._told
        wait_for(lambda: blob.exists() and blob.stat().st_ino != status.st_ino)
        self.met["found in memory after a start"] += 1

    def _ask(self, place: int) -> None:
        """Ask in one of several ways; nothing wrong may come whole."""
        content = self._content
        how = self._chance.choice(("whole", "head", "range", "together"))
        if how == "range":
            start = max(0, place - self._chance.randrange(2_000))
            end = min(len(content), place + 1 + self._chance.randrange(2_000))
            got = fetch(self._mirror.url, self._repo, self._path, (start, end - 1))
            fine = got.sha256 == digest(content[start:end]) or not got.whole or got.status >= 400
            assert fine, f"{self._told}, {start}-{end}"
        elif how == "head":
            where = f"/{self._repo.name}/resolve/main/{self._path}"
            assert self._mirror.ask(where, method="HEAD").status == 200, self._told
        else:
            for got in together(4 if how == "together" else 1, self._get):
                assert got.harmless(content), self._told

    @property
    def _content(self) -> bytes:
        return self._repo.files[self._path]

    @property
    def _blob(self) -> Path:
        name = digest(self._content)
        assert name in blob_sizes(self._mirror.data), self._told
        return self._mirror.data / "v1" / "blobs" / "sha256" / name[:2] / name

    def _get(self) -> Download:
        return fetch(self._mirror.url, self._repo, self._path)


def _write(path: Path, offset: int, bit: int) -> None:
    path.chmod(0o600)
    with path.open("r+b") as file:
        byte = os.pread(file.fileno(), 1, offset)[0]
        os.pwrite(file.fileno(), bytes([byte ^ 1 << bit]), offset)
    path.chmod(0o444)
