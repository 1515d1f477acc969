"""Which URLs may be asked: tables, no sockets."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirror.errors import ConfigError, ForbiddenTargetError
from mirror.upstream.policy import MAX_HOPS, Policy, Step

HUB = "huggingface"
DEFAULT = Policy({HUB: ("https://huggingface.co",)})


def _first(policy: Policy, target: str = "/a") -> Step:
    return policy.steps(HUB, target)[0]


def test_steps_a_path_goes_to_each_base_in_order_with_the_credential() -> None:
    """A hub's own path is tried on every upstream as listed, below the base's own path."""
    policy = Policy({HUB: ("https://huggingface.co", "http://10.0.0.5:8000/hf/")})
    steps = policy.steps(HUB, "/api/models/x?full=true")
    assert [step.url for step in steps] == [
        "https://huggingface.co/api/models/x?full=true",
        "http://10.0.0.5:8000/hf/api/models/x?full=true",
    ]
    assert [step.base for step in steps] == ["https://huggingface.co", "http://10.0.0.5:8000/hf"]
    assert all(step.trusted for step in steps)


def test_steps_a_path_cannot_choose_the_host() -> None:
    """A target that looks like an authority stays a path on the hub's base."""
    for target in ("//evil.example/x", "/@evil.example", "/:80/x"):
        assert _first(DEFAULT, target).origin.host == "huggingface.co"


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/x",
        "http://huggingface.co/x",
        "https://huggingface.co:8443/x",
        "https://huggingface.co@evil.example/x",
        "https://huggingface.co.evil.example/x",
        "https://cas-bridge.xethub.hf.co/x",
        "ftp://huggingface.co/x",
        "file:///etc/passwd",
        "x",
        "",
        "/a b",
        "/a\r\nHost: evil",
        "/a\\b",
        "/a#b",
    ],
)
def test_steps_refuses_what_is_not_listed(target: str) -> None:
    """An absolute target must be on a base of the hub or an allow-listed host; redirects' hosts are not."""
    with pytest.raises(ForbiddenTargetError):
        DEFAULT.steps(HUB, target)


def test_steps_an_absolute_target_on_a_base_keeps_the_credential() -> None:
    """The Hub's own absolute links (the next page) are the Hub."""
    step = _first(DEFAULT, "https://HuggingFace.co./api/models?cursor=a")
    assert step.url == "https://huggingface.co/api/models?cursor=a"
    assert step.trusted


def test_steps_a_listed_host_is_asked_where_the_operator_says_without_the_credential() -> None:
    """`upstream.hosts` moves a host, path and query verbatim; the hub's credential is not its own."""
    policy = Policy(
        {HUB: ("https://huggingface.co",)},
        {
            "download.pytorch.org": "http://10.0.0.5:8000/torch",
            "other.example:8443": "http://[::1]:81",
        },
        allowed=("tfhub.dev",),
    )
    step = _first(policy, "https://download.pytorch.org/models/a.pth?x=%2F")
    assert step.url == "http://10.0.0.5:8000/torch/models/a.pth?x=%2F"
    assert not step.trusted
    assert _first(policy, "https://other.example:8443/b").url == "http://[::1]:81/b"
    assert not _first(policy, "https://tfhub.dev/m").trusted
    for target in ("https://other.example/b", "http://tfhub.dev/m", "https://tfhub.dev:444/m"):
        with pytest.raises(ForbiddenTargetError):
            policy.steps(HUB, target)


@pytest.mark.parametrize(
    ("location", "url", "trusted"),
    [
        ("/api/resolve-cache/x", "https://huggingface.co/api/resolve-cache/x", True),
        ("b?c=%2F", "https://huggingface.co/x/b?c=%2F", True),
        ("?q", "https://huggingface.co/x/a?q", True),
        ("//huggingface.co/b", "https://huggingface.co/b", True),
        ("https://HUGGINGFACE.CO.:443/b#f", "https://huggingface.co/b", True),
        ("/na\u00efve", "https://huggingface.co/na%C3%AFve", True),
        ("https://cas-bridge.xethub.hf.co/x?s=1", "https://cas-bridge.xethub.hf.co/x?s=1", False),
        ("//us.aws.cdn.hf.co/b", "https://us.aws.cdn.hf.co/b", False),
        ("https://cdn-lfs.huggingface.co/b", "https://cdn-lfs.huggingface.co/b", False),
    ],
)  # fmt: skip
def test_follow_resolves_and_decides_about_the_credential(
    location: str, url: str, *, trusted: bool
) -> None:
    """Relative, scheme-relative and absolute locations; the credential stays on its own origin."""
    step = DEFAULT.follow(_first(DEFAULT, "/x/a"), location)
    assert (step.url, step.trusted, step.hops) == (url, trusted, 1)


@pytest.mark.parametrize(
    "location",
    [
        "http://huggingface.co/b",
        "https://huggingface.co:8443/b",
        "https://evil.example/b",
        "https://hf.co.evil.example/b",
        "https://evilhf.co/b",
        "https://d111111abcdef8.cloudfront.net/b",
        "https://user@cdn.hf.co/b",
        "https://huggingface.co@evil.example/b",
        "https://huggingface.co\\@evil.example/b",
        "https://evil.example\\.hf.co/b",
        "https://evil.example#.hf.co/b",
        "https://evil.example/.hf.co/b",
        "https://cdn.hf.co:0/b",
        "https://cdn.hf.co:x/b",
        "https://cdn..hf.co/b",
        "https://%63dn.hf.co/b",
        "https://cdn.hf.co\uff0f@evil/b",
        "https://\u0441dn.hf.co/b",
        "https:// cdn.hf.co/b",
        "https://cdn.hf.co/a\nb",
        "https://[::ffff:127.0.0.1]/b",
        "https://[fe80::1%25eth0]/b",
        "http://169.254.169.254/latest",
        "https://2130706433/b",
        "https://0x7f.1/b",
        "https://127.1/b",
        "https://0177.0.0.1/b",
        "//[",
        "https://[::1",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "gopher://huggingface.co/b",
    ],
)
def test_follow_refuses(location: str) -> None:
    """Other schemes, ports and hosts, user names, disguised addresses, and what parsers disagree about."""
    with pytest.raises(ForbiddenTargetError) as caught:
        DEFAULT.follow(_first(DEFAULT), location)
    assert "latest" not in str(caught.value)


def test_follow_an_empty_authority_is_a_path_of_the_same_host() -> None:
    """`///evil.example` names no host: it stays where it was, whatever a browser would make of it."""
    for location in ("///evil.example/b", "https:///evil.example/b", "https:evil.example"):
        assert DEFAULT.follow(_first(DEFAULT), location).origin.host == "huggingface.co"


def test_follow_the_credential_does_not_come_back_after_a_detour() -> None:
    """Once a walk left the origin, a redirect back to it goes without the credential."""
    away = DEFAULT.follow(_first(DEFAULT), "https://cdn.hf.co/a")
    back = DEFAULT.follow(away, "https://huggingface.co/b")
    assert not back.trusted
    assert not DEFAULT.follow(back, "/c").trusted


def test_follow_another_upstream_does_not_get_the_credential() -> None:
    """Two upstreams of one hub are two origins for a redirect."""
    policy = Policy({HUB: ("https://huggingface.co", "https://mirror.example")})
    assert not policy.follow(_first(policy), "https://mirror.example/a").trusted


def test_follow_ends_after_five_hops() -> None:
    """A circle is cut: the sixth redirect is refused."""
    step = _first(DEFAULT)
    for _ in range(MAX_HOPS):
        step = DEFAULT.follow(step, "/a")
    with pytest.raises(ForbiddenTargetError):
        DEFAULT.follow(step, "/a")


def test_follow_operator_patterns() -> None:
    """A port opens that port, by http too; a bare host means https; a scheme is taken at its word."""
    policy = Policy(
        {HUB: ("http://127.0.0.1:9000",)},
        redirect_hosts=("localhost:9001", "*.corp.example", "http://plain.example", "[::1]:9002"),
    )
    start = _first(policy)
    for allowed in (
        "http://localhost:9001/a",
        "https://localhost:9001/a",
        "https://a.b.corp.example/a",
        "http://plain.example/a",
        "http://[::1]:9002/a",
        "http://127.0.0.1:9000/a",
    ):
        assert policy.follow(start, allowed).url == allowed
    for refused in (
        "http://localhost:9003/a",
        "http://localhost/a",
        "http://a.corp.example/a",
        "https://corp.example/a",
        "https://a.corp.example:8443/a",
        "https://plain.example/a",
        "http://127.0.0.1:9001/a",
    ):
        with pytest.raises(ForbiddenTargetError):
            policy.follow(start, refused)


def test_follow_leads_a_moved_host_to_where_it_is_asked_without_the_credential() -> None:
    """A CDN that the operator moved is asked there, even if that is the hub's own origin."""
    policy = Policy({HUB: ("http://10.0.0.5",)}, {"cdn.hf.co": "http://10.0.0.5/cdn"})
    step = policy.follow(_first(policy), "https://cdn.hf.co/a?s=1")
    assert step.url == "http://10.0.0.5/cdn/a?s=1"
    assert not step.trusted


def test_named_hosts_are_the_operators_alone() -> None:
    """Bases, moved hosts' bases and patterns are named; built-in and merely allowed hosts are not."""
    policy = Policy(
        {HUB: ("http://10.0.0.5:8000",)},
        {"a.example": "http://b.example"},
        ("*.corp.example", "c.example:81"),
        ("tfhub.dev",),
    )
    assert all(map(policy.named, ("10.0.0.5", "b.example", "x.corp.example", "c.example")))
    assert not any(map(policy.named, ("cdn.hf.co", "tfhub.dev", "a.example", "corp.example")))


@pytest.mark.parametrize(
    "url", ["", "huggingface.co", "https://", "https://a b", "https://u@a", "https://a?x"]
)
def test_policy_refuses_a_base_that_is_none(url: str) -> None:
    """A wrong base URL is found when the mirror starts."""
    with pytest.raises(ConfigError):
        Policy({HUB: (url,)})


@pytest.mark.parametrize("pattern", ["", "*", "*.*.a", "a/b", "a:b", "ftp://a", "u@a", "a:1:2"])
def test_policy_refuses_a_pattern_that_is_none(pattern: str) -> None:
    """A wrong pattern is found when the mirror starts, and never matches everything."""
    with pytest.raises(ConfigError):
        Policy({HUB: ("https://huggingface.co",)}, redirect_hosts=(pattern,))


@settings(max_examples=500)
@given(
    st.text(max_size=80)
    | st.from_regex(r"(https?:)?/{0,3}[ -~]{0,40}(hf\.co)?[:/?#@\\.]?[ -~]{0,20}")
)
def test_follow_property_never_leaves_the_list(location: str) -> None:
    """Whatever a Location says, it is refused or leads to https on 443 of a listed host."""
    try:
        step = DEFAULT.follow(_first(DEFAULT), location)
    except ForbiddenTargetError:
        return
    assert step.origin.scheme == "https"
    assert step.origin.port == 443
    assert step.origin.host == "huggingface.co" or not step.trusted
    assert f".{step.origin.host}".endswith((".huggingface.co", ".hf.co"))
    assert step.target.startswith("/")
    assert step.target.isascii()
    assert not any(character in step.target for character in " \r\n\t")


def test_step_repr_does_not_show_the_query() -> None:
    """A signed query must not reach a log by way of a `repr`."""
    assert "Signature" not in repr(
        DEFAULT.follow(_first(DEFAULT), "https://cdn.hf.co/a?Signature=s")
    )
