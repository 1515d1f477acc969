"""The mirror as a Xet content store: what a client puts together is the file, whatever it asks."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirror.credential import Credential
from mirror.digest import SHA256, Digest
from mirror.errors import OfflineError
from mirror.hubs.huggingface import xorbs
from mirror.hubs.huggingface.questions import Fixed
from mirror.messages import Answer, BlobRef, Span, UpstreamRequest
from mirror.ranges import ByteRange
from tests.doubles.scripted_facts import Engine
from tests.hubs.huggingface.scripts import (
    BASE,
    COMMIT,
    TREE,
    WEIGHTS_SHA,
    WEIGHTS_SIZE,
    XET,
    engine,
    header,
    parsed,
    request,
    tree,
    upstream,
    weights,
)

API = "/api/models/acme/tiny-bert"
DIGEST = Digest(SHA256, WEIGHTS_SHA)
U32 = 1 << 32
CHUNK_BOUND = 131_072
XORB_BOUND = 64 << 20


def blob(size: int) -> BlobRef:
    """A blob of *size* bytes."""
    return BlobRef(DIGEST, size, UpstreamRequest("GET", "/x"), "huggingface", "models/x")


@st.composite
def sized_ranges(draw: st.DrawFn, largest: int) -> tuple[int, ByteRange]:
    """A file size and a range in it, both fond of the borders of chunks and xorbs."""
    border = st.sampled_from([xorbs.CHUNK, xorbs.CONTENT])
    near = st.builds(
        lambda unit, count, off: max(1, min(largest, unit * count + off)),
        border,
        st.integers(0, 50),
        st.integers(-2, 2),
    )
    size = draw(st.one_of(st.integers(1, largest), near))
    start = draw(st.one_of(st.integers(0, size - 1), st.just(0)))
    end = draw(st.one_of(st.integers(start + 1, size), st.just(size)))
    return size, ByteRange(start, end)


def content_spans(size: int, wanted: ByteRange, version: int) -> Iterator[tuple[int, int]]:
    """Walk a reconstruction as a client does; yields the file's bytes that it hands out."""
    answer = xorbs.reconstruction(DIGEST, size, wanted, f"{BASE}/{{name}}/{{index}}", version)
    skip, left = answer["offset_into_first_range"], len(wanted)
    for term in answer["terms"]:
        (fetched,) = answer["fetch_info" if version == 1 else "xorbs"][term["hash"]]
        if version == 1:
            chunks, stored = fetched["range"], fetched["url_range"]
        else:
            (part,) = fetched["ranges"]
            chunks, stored = part["chunks"], part["bytes"]
        assert chunks == term["range"]
        assert term["unpacked_length"] < U32
        index = int(fetched["url"].rpartition("/")[2])
        assert xorbs.xorb_name(DIGEST, index) == term["hash"]
        assert stored["end"] < xorbs.xorb_length(size, index) <= XORB_BOUND
        count = chunks["end"] - chunks["start"]
        assert stored["end"] + 1 - stored["start"] == term["unpacked_length"] + 8 * count
        assert stored["start"] == chunks["start"] * (xorbs.CHUNK + 8)
        first = index * xorbs.CONTENT + chunks["start"] * xorbs.CHUNK
        take = min(term["unpacked_length"] - skip, left)
        yield first + skip, first + skip + take
        skip, left = 0, left - take
    assert left == 0


@given(sized_ranges(200 * 10**9), st.sampled_from([1, 2]))
def test_reconstruction_of_any_range_is_that_range(
    asked: tuple[int, ByteRange], version: int
) -> None:
    """The terms, trimmed as clients trim them, are exactly the asked bytes, far beyond 50 GB."""
    size, wanted = asked
    # Long ranges are cut so that the walk stays short; where they begin stays anywhere in the file.
    wanted = ByteRange(wanted.start, min(wanted.end, wanted.start + 50 * xorbs.CONTENT))
    at = wanted.start
    for start, end in content_spans(size, wanted, version):
        assert start == at
        at = end
    assert at == wanted.end


@settings(max_examples=20)
@given(sized_ranges(3 * xorbs.CONTENT))
def test_xorbs_hold_what_the_terms_say(asked: tuple[int, ByteRange]) -> None:
    """Each stored range begins at a chunk's header and ends with a chunk, as the format wants it."""
    size, wanted = asked
    _, terms = xorbs.terms_of(size, wanted)
    for term in terms:
        at, starts, content = 0, {0}, 0
        segments = xorbs.xorb_segments(blob(size), term.xorb)
        for head, span in zip(segments[::2], segments[1::2], strict=True):
            assert isinstance(head, bytes)
            assert isinstance(span, Span)
            assert 0 < len(span) <= CHUNK_BOUND
            three = len(span).to_bytes(3, "little")
            assert head == b"\0" + three + b"\0" + three
            if term.stored.start <= at < term.stored.end:
                content += len(span)
            at += 8 + len(span)
            starts.add(at)
        assert at == xorbs.xorb_length(size, term.xorb)
        assert {term.stored.start, term.stored.end} <= starts
        assert content == term.length


@given(st.integers(1, 200 * 10**9))
def test_xorbs_cover_a_file_once(size: int) -> None:
    """The last xorb ends where the file does, and none is empty."""
    count = xorbs.xorb_count(size)
    assert (count - 1) * xorbs.CONTENT < size <= count * xorbs.CONTENT
    assert xorbs.xorb_length(size, count - 1) > 8


def test_xorb_names_never_meet() -> None:
    """Another file, another number: another name, in the form of a hash."""
    other = Digest(SHA256, "b" * 64)
    names = {xorbs.xorb_name(digest, index) for digest in (DIGEST, other) for index in range(300)}
    assert len(names) == 600
    assert all(re.fullmatch("[0-9a-f]{64}", name) for name in names)


# ── over the hub's own functions ───────────────────────────────────────────────────────────────


def token_of(run: Engine) -> str:
    """A read token, as a client gets it."""
    answer = run.ask(request(f"{API}/xet-read-token/main"))
    given_ = parsed(answer)
    assert given_["casUrl"] == f"{BASE}/-/cas"
    assert header(answer, "x-xet-access-token") == given_["accessToken"]
    assert header(answer, "x-xet-token-expiration") == str(given_["exp"])
    assert header(answer, "x-xet-cas-url") == given_["casUrl"]
    assert given_["exp"] > run.facts.now + 60
    return str(given_["accessToken"])


def rebuilt(
    run: Engine, token: str, *, xet: str = XET, version: int = 2, span: str | None = None
) -> Answer:
    """The answer to a reconstruction request."""
    headers = {} if span is None else {"range": span}
    head = request(f"/-/cas/v{version}/reconstructions/{xet}", headers=headers)
    return run.ask(replace(head, credential=Credential(f"Bearer {token}")))


def links(answer: dict[str, Any], version: int) -> list[str]:
    """The xorb links of a reconstruction."""
    fetched = answer["fetch_info" if version == 1 else "xorbs"]
    return [part["url"] for parts in fetched.values() for part in parts]


@pytest.mark.parametrize("version", [1, 2])
def test_xet_download_comes_from_the_store(version: int) -> None:
    """Token, reconstruction, xorb: three answers, and the last is the blob between headers."""
    run = engine()
    answer = parsed(rebuilt(run, token_of(run), version=version))
    assert sum(term["unpacked_length"] for term in answer["terms"]) == WEIGHTS_SIZE
    (link,) = links(answer, version)
    assert link.startswith(f"{BASE}/-/cas/xorbs/")
    url = urlsplit(link)
    xorb = run.ask(request(url.path, url.query))
    assert (xorb.status, xorb.ranges) == (200, True)
    assert xorb.size == WEIGHTS_SIZE + 3 * 8
    spans = [part for part in xorb.body if isinstance(part, Span)]
    assert [(part.start, part.end) for part in spans] == [
        (0, 131_072), (131_072, 262_144), (262_144, 300_000)
    ]  # fmt: skip
    assert spans[0].blob.source.target == f"/acme/tiny-bert/resolve/{COMMIT}/model.safetensors"
    assert len(run.upstream.asked) == 2


def test_xet_reconstruction_reads_the_range() -> None:
    """A range gives its own terms; one past the end is 416, one that is no range is the whole."""
    run = engine()
    token = token_of(run)
    part = parsed(rebuilt(run, token, span="bytes=131073-131080"))
    assert part["offset_into_first_range"] == 1
    assert [term["range"] for term in part["terms"]] == [{"start": 1, "end": 2}]
    beyond = rebuilt(run, token, span="bytes=300000-")
    assert beyond.status == 416
    assert header(beyond, "content-range") == "bytes */300000"
    assert len(parsed(rebuilt(run, token, span="lines=1-2"))["terms"]) == 1


def test_xet_token_ends() -> None:
    """After its time a token opens nothing, and a link makes the client ask again."""
    run = engine()
    token = token_of(run)
    (link,) = links(parsed(rebuilt(run, token)), 2)
    url = urlsplit(link)
    run.facts.now += 901
    assert rebuilt(run, token).status == 401
    assert run.ask(request(url.path, url.query)).status == 403


@pytest.mark.parametrize("position", range(0, 150, 7))
def test_xet_token_cannot_be_altered(position: int) -> None:
    """Any other character makes it somebody else's token."""
    run = engine()
    token = token_of(run)
    position %= len(token)
    letter = "A" if token[position] != "A" else "Q"
    forged = token[:position] + letter + token[position + 1 :]
    head = request(f"/-/cas/v2/reconstructions/{XET}")
    question = run.hub.recognise(replace(head, credential=Credential(f"Bearer {forged}")), b"")
    assert isinstance(question, Fixed)
    assert question.status == 401


def test_xet_link_opens_its_own_xorb_only() -> None:
    """Another number, another name, a token in place of a link: 403."""
    run = engine()
    token = token_of(run)
    (link,) = links(parsed(rebuilt(run, token)), 2)
    url = urlsplit(link)
    name = url.path.rpartition("/")[2]
    for path, query in (
        (url.path, url.query.replace("index=0", "index=1")),
        (url.path.replace(name, "0" * 64), url.query),
        (url.path, f"index=0&pass={token}"),
        (url.path, "index=0"),
        (url.path, url.query.replace("index=0", "index=-1")),
    ):
        question = run.hub.recognise(request(path, query), b"")
        assert isinstance(question, Fixed)
        assert question.status == 403


def test_xet_token_stands_for_its_caller() -> None:
    """The store has no other credential: the token's caller is the one who must be admitted."""
    run = engine(upstream(private=True), caller="alice")
    token = token_of(run)
    head = request(f"/-/cas/v2/reconstructions/{XET}")
    question = run.hub.recognise(replace(head, credential=Credential(f"Bearer {token}")), b"")
    assert question is not None
    assert question.caller == "alice"
    assert question.repo is not None
    (link,) = links(parsed(rebuilt(run, token)), 2)
    url = urlsplit(link)
    question = run.hub.recognise(request(url.path, url.query), b"")
    assert question is not None
    assert question.caller == "alice"


def test_xet_hash_of_no_stored_list_reads_the_tokens_commit() -> None:
    """A list redacted for strangers is read as the token's caller before anything is refused."""
    scripted = upstream(gated="auto", xet="****")
    scripted.put(f"{API}/auth-check", b"")
    run = engine(scripted, caller="alice")
    token = token_of(run)
    run.facts.snapshots.clear()
    run.facts.entries.clear()
    scripted.put(f"{API}/tree/{COMMIT}{TREE}", tree(weights("model.safetensors")))
    assert rebuilt(run, token).status == 200


def test_xet_hash_that_nobody_knows_is_not_implemented() -> None:
    """501 is permanent to Xet clients; anything else of the fives they would ask again."""
    run = engine()
    token = token_of(run)
    with pytest.raises(OfflineError):
        rebuilt(run, token, xet="0" * 64)
    answer = run.hub.refuse(OfflineError("No."))
    assert answer.status == 501


def test_xet_links_stay_short() -> None:
    """A reconstruction of 200 GB is a few megabytes of JSON: the link is signed once, not per xorb."""
    size = 200 * 10**9
    run = engine()
    url = links(parsed(rebuilt(run, token_of(run))), 2)[0]
    written = xorbs.reconstruction(DIGEST, size, ByteRange(0, size), url, 2)
    assert len(written["terms"]) == xorbs.xorb_count(size)
    assert len(json.dumps(written)) < 6 << 20
