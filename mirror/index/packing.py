"""Values as columns: names as sortable bytes, hexadecimal as its bytes, and raw JSON as what it adds.

A tree element repeats in JSON what its columns hold already. So the catalog keeps of *raw* only the
difference from what the columns predict: nothing where they predict it to the byte, as they do for the
Hub's plain elements (300 bytes less for each of 100 000 entries), else the bytes deflated against the
prediction. Either way *raw* comes back exactly.
"""

import json
import zlib
from typing import Final, TypeAlias

from mirror.digest import GIT_SHA1, SHA256, SOURCE, Digest
from mirror.names import Entry

Packed: TypeAlias = bytes | str
EntryRow: TypeAlias = tuple[
    bytes, int, int | str, int, Packed, bytes | None, Packed | None, bytes | None
]

# What upstream writes instead of a Xet hash that this caller may not see.
REDACTED: Final = "****"

_KINDS: Final = {"file": 0, "directory": 1}
_KIND_NAMES: Final = {code: name for name, code in _KINDS.items()}
_ALGORITHMS: Final = {32: SHA256, 20: GIT_SHA1}

# The first byte of a stored difference.
_VERBATIM: Final = b"\0"
_DEFLATED: Final = b"\1"

# An LFS pointer is 125 bytes and the digits of its size (git-lfs specification, "The Pointer").
_POINTER: Final = 125

# A window of 2 KiB holds any prediction; zlib's default would cost 32 KiB of dictionary per element.
_WINDOW: Final = -11


def name(text: str) -> bytes:
    """Pack a name that came from outside; bytes sort like the code points of the text.

    Requests and JSON may hold lone surrogates, which UTF-8 proper refuses; they are kept as they are.
    """
    return text.encode("utf-8", "surrogatepass")


def unname(packed: bytes) -> str:
    """Read back what `name` packed."""
    return packed.decode("utf-8", "surrogatepass")


def pack(text: str) -> Packed:
    """Pack what is hexadecimal as a rule: its bytes, or text that SQLite takes whatever it holds."""
    try:
        packed = bytes.fromhex(text)
    except ValueError:
        packed = b""
    return packed if packed.hex() == text else name(text).decode("latin-1")


def unpack(packed: Packed) -> str:
    """Read back what `pack` packed."""
    return packed.hex() if isinstance(packed, bytes) else unname(packed.encode("latin-1"))


def digest_of(packed: bytes) -> Digest:
    """The digest whose bytes these are; its length (32 or 20 bytes) tells the algorithm."""
    return Digest(_ALGORITHMS[len(packed)], packed.hex())


def linked(digest: Digest) -> bytes:
    """Pack the name that a link leads from; no two names of different kinds are ever the same bytes.

    The name of a source is as long as a sha256, and content can be made that has it for its sha256.
    """
    packed = bytes.fromhex(digest.hex)
    return b"\0" + packed if digest.algorithm == SOURCE else packed


def unlinked(packed: bytes) -> Digest:
    """Read back what `linked` packed."""
    if len(packed) > 32:
        return Digest(SOURCE, packed[1:].hex())
    return digest_of(packed)


def entry_row(entry: Entry) -> EntryRow:
    """The columns ``path, depth, kind, size, oid, digest, xet, raw`` of *entry*."""
    digest = None if entry.digest is None else bytes.fromhex(entry.digest.hex)
    xet = None if entry.xet is None else pack(entry.xet)
    return (
        name(entry.path),
        entry.path.count("/"),
        _KINDS.get(entry.kind, entry.kind),
        entry.size,
        pack(entry.oid),
        digest,
        xet,
        _difference(
            entry.raw,
            _prediction(entry.path, entry.kind, entry.size, entry.oid, entry.digest, entry.xet),
        ),
    )


def entry_of(row: EntryRow) -> Entry:
    """Read back what `entry_row` packed."""
    packed_path, _depth, packed_kind, size, packed_oid, packed_digest, packed_xet, difference = row
    path = unname(packed_path)
    kind = packed_kind if isinstance(packed_kind, str) else _KIND_NAMES[packed_kind]
    oid = unpack(packed_oid)
    digest = None if packed_digest is None else digest_of(packed_digest)
    xet = None if packed_xet is None else unpack(packed_xet)
    predicted = _prediction(path, kind, size, oid, digest, xet)
    return Entry(path, kind, size, digest, oid, xet, _restored(difference, predicted))


def _prediction(
    path: str, kind: str, size: int, oid: str, digest: Digest | None, xet: str | None
) -> bytes:
    """The element as the Hub writes it: ``GET /api/{type}s/{id}/tree/{rev}``, without ``expand``."""
    lfs = hidden = ""
    if digest is not None and digest.algorithm == SHA256:
        pointer = _POINTER + len(str(size))
        lfs = f'"lfs":{{"oid":"{digest.hex}","size":{size},"pointerSize":{pointer}}},'
    if xet is not None:
        hidden = f'"xetHash":"{xet}",'
    quoted = json.encoder.encode_basestring(path)
    text = f'{{"type":"{kind}","oid":"{oid}","size":{size},{lfs}{hidden}"path":{quoted}}}'
    return name(text)


def _difference(raw: bytes, predicted: bytes) -> bytes | None:
    if raw == predicted:
        return None
    deflater = zlib.compressobj(level=6, wbits=_WINDOW, memLevel=4, zdict=predicted[-2048:])
    deflated = deflater.compress(raw) + deflater.flush()
    return _DEFLATED + deflated if len(deflated) < len(raw) else _VERBATIM + raw


def _restored(difference: bytes | None, predicted: bytes) -> bytes:
    if difference is None:
        return predicted
    if difference[:1] == _VERBATIM:
        return difference[1:]
    inflater = zlib.decompressobj(wbits=_WINDOW, zdict=predicted[-2048:])
    return inflater.decompress(difference[1:]) + inflater.flush()
