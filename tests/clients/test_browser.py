"""A real browser before the mirror: the home page works, and nothing that a hub holds runs."""

import http.server
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.clients.available import program
from tests.clients.mirror_process import running_mirror
from tests.origin import Fault, Origin


@contextmanager
def _beacon() -> Iterator[tuple[str, list[str]]]:
    """A listener that notes who calls: a script that ran, or a picture that was loaded."""
    called: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            called.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", called
        finally:
            server.shutdown()
            thread.join()


def _dom(chromium: str, home: Path, url: str) -> str:
    """Load *url* and give the document as it is after a few seconds of the page's own time."""
    done = subprocess.run(
        [
            chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--no-first-run", "--disable-extensions", "--disable-background-networking",
            f"--user-data-dir={home}", "--virtual-time-budget=6000", "--dump-dom", url,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )  # fmt: skip
    return done.stdout


def _evil(beacon: str, name: str) -> bytes:
    call = f"fetch('{beacon}/{name}-fetch');new Image().src='{beacon}/{name}-script'"
    return (
        f'<html xmlns="http://www.w3.org/1999/xhtml"><body><script>{call}</script>'
        f'<img src="{beacon}/{name}-img" onerror="{call}"/></body></html>'
    ).encode()


def test_a_browser_runs_nothing_that_a_hub_holds(
    origin: Origin, direct: bool, tmp_path: Path  # noqa: FBT001
) -> None:  # fmt: skip
    """Opened in a browser, files of a repo and an answer of the API run no script and load nothing."""
    if direct:
        pytest.skip("the browser is set before a mirror")
    chromium = program("chromium", "chromium")
    files = ("evil.html", "evil.svg", "evil.xhtml", "evil.xml", "evil.js", "README.md", "noext")
    with _beacon() as (beacon, called):
        contents = {name: _evil(beacon, name) for name in files}
        origin.add_repo("models", "acme/evil", files=contents)
        answered = Fault("status", server="hub", path="/api/odd", status=200, times=None,
                         headers={"Content-Type": "text/html"}, body=_evil(beacon, "api"))  # fmt: skip
        origin.fault(answered)
        try:
            with running_mirror(origin, tmp_path / "mirror") as mirror:
                urls = [f"{mirror.url}/acme/evil/resolve/main/{name}" for name in files]
                urls.append(f"{mirror.url}/api/odd")
                _dom(chromium, tmp_path / "profile", _frames(tmp_path, beacon, urls))
        finally:
            origin.clear_faults()
    assert {seen.path.rpartition("/")[2] for seen in origin.seen("hub")} >= {*files, "odd"}
    # The same page, framed from elsewhere, shows that this browser runs what it may.
    assert any("control-script" in path for path in called)
    assert [path for path in called if "control" not in path] == []


def _frames(folder: Path, beacon: str, urls: list[str]) -> str:
    """A page that shows *urls* in frames, and one more that may do what theirs must not."""
    control = folder / "control.html"
    control.write_bytes(_evil(beacon, "control"))
    page = folder / "frames.html"
    frames = [f'<iframe src="{url}"></iframe>' for url in [control.as_uri(), *urls]]
    page.write_text("\n".join(frames))
    return page.as_uri()


def test_a_browser_shows_the_home_page(
    origin: Origin, direct: bool, tmp_path: Path  # noqa: FBT001
) -> None:  # fmt: skip
    """The page comes with its style and its script, which fetches the status under the page's own policy."""
    if direct:
        pytest.skip("the browser is set before a mirror")
    chromium = program("chromium", "chromium")
    origin.add_repo("models", "acme/shown", files={"a.json": b"{}"})
    with running_mirror(origin, tmp_path / "mirror") as mirror:
        url = f"{mirror.url}/acme/shown/resolve/main/a.json"
        with urllib.request.urlopen(url) as answer:  # noqa: S310
            assert answer.read() == b"{}"
        dom = _dom(chromium, tmp_path / "profile", f"{mirror.url}/")
    assert "acme/shown" in dom
    assert "Nothing at the moment." in dom
    assert "does not answer" not in dom
