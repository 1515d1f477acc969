"""Values as columns come back exactly, and plain elements take no room of their own."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from mirror.digest import GIT_SHA1, SHA256, Digest
from mirror.index import packing
from mirror.names import Entry
from tests.unit.index.samples import folder, large, small

HEX = "0123456789abcdef"
TEXT = st.text(alphabet=st.characters(codec=None), max_size=60)  # lone surrogates included
DIGESTS = st.one_of(
    st.none(),
    st.text(HEX, min_size=64, max_size=64).map(lambda hexes: Digest(SHA256, hexes)),
    st.text(HEX, min_size=40, max_size=40).map(lambda hexes: Digest(GIT_SHA1, hexes)),
)
ENTRIES = st.builds(
    Entry,
    path=TEXT,
    kind=st.sampled_from(["file", "directory", "symlink"]),
    size=st.integers(0, 2**62),
    digest=DIGESTS,
    oid=st.one_of(st.text(HEX, max_size=64), TEXT),
    xet=st.one_of(st.none(), st.just("****"), st.text(HEX, max_size=64), TEXT),
    raw=st.binary(max_size=400),
)


@given(ENTRIES)
def test_entry_any_comes_back_exactly(entry: Entry) -> None:
    """Packing loses nothing of any entry, upstream's element included."""
    assert packing.entry_of(packing.entry_row(entry)) == entry


@given(ENTRIES, st.binary(max_size=20))
def test_entry_element_that_says_more_comes_back_exactly(entry: Entry, more: bytes) -> None:
    """An element that begins as predicted and goes on differently is kept to the byte."""
    *_, raw = packing.entry_row(replace(entry, raw=b"?"))
    assert raw is not None
    predicted = packing._prediction(
        entry.path, entry.kind, entry.size, entry.oid, entry.digest, entry.xet
    )
    longer = replace(entry, raw=predicted[:-1] + more)

    assert packing.entry_of(packing.entry_row(longer)) == longer


@given(TEXT, TEXT)
def test_name_sorts_as_its_code_points(one: str, other: str) -> None:
    """Packed names are in the order of the names, so pages join without gap."""
    assert (packing.name(one) < packing.name(other)) == (one < other)
    assert packing.unname(packing.name(one)) == one


@given(st.one_of(TEXT, st.text(HEX + "ABCDEF ", max_size=70)))
def test_pack_keeps_every_text_to_the_letter(text: str) -> None:
    """Hexadecimal or not, upper case or odd in length: what is packed comes back."""
    assert packing.unpack(packing.pack(text)) == text


def test_pack_halves_what_is_hexadecimal() -> None:
    """A sha256 takes 32 bytes."""
    assert packing.pack("ab" * 32) == b"\xab" * 32


def test_raw_plain_elements_take_no_room() -> None:
    """The Hub's own form of a file, a large file and a folder is predicted by the columns."""
    elements = [small("naïve/模型.txt"), large('a"b\\c'), folder("data"), large("m", hidden=True)]

    assert [packing.entry_row(entry)[-1] for entry in elements] == [None] * len(elements)


def test_raw_that_says_more_takes_what_it_says_more() -> None:
    """With ``expand`` an element has a last commit: only that is kept beside the columns."""
    plain = large("model.safetensors")
    more = b',"lastCommit":{"id":"' + b"0f" * 20 + b'","title":"Upload","date":"2026-01-01"}}'
    row = packing.entry_row(replace(plain, raw=plain.raw[:-1] + more))

    assert row[-1] is not None
    assert len(row[-1]) < len(more)
