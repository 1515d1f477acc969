"""The client start-up hook as the mirror hands it out: its files, its wheel, and a page that pip reads."""

import asyncio
import hashlib
import io
import pkgutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Final

import pytest

from mirror import __version__
from mirror.hook import FOLDER
from mirror.web.hookwheel import NAME, build
from tests.doubles.scripted_keeper import ScriptedKeeper
from tests.house import hook_wheel
from tests.unit.hook.scripted import Program, Reply, Scripted
from tests.web.client import Client, Got
from tests.web.door import door

SOURCES: Final = ("modelmirror_hook.py", "sitecustomize.py")


def _get(*paths: str, method: str = "GET", header: str = "X-None: 1") -> list[Got]:
    async def main() -> list[Got]:
        async with door(ScriptedKeeper()) as url, Client(url) as client:
            return [await client.get(path, header, method=method) for path in paths]

    return asyncio.run(main())


def test_hook_files_are_those_of_the_mirror() -> None:
    """The files come as plain text that no browser runs, and the wheel as bytes, each with a strong ETag."""
    paths = [f"/-/hook/{name}" for name in (*SOURCES, NAME)]
    *sources, wheel = _get(*paths)

    assert [got.body for got in sources] == [(FOLDER / name).read_bytes() for name in SOURCES]
    assert {got.headers["content-type"] for got in sources} == {"text/plain; charset=utf-8"}
    assert (wheel.body, wheel.headers["content-type"]) == (build(), "application/octet-stream")
    for got in (*sources, wheel):
        assert got.headers["etag"] == f'"{hashlib.sha256(got.body).hexdigest()}"'
        assert got.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in got.headers["content-security-policy"]


def test_hook_file_that_is_had_is_not_sent_again() -> None:
    """A client that has the file already is told so."""
    etag = hashlib.sha256((FOLDER / SOURCES[0]).read_bytes()).hexdigest()
    (got,) = _get(f"/-/hook/{SOURCES[0]}", header=f'If-None-Match: "{etag}"')

    assert (got.status, got.body) == (304, b"")


def test_hook_page_lists_each_file_with_its_digest() -> None:
    """The page is what pip takes for find-links: each file with its sha256; it says how to use them."""
    with_slash, without = _get("/-/hook/", "/-/hook")
    page = with_slash.body.decode()

    assert with_slash.headers["content-type"] == "text/html; charset=utf-8"
    assert without.body == with_slash.body
    digest = hashlib.sha256(build()).hexdigest()
    assert f'<a href="http://mirror.test/-/hook/{NAME}#sha256={digest}">{NAME}</a>' in page
    assert "pip install modelmirror-hook --no-index --trusted-host mirror.test" in page
    assert "--find-links http://mirror.test/-/hook/\n" in page
    assert "script" not in page


def test_hook_of_another_version_is_not_here() -> None:
    """A file that is not here is a 404 that names those that are."""
    old, other = _get("/-/hook/modelmirror_hook-0.0.1-py3-none-any.whl", "/-/hook/__init__.py")

    assert (old.status, other.status) == (404, 404)
    assert NAME in old.headers["x-error-message"]


def test_hook_pages_can_only_be_read() -> None:
    """Nothing can be sent to these pages."""
    (got,) = _get("/-/hook/", method="POST", header="Content-Length: 0")

    assert (got.status, got.headers["allow"]) == (405, "GET, HEAD")


def test_wheel_is_the_same_bytes_every_time(tmp_path: Path) -> None:
    """``make hook-wheel`` writes what the mirror hands out; the times of files do not matter."""
    hook_wheel.main(tmp_path / "dist")

    assert (tmp_path / "dist" / NAME).read_bytes() == build() == build()
    with zipfile.ZipFile(io.BytesIO(build())) as wheel:
        assert {entry.date_time for entry in wheel.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {entry.compress_type for entry in wheel.infolist()} == {zipfile.ZIP_STORED}


def test_start_file_names_what_pth_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry point of the ``.start`` file (PEP 829) is the function that the ``.pth`` line calls."""
    with zipfile.ZipFile(io.BytesIO(build())) as wheel:
        start = wheel.read("modelmirror_hook.start").decode()
        line = wheel.read("modelmirror_hook.pth").decode()
    monkeypatch.syspath_prepend(str(FOLDER))

    assert start.count("\n") == line.count("\n") == 1
    assert line.startswith("import ")
    assert pkgutil.resolve_name(start.strip()).__name__ == "start"
    assert '__import__("modelmirror_hook").start()' in line


@pytest.mark.slow
def test_pip_installs_the_wheel_from_the_mirror(tmp_path: Path) -> None:
    """The wheel that pip finds by the page, and checks, starts with Python, and can be uninstalled."""
    site = tmp_path / "venv"
    _run(sys.executable, "-m", "venv", str(site))
    python = str(site / "bin" / "python")

    async def main() -> None:
        async with door(ScriptedKeeper()) as url:
            pip = (python, "-m", "pip", "--disable-pip-version-check", "--isolated", "install")
            links = ("--no-index", "--no-cache-dir", "--find-links", f"{url}/-/hook/")
            await asyncio.to_thread(_run, *pip, *links, f"modelmirror-hook=={__version__}")

    asyncio.run(main())
    nothing = Path("/dev/null/nowhere")
    ask = (
        "import json, urllib.request as u\n"
        "print(json.dumps(u.urlopen('https://huggingface.co/a/b').read().decode()))"
    )
    loaded = "import json, sys; print(json.dumps('modelmirror_hook' in sys.modules))"
    with Scripted() as mirror:
        led = [
            Program(url=mirror.url, python=python, hook=nothing, options=options).said(ask)
            for options in ((), ("-I",))
        ]
    unset = Program(url=None, python=python, hook=nothing).said(loaded)
    _run(python, "-m", "pip", "--disable-pip-version-check", "uninstall", "-y", "modelmirror-hook")
    left = [path.name for path in site.rglob("modelmirror*")]

    assert led == ["/a/b"] * 2
    assert unset is False
    assert left == []


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_pip_downloads_by_way_of_the_mirror(tmp_path: Path) -> None:
    """A wheel at github.com, as ``spacy download`` asks pip for it, comes by way of the mirror."""
    url = f"https://github.com/explosion/spacy-models/releases/download/x-{__version__}/{NAME}"
    reply = Reply(body=build())
    target = "/-/host/" + url.removeprefix("https://")
    with Scripted({target: reply}) as mirror:
        program = Program(url=mirror.url, home=tmp_path, variables={"MODELMIRROR_STRICT": "1"})
        digest = hashlib.sha256(build()).hexdigest()
        pip = ("-m", "pip", "--disable-pip-version-check", "--isolated", "download")
        options = ("--no-deps", "--no-cache-dir", "--dest", str(tmp_path))
        done = program.run(*pip, *options, f"{url}#sha256={digest}")

    assert done.returncode == 0, done.stderr
    assert mirror.targets == [target]
    assert (tmp_path / url.rpartition("/")[2]).read_bytes() == reply.body
