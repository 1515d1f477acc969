"""Sums: every piece can be checked alone, and damaged sums are known for what they are."""

import os
import zlib
from pathlib import Path

import pytest

from mirror.digest import sha256_of
from mirror.store.sums import PIECE, Sums, SumsBuilder, piece_count, read_size

DATA = os.urandom(2 * PIECE + 5)
DIGEST = sha256_of(DATA)


def built(data: bytes, step: int) -> Sums:
    """Sums of *data* taken in chunks of *step* bytes."""
    builder = SumsBuilder()
    for start in range(0, len(data), step):
        builder.update(data[start : start + step])
    return builder.sums(sha256_of(data), len(data))


@pytest.mark.parametrize("step", [PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 65_536])
def test_sums_do_not_depend_on_how_the_bytes_came(step: int) -> None:
    """Chunks that end within, at and beyond a piece give the same values."""
    values = [zlib.crc32(DATA[start : start + PIECE]) for start in range(0, len(DATA), PIECE)]
    assert list(built(DATA, step).values) == values


@pytest.mark.parametrize(
    ("size", "pieces"), [(0, 0), (1, 1), (PIECE, 1), (PIECE + 1, 2), (3 * PIECE, 3)]
)
def test_sums_have_a_value_for_each_piece(size: int, pieces: int) -> None:
    """The last piece is whatever is left."""
    assert piece_count(size) == pieces
    assert len(built(bytes(size), PIECE).values) == pieces


def test_sums_come_back_as_they_were_written(tmp_path: Path) -> None:
    """What is read is what was written, and it names the algorithm in its header."""
    sums = built(DATA, PIECE)
    path = tmp_path / "sums"
    path.write_bytes(sums.encode())
    assert Sums.read(path, DIGEST) == sums
    assert read_size(path) == len(DATA)
    assert b"crc32" in path.read_bytes()[:16]


def test_sums_tell_a_changed_piece() -> None:
    """One bit is enough."""
    sums = built(DATA, PIECE)
    piece = bytearray(DATA[:PIECE])
    assert sums.matches(0, piece)
    piece[1000] ^= 1
    assert not sums.matches(0, piece)
    assert sums.matches(2, DATA[2 * PIECE :])


def test_sums_that_are_damaged_do_not_decode() -> None:
    """Every single flipped byte, and every cut, is found."""
    whole = built(DATA, PIECE).encode()
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 0x10
        with pytest.raises(ValueError, match="the sums"):
            Sums.decode(bytes(damaged))
        with pytest.raises(ValueError, match="the sums"):
            Sums.decode(whole[:at])


def test_sums_of_another_blob_are_not_taken(tmp_path: Path) -> None:
    """A sums file under the wrong name must not condemn a good blob."""
    path = tmp_path / "sums"
    path.write_bytes(built(DATA, PIECE).encode())
    assert Sums.read(path, sha256_of(b"another")) is None
    assert Sums.read(tmp_path / "missing", DIGEST) is None
    assert read_size(tmp_path / "missing") is None
