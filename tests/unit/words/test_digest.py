"""What bytes are held against: digests, and the lesser things that hosts publish."""

import hashlib

import pytest

from mirror.digest import Check, Digest, Hasher, git_sha1_of, sha256_of, source_of

DATA = b"weights" * 1000
MD5 = Check("md5", hashlib.md5(DATA, usedforsecurity=False).hexdigest())
PREFIX = Check("sha256-prefix", sha256_of(DATA).hex[:8])


def _differs(expected: Digest, *checks: Check, data: bytes = DATA) -> Digest | None:
    hasher = Hasher(len(data), expected, checks)
    hasher.update(data[:100])
    hasher.update(data[100:])
    return hasher.differs()


def test_right_bytes_differ_from_nothing() -> None:
    """Whatever they are held against."""
    for expected in (sha256_of(DATA), git_sha1_of(DATA), source_of("https://host/file")):
        assert _differs(expected, MD5, PREFIX) is None


def test_wrong_bytes_are_told_by_each_digest_and_each_check() -> None:
    """One wrong byte is enough, and a source alone cannot tell."""
    wrong = DATA[:-1] + b"?"
    assert _differs(sha256_of(DATA), data=wrong) == sha256_of(wrong)
    assert _differs(git_sha1_of(DATA), data=wrong) == git_sha1_of(wrong)
    source = source_of("https://host/file")
    assert _differs(source, data=wrong) is None
    assert _differs(source, MD5, data=wrong) == sha256_of(wrong)
    assert _differs(source, PREFIX, data=wrong) == sha256_of(wrong)
    assert _differs(source, PREFIX, Check("md5", "0" * 32)) == sha256_of(DATA)


def test_sources_differ_by_every_word() -> None:
    """A version is not mistaken for part of an address."""
    assert source_of("https://host/file") != source_of("https://host/file", "")
    assert source_of("a", "bc") != source_of("ab", "c")
    assert not source_of("a").proves
    assert sha256_of(b"").proves


@pytest.mark.parametrize(
    ("algorithm", "text"),
    [("md5", "0" * 31), ("md5", "g" * 32), ("sha256-prefix", "1234567"), ("sha1", "0" * 40)],
)
def test_what_is_no_check_is_refused(algorithm: str, text: str) -> None:
    """Fewer than 32 bits would check nothing."""
    with pytest.raises(ValueError, match="not a check"):
        Check(algorithm, text)


def test_git_names_content_with_its_length() -> None:
    """The value that `git hash-object` prints for hello and a newline."""
    assert git_sha1_of(b"hello\n").hex == "ce013625030ba8dba906f756967f9e9ca394464a"
