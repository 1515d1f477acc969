"""A redirect leads to an allowed origin or nowhere, and takes the credential to its own origin alone."""

from typing import Final
from urllib.parse import urlsplit

from mirror.errors import ForbiddenTargetError
from mirror.upstream.policy import BUILT_IN_REDIRECT_HOSTS, Policy, Step

SEEDS: Final = (
    b"https://cdn-lfs.hf.co/x?Signature=a",
    b"/acme/tiny/resolve/main/x",
    b"//evil.test/x",
    b"https://evil.test@huggingface.co/",
    b"https://huggingface.co.evil.test/",
    b"https://huggingface.co:8443/",
    b"http://huggingface.co/",
    b"https://HUGGINGFACE.CO./x",
    b"http://10.0.0.5:9000/x",
    b"https://[::ffff:127.0.0.1]/",
    b"http://2130706433/",
    b"https://hf.co\\@evil.test/",
    b"https://hf.co%2f@evil.test/",
    b"\thttps://evil.test/",
    b"ht\ntps://evil.test/",
    b"https:///evil.test/x",
    b"https:evil.test",
    b"?q",
    b"#f",
    b"../../..//evil.test",
    b"https://\xe2\x93\x94vil.test/",
    b"https://xn--.hf.co/",
    b"https://a..hf.co/",
    b"https://mapped.test/x",
)
_POLICY: Final = Policy(
    {"huggingface": ("https://huggingface.co",)},
    {"mapped.test": "http://10.0.0.7:81/base"},
    ("10.0.0.5:9000", "*.named.test"),
)
_FIRST: Final = _POLICY.steps("huggingface", "/acme/tiny/resolve/main/x")[0]
_HOSTS: Final = {pattern for pattern in BUILT_IN_REDIRECT_HOSTS if not pattern.startswith("*")}
_DOMAINS: Final = tuple(
    pattern[1:] for pattern in (*BUILT_IN_REDIRECT_HOSTS, "*.named.test") if pattern[0] == "*"
)
_PRIVATE: Final = {
    ("http", "10.0.0.7", 81),
    ("http", "10.0.0.5", 9000),
    ("https", "10.0.0.5", 9000),
}


def check(data: bytes) -> None:
    """Follow the redirects that *data* names, one a line, and look at each step."""
    step = _FIRST
    left = False
    for line in data.split(b"\r"):
        try:
            step = _POLICY.follow(step, line.decode("utf-8", "surrogateescape"))
        except ForbiddenTargetError as error:
            assert "?" not in str(error), "a query may be signed"  # noqa: PT017
            return
        left = left or str(step.origin) != "https://huggingface.co"
        _judge(step, left=left)


def _judge(step: Step, *, left: bool) -> None:
    origin = step.origin
    public = origin.scheme == "https" and origin.port == 443
    known = origin.host in _HOSTS or origin.host.endswith(_DOMAINS)
    assert (public and known) or (origin.scheme, origin.host, origin.port) in _PRIVATE
    assert not (step.trusted and left)
    assert step.target.startswith("/")
    assert step.target.isascii()
    assert step.target.isprintable()
    assert " " not in step.target
    # What is dialled is what a second reader of the URL understands.
    parts = urlsplit(step.url)
    assert (parts.scheme, parts.hostname, parts.port or (443 if public else 80)) == (
        origin.scheme,
        origin.host,
        origin.port,
    )
    assert step.hops <= 5
