"""What a browser gets from a mirror: hub content is no page of ours, and pages name public repos only."""

from typing import Final

from tests.mirror.running import Running
from tests.origin import Fault, Origin

SCRIPT: Final = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
PAGES: Final = (
    "evil.html", "evil.htm", "evil.xhtml", "evil.svg", "evil.xml", "evil.xsl", "evil.mhtml", "evil.pdf",
    "EVIL.HTML", "evil.html.txt.svg", "<img src=x onerror=alert(1)>.svg",
)  # fmt: skip
PLAIN: Final = ("config.json", "README.md", "image.png", "model.bin", "noext", "evil.html.txt")
INERT: Final = (
    "text/plain; charset=utf-8",
    "application/json",
    "application/octet-stream",
    "image/png",
)


def _path(name: str, file: str) -> str:
    return (
        f"/{name}/resolve/main/{file}".replace("<", "%3C").replace(">", "%3E").replace(" ", "%20")
    )


def test_a_file_is_never_a_page_of_ours(mirror: Running, origin: Origin) -> None:
    """Whatever a file is called: an inert type, nosniff, a sandbox; what could be shown is saved instead."""
    origin.add_repo("models", "acme/evil", files=dict.fromkeys((*PAGES, *PLAIN), SCRIPT))
    for file in (*PAGES, *PLAIN):
        for method in ("GET", "HEAD"):
            got = mirror.ask(_path("acme/evil", file), method=method)
            assert got.status == 200
            assert got.headers["content-type"] in INERT, file
            assert got.headers["x-content-type-options"] == "nosniff"
            assert got.headers["content-security-policy"] == "default-src 'none'; sandbox"
            disposition = got.headers["content-disposition"]
            assert disposition.startswith("attachment" if file in PAGES else "inline"), file
            # What huggingface_hub reads a name from.
            assert disposition.endswith('";')


def test_an_answer_of_the_hub_is_never_a_page_of_ours(mirror: Running, origin: Origin) -> None:
    """What is passed on as upstream calls it comes as something to save, in a sandbox."""
    for kind in ("text/html", "image/svg+xml", "application/xhtml+xml; charset=x", "TEXT/XML", "x"):
        origin.clear_faults()
        origin.fault(
            Fault(
                "status",
                server="hub",
                path="/api/odd",
                status=200,
                headers={"Content-Type": kind, "Content-Security-Policy": "script-src *"},
                body=SCRIPT,
                times=None,
            )
        )
        got = mirror.ask("/api/odd")
        assert (got.status, got.body) == (200, SCRIPT)
        assert got.headers["content-disposition"] == "attachment", kind
        assert got.headers["content-security-policy"] == "default-src 'none'; sandbox"
        assert got.headers["x-content-type-options"] == "nosniff"


def test_a_refusal_repeats_no_markup(mirror: Running, origin: Origin) -> None:
    """What was asked for comes back as JSON that nobody renders, from the door and from a hub alike."""
    origin.add_repo("models", "acme/tiny", files={"a": b"a"})
    for path in (
        "/%3Cscript%3Ealert(1)%3C%2Fscript%3E",
        "/acme/tiny/resolve/main/%3Cscript%3E",
        "/<script>",
        "/-/status/%3Cscript%3E",
    ):
        got = mirror.ask(path)
        assert 400 <= got.status < 502, path
        assert got.headers["content-type"].startswith("application/json")
        assert got.headers["x-content-type-options"] == "nosniff"
        assert got.headers["content-security-policy"] == "default-src 'none'; sandbox"


def test_pages_name_public_repos_only(mirror: Running, origin: Origin) -> None:
    """A private repo's name is on no page, in no status and no metric, stored or coming in."""
    weights = bytes(1 << 20)
    for name, private in (("acme/open", False), ("acme/hidden-name", True)):
        origin.add_repo(
            "models", name, files={"m.bin": weights, "c.json": name.encode()},
            private=private, readers=("tokenA",) if private else (),
        )  # fmt: skip
        assert mirror.ask(_path(name, "c.json"), token="tokenA").status == 200
        assert mirror.ask(_path(name, "m.bin"), token="tokenA").status == 200
    mirror.settle()
    for path in ("/", "/-/status", "/health"):
        shown = mirror.ask(path, token="tokenA").body
        assert b"acme/open" in shown
        assert b"hidden-name" not in shown
    for path in ("/-/metrics", "/metrics"):
        shown = mirror.ask(path).body
        assert b"acme" not in shown
        assert len(shown) < 200 << 10


def test_a_repo_that_turned_private_leaves_the_pages(mirror: Running, origin: Origin) -> None:
    """Once upstream has said so to anybody, its name is shown no more."""
    repo = origin.add_repo("models", "acme/turned", files={"c.json": b"{}"}, readers=("tokenA",))
    assert mirror.ask(_path("acme/turned", "c.json")).status == 200
    assert b"acme/turned" in mirror.ask("/-/status").body
    origin.set_access(repo, private=True)
    mirror.stop()
    mirror.settings = {"MODELMIRROR_HUGGINGFACE_REF_LIFETIME": "0s"}
    mirror.start()
    assert mirror.ask(_path("acme/turned", "c.json"), token="tokenA").status == 200
    for path in ("/", "/-/status"):
        assert b"acme/turned" not in mirror.ask(path).body


def test_our_own_pages_allow_nothing_foreign(mirror: Running) -> None:
    """No page of ours can be framed, posted to, or read by another site; none has a script inline."""
    for path in ("/", "/-/status", "/-/metrics", "/-/live", "/-/ready", "/-/static/home.js"):
        got = mirror.ask(path, headers={"Origin": "https://evil.test"})
        policy = got.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert got.headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in got.headers
    page = mirror.ask("/").body
    assert page.count(b"<script") == 1
    assert b'<script src="/-/static/home.js" defer></script>' in page
