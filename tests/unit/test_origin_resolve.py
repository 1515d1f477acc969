"""The scripted origin hands out files the way the Hub does."""

import gzip
import hashlib
from collections.abc import Iterator

import pytest

from tests.origin import Origin, Repo
from tests.origin.asking import Answer, ask, bearer

_config = b'{"model_type": "bert", "padding": "%s"}' % (b"x" * 300)
_weights = hashlib.sha256(b"weights").digest() * 20_000


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    """One hub for all tests of this module, which only read."""
    with Origin() as running:
        running.tokens = {"tokenA": "alice", "tokenB": "bob"}
        running.add_repo(
            "models",
            "acme/tiny",
            {"config.json": _config, "sub dir/naïve+1.txt": b"odd", "model.safetensors": _weights},
            tags={"v1": "main"},
            refs={"refs/pr/1": {"config.json": b"changed"}},
            renamed_from=["acme/old-name"],
        )
        running.add_repo("models", "gpt2", {"empty.bin": b"", "a.txt": b"one segment"}, xet=False)
        running.add_repo("datasets", "acme/tiny", {"a.txt": b"a dataset"})
        running.add_repo(
            "models", "acme/gated", {"a.txt": b"secret"}, gated="auto", readers=["tokenA"]
        )
        running.add_repo(
            "models", "acme/private", {"a.txt": b"secret"}, private=True, readers=["tokenA"]
        )
        yield running


@pytest.fixture
def tiny(origin: Origin) -> Repo:
    """The repo that most tests ask for."""
    return origin.repo("models", "acme/tiny")


def _bytes_of(origin: Origin, path: str, token: str = "") -> Answer:
    """Follow redirects to the end."""
    answer = ask(origin.url + path, headers=bearer(token) if token else {})
    while "location" in answer.headers:
        same = answer.location.startswith(origin.url)
        answer = ask(answer.location, headers=bearer(token) if token and same else {})
    return answer


def test_resolve_redirects_a_small_file_to_the_resolve_cache(origin: Origin, tiny: Repo) -> None:
    """A file outside LFS is a relative 307 with the commit and no ETag, then a 200 with its oid."""
    for method in ("HEAD", "GET"):
        first = ask(f"{origin.url}/acme/tiny/resolve/main/config.json", method)
        assert first.status == 307
        assert first.headers["location"].startswith(
            f"/api/resolve-cache/models/acme/tiny/{tiny.commit}/config.json?%2Facme%2Ftiny%2Fresolve"
        )
        assert first.headers["x-repo-commit"] == tiny.commit
        assert first.headers["x-hf-warning"].startswith("unauthenticated; ")
        assert "etag" not in first.headers
        for target in (first.location, first.location.partition("?")[0]):
            second = ask(target, method)
            assert second.status == 200
            assert second.headers["etag"] == f'"{tiny.entry("config.json").oid}"'
            assert second.headers["x-repo-commit"] == tiny.commit
            assert second.headers["content-length"] == str(len(_config))
            assert second.headers["content-disposition"].endswith('filename="config.json";')
            assert second.body == (_config if method == "GET" else b"")


def test_resolve_redirects_an_lfs_file_to_a_signed_url(origin: Origin, tiny: Repo) -> None:
    """An LFS file is a 302 to another host that tells size, sha256 and Xet hash."""
    entry = tiny.entry("model.safetensors")
    answer = ask(f"{origin.url}/acme/tiny/resolve/main/model.safetensors", "HEAD")
    assert answer.status == 302
    assert answer.headers["x-linked-size"] == str(len(_weights))
    assert answer.headers["x-linked-etag"] == f'"{hashlib.sha256(_weights).hexdigest()}"'
    assert answer.headers["x-xet-hash"] == entry.xet_hash != entry.sha256
    assert f'/xet-read-token/{tiny.commit}>; rel="xet-auth"' in answer.headers["link"]
    assert 'rel="xet-reconstruction-info"' in answer.headers["link"]
    assert answer.headers["content-length"] != str(len(_weights))
    assert answer.location.startswith(origin.cdn_url)
    bytes_answer = ask(answer.location)
    assert bytes_answer.body == _weights
    assert "x-repo-commit" not in bytes_answer.headers
    assert entry.sha256 not in bytes_answer.headers["etag"]


def test_resolve_tells_no_xet_of_a_repo_without(origin: Origin) -> None:
    """A repo that is not in Xet shows neither hash nor link."""
    answer = ask(f"{origin.url}/gpt2/resolve/main/empty.bin", "HEAD")
    assert answer.status == 302
    assert not {"x-xet-hash", "link"} & answer.headers.keys()
    assert _bytes_of(origin, "/gpt2/resolve/main/empty.bin").body == b""


def test_resolve_takes_every_name_of_a_revision(origin: Origin, tiny: Repo) -> None:
    """Branch, tag, HEAD, full and short commit id, and refs, encoded or not, lead to their bytes."""
    for name in ("main", "v1", "HEAD", tiny.commit, tiny.commit[:9], "refs%2Fheads%2Fmain"):
        assert _bytes_of(origin, f"/acme/tiny/resolve/{name}/config.json").body == _config
    for name in ("refs%2Fpr%2F1", "refs/pr/1"):
        assert _bytes_of(origin, f"/acme/tiny/resolve/{name}/config.json").body == b"changed"
    assert _bytes_of(origin, "/gpt2/resolve/main/a.txt").body == b"one segment"
    assert _bytes_of(origin, "/datasets/acme/tiny/resolve/main/a.txt").body == b"a dataset"
    odd = "/acme/tiny/resolve/main/sub%20dir/na%C3%AFve%2B1.txt"
    assert _bytes_of(origin, odd).body == b"odd"


def test_resolve_redirects_former_and_miscased_names(origin: Origin) -> None:
    """A renamed or wrongly cased repo is a relative 307 to its canonical name, in the API too."""
    for name in ("acme/old-name", "Acme/TINY"):
        answer = ask(f"{origin.url}/{name}/resolve/main/config.json?download=true", "HEAD")
        assert answer.status == 307
        assert answer.headers["location"] == "/acme/tiny/resolve/main/config.json?download=true"
        answer = ask(f"{origin.url}/api/models/{name}/revision/main")
        assert answer.headers["location"] == "/api/models/acme/tiny/revision/main"


def test_resolve_compresses_text_for_whoever_accepts_it(origin: Origin) -> None:
    """Text goes out as gzip without a length when accepted; a range of it does not."""
    url = ask(f"{origin.url}/acme/tiny/resolve/main/config.json").location
    packed = ask(url, headers={"Accept-Encoding": "gzip, deflate"})
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["transfer-encoding"] == "chunked"
    assert "content-length" not in packed.headers
    assert gzip.decompress(packed.body) == _config
    part = ask(url, headers={"Accept-Encoding": "gzip", "Range": "bytes=0-9"})
    assert (part.status, part.body) == (206, _config[:10])


@pytest.mark.parametrize("path", ["config.json", "model.safetensors"])
def test_ranges_and_conditions_hold_on_both_hosts(origin: Origin, tiny: Repo, path: str) -> None:
    """Single, open, suffix and many ranges, If-None-Match, If-Range and 416 follow RFC 9110."""
    data = tiny.entry(path).data
    size = len(data)
    url = ask(f"{origin.url}/acme/tiny/resolve/main/{path}").location
    etag = ask(url, "HEAD").headers["etag"]
    for header, first, expected in (
        ("bytes=10-19", 10, data[10:20]),
        ("bytes=100-", 100, data[100:]),
        ("bytes=-7", size - 7, data[-7:]),
        (f"bytes=0-{size + 5}", 0, data),
    ):
        for extra in ({}, {"If-Range": etag}):
            answer = ask(url, headers={"Range": header, **extra})
            assert (answer.status, answer.body) == (206, expected)
            last = first + len(expected) - 1
            assert answer.headers["content-range"] == f"bytes {first}-{last}/{size}"
    assert ask(url, headers={"Range": "bytes=0-9", "If-Range": '"other"'}).status == 200
    assert ask(url, headers={"Range": "lines=0-9"}).status == 200
    beyond = ask(url, headers={"Range": f"bytes={size}-"})
    assert (beyond.status, beyond.headers["content-range"]) == (416, f"bytes */{size}")
    assert ask(url, headers={"If-None-Match": f'"x", {etag}'}).status == 304
    many = ask(url, headers={"Range": "bytes=0-3,10-13"})
    kind, _, boundary = many.headers["content-type"].partition("; boundary=")
    assert (many.status, kind) == (206, "multipart/byteranges")
    parts = many.body.split(f"--{boundary}".encode())[1:-1]
    assert [part.partition(b"\r\n\r\n")[2] for part in parts] == [
        data[0:4] + b"\r\n",
        data[10:14] + b"\r\n",
    ]


def test_raw_gives_the_pointer_of_an_lfs_file(origin: Origin, tiny: Repo) -> None:
    """``raw`` serves the git blob, which is the pointer text for LFS."""
    answer = ask(f"{origin.url}/acme/tiny/raw/main/model.safetensors")
    entry = tiny.entry("model.safetensors")
    assert answer.body == (
        b"version https://git-lfs.github.com/spec/v1\n"
        b"oid sha256:%b\nsize %d\n" % (entry.sha256.encode(), entry.size)
    )
    header = b"blob %d\0" % len(answer.body)
    assert hashlib.sha1(header + answer.body, usedforsecurity=False).hexdigest() == entry.oid
    assert ask(f"{origin.url}/acme/tiny/raw/main/config.json").body == _config


def _error(answer: Answer) -> tuple[int, str | None, str | None]:
    return answer.status, answer.headers.get("x-error-code"), answer.headers.get("x-error-message")


def test_errors_carry_the_codes_that_clients_read(origin: Origin, tiny: Repo) -> None:
    """Missing entries and revisions have their codes; a missing repo is a bare 401 to strangers."""
    absent = ask(f"{origin.url}/acme/tiny/resolve/main/nope.json", "HEAD")
    assert _error(absent) == (404, "EntryNotFound", "Entry not found")
    assert absent.headers["x-repo-commit"] == tiny.commit
    lost = ask(f"{origin.url}/acme/tiny/resolve/nowhere/config.json", "HEAD")
    assert _error(lost) == (404, "RevisionNotFound", "Invalid rev id: nowhere")
    for path in (
        "/acme/none/resolve/main/a.txt",
        "/api/models/acme/none",
        "/acme/private/raw/main/a",
    ):
        assert _error(ask(origin.url + path)) == (401, None, "Invalid username or password.")
        missing = _error(ask(origin.url + path, headers=bearer("tokenB")))
        assert missing == (404, "RepoNotFound", "Repository not found")
        wrong = _error(ask(origin.url + path, headers=bearer("wrong")))
        assert wrong == (401, None, "Invalid credentials in Authorization header")
    public = ask(f"{origin.url}/acme/tiny/resolve/main/config.json", headers=bearer("wrong"))
    assert _error(public) == (401, None, "Invalid credentials in Authorization header")


def test_gated_and_private_repos_open_to_their_readers(origin: Origin) -> None:
    """Strangers get 401 or 403 GatedRepo; readers get the bytes; rights can be taken back."""
    path = "/acme/gated/resolve/main/a.txt"
    assert _error(ask(origin.url + path))[:2] == (401, "GatedRepo")
    assert _error(ask(origin.url + path, headers=bearer("tokenB")))[:2] == (403, "GatedRepo")
    assert ask(f"{origin.url}/api/models/acme/gated").json()["gated"] == "auto"
    for path in ("/acme/gated/resolve/main/a.txt", "/acme/private/resolve/main/a.txt"):
        answer = _bytes_of(origin, path, "tokenA")
        assert answer.body == b"secret"
        assert "x-hf-warning" not in answer.headers
    with Origin() as other:
        other.tokens = {"t": "user"}
        repo = other.add_repo("models", "a/b", {"f": b""}, gated="manual", readers=["t"])
        url = f"{other.url}/a/b/resolve/main/f"
        assert ask(url, headers=bearer("t")).status == 307
        other.revoke("t", repo)
        assert _error(ask(url, headers=bearer("t")))[:2] == (403, "GatedRepo")
        other.set_access(repo, gated=False, disabled=True)
        assert _error(ask(url)) == (403, None, "Access to this resource is disabled.")
        other.delete_repo(repo)
        assert _error(ask(url, headers=bearer("t")))[:2] == (404, "RepoNotFound")


def test_signed_urls_are_refused_when_expired_or_tampered(origin: Origin) -> None:
    """The CDN takes a URL as it was signed, until it expires."""
    resolve = f"{origin.url}/acme/tiny/resolve/main/model.safetensors"
    url = ask(resolve).location
    assert {"Expires=", "Signature="} <= {part[: part.find("=") + 1] for part in url.split("&")}
    assert ask(url).status == 200
    assert ask(url.replace("Expires=", "Expires=9")).status == 403
    assert ask(url.partition("?")[0]).status == 403
    origin.signed_url_lifetime = 0
    try:
        assert ask(ask(resolve).location).status == 403
    finally:
        origin.signed_url_lifetime = 3600
    origin.expire_signed_urls()
    assert ask(url).status == 403
    assert ask(ask(resolve).location).status == 200
