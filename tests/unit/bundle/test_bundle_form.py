"""The form of a bundle: headers that every tar reads, a manifest read back, parts that know themselves."""

import fcntl
import hashlib
import io
import os
import random
import subprocess
import tarfile
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from mirror.bundle import bundletar
from mirror.bundle.bundlemanifest import (
    Audience,
    BundledCommit,
    BundledRepo,
    Manifest,
    Member,
    read_has,
    write_has,
)
from mirror.bundle.bundleparts import HEADER, PartHead, Parts, opened
from mirror.bundle.bundletar import BundleError
from mirror.bundle.bundlewriting import SplitFile, Stream
from mirror.errors import QuestionError
from mirror.names import Repo
from mirror.store.sums import PIECE

COMMIT = "c" * 40
SAMPLE = Manifest(
    sender="0" * 32,
    name="site",
    serial=3,
    created=1764311111.5,
    made_by="modelmirror 1",
    repos=(
        BundledRepo(
            Repo("huggingface", "models/acme/größe"),
            Audience.GATED,
            12.0,
            (BundledCommit(COMMIT, 3, 2, 10),),
        ),
    ),
    addresses=("https://download.pytorch.org/models/x.pth",),
    journal=Member.of(b""),
    records=(Member.of(b"record"),),
    blobs=(Member.of(b"one"), Member.of(b"two")),
    held=(Member.of(b"three"),),
)


@pytest.mark.parametrize("size", [0, 1, 511, 512, (8 << 30) - 1, 8 << 30, 1 << 45])
def test_headers_are_read_by_other_tars(size: int) -> None:
    """Name, size, kind and checksum, beyond 8 GiB too."""
    name = Member("a" * 64, size).blob
    info = tarfile.TarInfo.frombuf(bundletar.header(name, size), "ascii", "strict")
    assert (info.name, info.size, info.isreg(), info.mode) == (name, size, True, 0o644)


def test_a_name_of_another_form_is_never_written() -> None:
    """A header holds what the format allows and nothing else."""
    for name in ("", "Upper", "a" * 100, "a b", "a\0b", "../ä"):
        with pytest.raises(ValueError):  # noqa: PT011 -- UnicodeEncodeError is one
            bundletar.header(name, 1)


def test_a_manifest_is_read_back_as_it_was_written() -> None:
    """And written again to the same bytes, so that its signature holds."""
    data = SAMPLE.encode()
    assert Manifest.decode(data) == SAMPLE
    assert Manifest.decode(data).encode() == data


def test_a_manifest_that_cannot_be_is_refused() -> None:
    """Each in a sentence, and none with an exception that nobody expects."""
    one = SAMPLE.blobs[0]
    wrong = [
        replace(SAMPLE, blobs=(one, one)).encode(),
        replace(SAMPLE, held=(one,)).encode(),
        replace(SAMPLE, records=SAMPLE.records * 2).encode(),
        replace(SAMPLE, serial=0).encode(),
        replace(SAMPLE, name="../x").encode(),
        SAMPLE.encode().replace(b'"version": 1', b'"version": 2'),
        SAMPLE.encode().replace(b"gated", b"other"),
        SAMPLE.encode().replace(COMMIT.encode(), b"../" + b"c" * 37),
        SAMPLE.encode().replace(b" 3", b" -3"),
        b"[" * 100_000,
        b"\xff",
        b"{}",
        b"null",
    ]
    dice, data = random.Random(9), SAMPLE.encode()
    for _ in range(300):
        cut = bytearray(data)
        cut[dice.randrange(len(cut))] = dice.randrange(256)
        wrong.append(bytes(cut[: dice.randrange(len(cut))]))
    for data in wrong:
        with pytest.raises(BundleError):
            Manifest.decode(data)


def test_what_a_receiver_has_is_read_from_both_forms() -> None:
    """What `manifest` prints, and the manifest of a bundle with all that it brought or needed."""
    assert read_has(write_has(SAMPLE.blobs)) == {blob.hex for blob in SAMPLE.blobs}
    assert read_has(SAMPLE.encode()) == {blob.hex for blob in (*SAMPLE.blobs, *SAMPLE.held)}
    for data in (b"", b"{}", b'{"format": "modelmirror-manifest", "version": 9, "blobs": []}'):
        with pytest.raises(BundleError):
            read_has(data)


def _split(folder: Path, data: bytes, most: int) -> list[Path]:
    sink = SplitFile(folder / "b.tar", most, len(data), "b" * 64)
    for start in range(0, len(data), 10_007):
        sink.write(data[start : start + 10_007])
    sink.finish()
    return sink.paths


def test_parts_are_put_together_in_any_order(tmp_path: Path) -> None:
    """By the importer, and by coreutils as the documents say."""
    data = random.Random(1).randbytes(300_000)
    paths = _split(tmp_path, data, 100_000)
    assert [path.stat().st_size for path in paths] == [100_000, 100_000, 100_000, 16_384]
    source = Parts([paths[2], paths[0], paths[3], paths[1]])
    assert source.read(250_000) == data[:250_000]
    source.skip(20_000)
    assert source.read(30_000) == data[270_000:]
    source.end()
    source.close()
    said = 'for part in b.tar.0*; do tail -c +4097 "$part"; done'
    done = subprocess.run(["sh", "-c", said], cwd=tmp_path, capture_output=True, check=True)
    assert done.stdout == data


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    """A bit of its run, any of its header, its length; and a part that is missing or of another bundle."""
    paths = _split(tmp_path, random.Random(1).randbytes(300_000), 100_000)
    good = paths[1].read_bytes()
    assert Parts(paths).blame() == ""
    paths[1].write_bytes(good[:50_000] + bytes([good[50_000] ^ 1]) + good[50_001:])
    assert Parts(paths).blame() == f"Damaged is part 2 of 4 ({paths[1]})."
    for place in [*range(0, 420, 7), HEADER - 1]:
        paths[1].write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        with pytest.raises(BundleError, match="first bytes are damaged"):
            Parts(paths)
    paths[1].write_bytes(good[:-1])
    with pytest.raises(BundleError, match="Damaged is part 2 of 4"):
        Parts(paths)
    with pytest.raises(BundleError, match="missing is: 2"):
        Parts([paths[0], *paths[2:]])
    other = PartHead("c" * 64, 2, 4, 95_904, 95_904, hashlib.sha256(good[HEADER:]).hexdigest())
    paths[1].write_bytes(other.encode() + good[HEADER:])
    with pytest.raises(BundleError, match="another bundle"):
        Parts(paths)


def test_parts_that_are_too_small_or_too_many_are_refused(tmp_path: Path) -> None:
    """Before the first byte is written."""
    for most, length in ((1000, 10), (64 << 10, 1 << 40)):
        with pytest.raises(QuestionError):
            SplitFile(tmp_path / "b.tar", most, length, "b" * 64)
    assert not list(tmp_path.iterdir())


def test_the_length_of_a_bundle_is_known_before(tmp_path: Path) -> None:
    """The parts say how many they are in the first one."""
    del tmp_path
    out = io.BytesIO()
    data = SAMPLE.encode()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        sizes = [len(data), *(member.size for _, member in SAMPLE.members())]
        for size in sizes:
            info = tarfile.TarInfo("x")
            info.size = size
            tar.addfile(info, io.BytesIO(bytes(size)))
        end = out.tell()
    assert SAMPLE.length(len(data), 0) == end + 1024


def test_a_folder_is_no_bundle(tmp_path: Path) -> None:
    """Alone or among others, with what to name in its place."""
    with pytest.raises(BundleError, match="is a folder") as caught:
        opened([tmp_path])
    assert "each of its parts" in caught.value.hint
    with pytest.raises(BundleError, match="cannot be read"):
        opened([tmp_path, tmp_path])


@pytest.mark.skipif(not hasattr(fcntl, "F_GETPIPE_SZ"), reason="no pipe has a size here")
def test_pipe_takes_a_piece_at_once() -> None:
    """A pipe is made as large as a piece; what is no pipe is written to as it is."""
    reader, writer = os.pipe()
    Stream(writer)
    assert fcntl.fcntl(writer, fcntl.F_GETPIPE_SZ) >= PIECE
    os.close(reader)
    os.close(writer)
    with tempfile.TemporaryFile() as file:
        Stream(file.fileno()).write(b"bytes")
        assert os.pread(file.fileno(), 9, 0) == b"bytes"
