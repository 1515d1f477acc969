"""What every hub promises, asked of all that the registry knows.

A new hub is held to this unasked; what it must add is its own sample requests.
"""

import inspect
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror import errors
from mirror.credential import Credential
from mirror.digest import SHA256, Digest
from mirror.errors import MirrorError, QuestionError
from mirror.hubs import registry
from mirror.hubs.base import Hub
from mirror.messages import Answer, RequestHead, Span
from mirror.names import Access, Question, Tunnel
from tests.doubles.scripted_facts import Engine, ScriptedFacts, ScriptedUpstream
from tests.hubs import hosted
from tests.hubs.huggingface import scripts

BASE: Final = "http://mirror.test:8090"
HUBS: Final = registry.hubs(secret=b"s" * 32, tree_limit=1000, ref_lifetime=60.0)
DIGEST: Final = Digest(SHA256, "a" * 64)
ID: Final = "/api/models/acme/tiny-bert"

# Requests that a hub must recognise, by its name: method, path, query, body.
SAMPLES: Final[dict[str, tuple[tuple[str, str, str, bytes], ...]]] = {
    "huggingface": (
        ("GET", "/acme/tiny-bert/resolve/main/config.json", "", b""),
        ("HEAD", "/acme/tiny-bert/resolve/main/model.safetensors", "", b""),
        ("GET", "/acme/tiny-bert/resolve/main/nope", "", b""),
        ("GET", "/acme/tiny-bert/raw/main/model.safetensors", "", b""),
        ("GET", f"/api/resolve-cache/models/acme/tiny-bert/{scripts.COMMIT}/config.json", "", b""),
        ("GET", ID, "", b""),
        ("GET", ID, "blobs=true&securityStatus=true&expand=tags", b""),
        ("GET", f"{ID}/revision/main", "", b""),
        ("GET", f"{ID}/tree/main", "recursive=true&limit=2", b""),
        ("GET", f"{ID}/tree/main", "expand=true&cursor=foreign", b""),
        ("POST", f"{ID}/paths-info/main", "", b"paths=config.json&paths=x"),
        ("POST", f"{ID}/paths-info/main", "", b"paths=config.json&expand=true"),
        ("GET", f"{ID}/refs", "", b""),
        ("GET", f"{ID}/commits/main", "", b""),
        ("GET", f"{ID}/auth-check", "", b""),
        ("GET", f"{ID}/xet-read-token/main", "", b""),
        ("GET", "/api/whoami-v2", "", b""),
        ("GET", "/api/models", "search=bert", b""),
        ("GET", "/api/agent-harnesses", "", b""),
        ("POST", "/acme/tiny-bert.git/info/lfs/objects/batch", "",
         b'{"operation":"download","objects":[{"oid":"%s","size":1}]}' % (b"a" * 64)),
        ("GET", f"/acme/tiny-bert.git/info/lfs/objects/{scripts.WEIGHTS_SHA}", "", b""),
        ("GET", "/acme/tiny-bert/info/refs", "service=git-upload-pack", b""),
        ("GET", "/v2/acme/tiny-bert/manifests/latest", "", b""),
        ("GET", f"/v2/acme/tiny-bert/blobs/sha256:{scripts.WEIGHTS_SHA}", "", b""),
        ("POST", "/-/cas/v1/telemetry", "", b"{}"),
    ),
}  # fmt: skip
SAMPLES.update(hosted.SAMPLES)
UPSTREAMS: Final = {"huggingface": scripts.upstream} | dict.fromkeys(
    hosted.SAMPLES, hosted.upstream
)
CASES: Final = [
    pytest.param(hub, sample, id=f"{hub.name} {number} {sample[0]} {sample[1]}")
    for hub in HUBS
    for number, sample in enumerate(SAMPLES[hub.name])
]
each_hub = pytest.mark.parametrize("hub", HUBS, ids=lambda hub: hub.name)
each_sample = pytest.mark.parametrize(("hub", "sample"), CASES)

HOSTILE: Final = (
    "/../../etc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/acme/x/resolve/main/..%2f..%2fetc/passwd",
    "/acme/x/resolve/main/%2e%2e/x",
    "/acme/x/resolve/main/a%00b",
    "/acme/x/resolve/main/" + "x" * 10_240,
    "/api/../../x",
    "/api/models/%2e%2e/%2e%2e",
    "/api/models/acme/x/tree/main/%2e%2e",
    "/v2/../x/manifests/y",
    "/-/cas/xorbs/../../x",
    "/%",
    "/%ff/%fe/resolve/main/x",
)
# What random targets are made of: the hubs' own words, and what does not belong.
WORDS: Final = [
    "api", "models", "datasets", "acme", "x", "resolve", "raw", "tree", "main", "revision",
    "paths-info", ".git", "info", "refs", "lfs", "objects", "batch", "v2", "blobs", "manifests",
    "-", "cas", "v1", "xorbs", "reconstructions", "%2e%2e", "..", "%00", "%25", "+", "?", "é",
    "parquet", "0.parquet", "xet-read-token", "commits", "resolve-cache", "pr", "convert", "HEAD",
]  # fmt: skip


def head(sample: tuple[str, str, str, bytes]) -> RequestHead:
    """The request of a sample."""
    method, path, query, _ = sample
    return RequestHead(method, path, query, {}, None, BASE)


def recognised(hub: Hub, request: RequestHead, body: bytes) -> Question | Answer | None:
    """What *hub* makes of a request; a refusal is worded and must be the caller's fault."""
    try:
        return hub.recognise(request, body)
    except QuestionError as error:
        answer = hub.refuse(error)
    assert 400 <= answer.status < 500
    return answer


def engine(hub: Hub, **more: str) -> Engine:
    """The cache's loop around *hub*."""
    return Engine(hub, UPSTREAMS[hub.name](), ScriptedFacts(**more))  # type: ignore[arg-type]


def outcome(run: Engine, sample: tuple[str, str, str, bytes]) -> Answer:
    """The answer to a sample, refusals worded by the hub."""
    try:
        return run.ask(head(sample), sample[3])
    except MirrorError as error:
        return run.hub.refuse(error)


@each_hub
def test_hub_is_known_by_a_name_of_its_own(hub: Hub) -> None:
    """Names are keys of settings and of everything stored."""
    assert [other.name for other in HUBS].count(hub.name) == 1
    assert hub.name.isidentifier()
    assert SAMPLES[hub.name]


@each_sample
def test_hub_recognises_its_own_requests_alone(
    hub: Hub, sample: tuple[str, str, str, bytes]
) -> None:
    """Exactly one hub claims a request, and always as the same question."""
    question = hub.recognise(head(sample), sample[3])
    assert question is not None
    assert question == hub.recognise(head(sample), sample[3])
    assert question.repo is None or question.repo.hub == hub.name
    assert (question.repo is not None) == (question.access > Access.NONE)
    for other in HUBS:
        if other is not hub:
            assert other.recognise(head(sample), sample[3]) is None


@each_sample
def test_hub_needs_end(hub: Hub, sample: tuple[str, str, str, bytes]) -> None:
    """Every round asks something new, and a question answered once needs nothing more at once."""
    run = engine(hub, caller="alice")
    question = hub.recognise(head(sample), sample[3])
    assert question is not None
    if isinstance(question, Tunnel):
        return
    try:
        run.settle(question)
    except MirrorError:
        return
    assert not hub.needs(question, run.facts)


@each_sample
def test_hub_needs_are_requests_of_its_own(hub: Hub, sample: tuple[str, str, str, bytes]) -> None:
    """Targets are printable paths or URLs, and no credential is among the headers."""
    run = engine(hub)
    question = hub.recognise(head(sample), sample[3])
    if isinstance(question, Tunnel):
        run.upstream.ask(question.request)
    else:
        outcome(run, sample)
    for request in run.upstream.asked:
        assert request.target.startswith(("/", "https://"))
        assert all("!" <= character <= "~" for character in request.target)
        names = {name for name, _ in request.headers}
        assert not names & {"authorization", "cookie", "host", "content-length"}


@each_sample
def test_hub_answers_lead_to_the_mirror(hub: Hub, sample: tuple[str, str, str, bytes]) -> None:
    """No header and no body of an answer names upstream; headers are single lines."""
    question = hub.recognise(head(sample), sample[3])
    if isinstance(question, Tunnel):
        return
    run = engine(hub)
    answer = outcome(run, sample)
    upstream = run.upstream.base
    for name, value in answer.headers:
        assert upstream not in value
        assert (name + value).encode("latin-1").decode("latin-1").isprintable()
        own = {"content-length", "content-range", "etag", "accept-ranges", "authorization"}
        assert name.lower() not in own or answer.status == 416
    literal = b"".join(part for part in answer.body if isinstance(part, bytes))
    assert upstream.encode() not in literal
    for segment in answer.body:
        if isinstance(segment, Span):
            assert 0 <= segment.start < segment.end <= segment.blob.size


@each_sample
def test_hub_answers_nothing_it_was_not_told(hub: Hub, sample: tuple[str, str, str, bytes]) -> None:
    """Without facts and without upstream a question about a repo ends in an error, not a guess."""
    question = hub.recognise(head(sample), sample[3])
    assert question is not None
    if question.repo is None:
        return
    facts = ScriptedFacts(offline=True)
    assert hub.needs(question, facts)
    assert not facts.admitted(question.repo, question.access)


@each_sample
def test_hub_admits_through_facts_alone(hub: Hub, sample: tuple[str, str, str, bytes]) -> None:
    """A question about a repo asks for admission before anything else could be answered."""
    question = hub.recognise(head(sample), sample[3])
    assert question is not None
    if question.repo is None:
        return
    run = engine(hub)
    outcome(run, sample)
    run.facts.visibilities.clear()
    assert hub.needs(question, run.facts)


@each_hub
@pytest.mark.parametrize("path", HOSTILE)
def test_hub_refuses_hostile_paths(hub: Hub, path: str) -> None:
    """What climbs or cannot be decoded is refused or not claimed, for every method."""
    for method in ("GET", "HEAD", "POST"):
        claimed = recognised(hub, RequestHead(method, path, "", {}, None, BASE), b"")
        assert claimed is None or isinstance(claimed, Answer)


@each_hub
@given(
    st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "BREW"]),
    st.lists(
        st.sampled_from(WORDS),
        max_size=8,
    ),
    st.text(max_size=30),
    st.binary(max_size=30),
)
def test_hub_never_breaks_on_a_request(
    hub: Hub, method: str, parts: list[str], query: str, body: bytes
) -> None:
    """Any request is a question, not this hub's, or refused with a sentence."""
    credential = Credential("Bearer x")
    request = RequestHead(method, "/" + "/".join(parts), query, {}, credential, BASE)
    assert isinstance(recognised(hub, request, body), Question | Answer | None)


def every_error() -> Iterator[MirrorError]:
    """One error of every class there is."""
    more = {
        errors.NotAdmittedError: {"repo": "models/a/b", "gated": False, "anonymous": True},
        errors.NotAllowedError: {"repo": "a/b", "anonymous": True},
        errors.UpstreamRefusedError: {"status": 404, "headers": {}},
        errors.UpstreamBusyError: {"retry_after": 3.0},
        errors.TruncatedBodyError: {"expected": 2, "got": 1},
        errors.DigestMismatchError: {"expected": DIGEST, "got": DIGEST},
        errors.StoreFullError: {"needed": 2, "free": 1},
    }
    for kind in vars(errors).values():
        if inspect.isclass(kind) and issubclass(kind, MirrorError):
            yield kind("Something is wrong.", **more.get(kind, {}))  # type: ignore[arg-type]


@each_hub
@pytest.mark.parametrize("error", list(every_error()), ids=lambda error: type(error).__name__)
def test_hub_words_every_error(hub: Hub, error: MirrorError) -> None:
    """Each class has a status of its kind and a body that says something."""
    answer = hub.refuse(error)
    assert 400 <= answer.status < 600
    assert answer.body
    assert not answer.ranges
    if isinstance(error, QuestionError):
        assert answer.status < 500
    if isinstance(error, errors.OfflineError):
        assert answer.status == 501


@each_hub
def test_hub_keeps_callers_apart(hub: Hub) -> None:
    """The credential is no part of what a question means."""
    for sample in SAMPLES[hub.name]:
        alice = replace(head(sample), credential=Credential("Bearer alice"))
        assert hub.recognise(alice, sample[3]) == hub.recognise(head(sample), sample[3])


def test_hub_upstream_double_is_scripted_for_every_hub() -> None:
    """A hub without samples would pass everything above."""
    assert set(SAMPLES) == set(UPSTREAMS) == {hub.name for hub in HUBS}
    assert all(isinstance(make(), ScriptedUpstream) for make in UPSTREAMS.values())
