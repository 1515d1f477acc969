"""spaCy's models through a running mirror: the table, packages by their checksums, pages for pip."""

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.hosts import Hosts, Thing
from tests.mirror.running import Running
from tests.origin import Origin

RAW = "raw.githubusercontent.com"
SITE = "github.com"
ASSETS = "release-assets.githubusercontent.com"
MASTER = "/explosion/spacy-models/master"
TABLE = f"{MASTER}/compatibility.json"
SM = "en_core_web_sm-3.8.0"


def wheel(tag: str = SM, content: bytes = b"pipeline") -> bytes:
    """A package that pip installs."""
    name, _, version = tag.partition("-")
    info = f"{tag}.dist-info"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as opened:
        for path, text in (
            (f"{name}/__init__.py", content),
            (f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"),
            (f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"),
            (f"{info}/RECORD", f"{name}/__init__.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n"),
        ):
            opened.writestr(zipfile.ZipInfo(path), text)
    return packed.getvalue()


WHEEL = wheel()
TABLES = {
    "3.8": {"en_core_web_sm": ["3.8.0"], "de_core_news_sm": ["3.8.0"]},
    "3.7.0.dev0": {"en_core_web_sm": ["3.7.0a0"]},
    "3.10": {"en_core_web_sm": ["3.10.0", "3.8.0"]},
    "2.3": {"en_core_web_sm": ["2.3.1"], "../evil": ["1"], "x": ["<script>"]},
}


def publish(
    hosts: Hosts, tag: str = SM, body: bytes = WHEEL, meta: Mapping[str, str | None] | None = None
) -> None:
    """Place a release, which GitHub redirects to; *meta* is what is told of it."""
    path = f"/explosion/spacy-models/releases/download/{tag}/{tag}-py3-none-any.whl"
    signed = f"/asset/{tag}?sig=5ecret"
    hosts.put(SITE, path, Thing(to=f"https://{ASSETS}{signed}"))
    hosts.put(ASSETS, signed, body)
    told = meta or {"checksum_whl": hashlib.sha256(body).hexdigest()}
    hosts.put(RAW, f"{MASTER}/meta/{tag}.json", json.dumps(told).encode())


def file_of(tag: str = SM) -> str:
    """The mirror's short address of a wheel."""
    return f"/-/spacy/files/{tag}-py3-none-any.whl"


def links(page: bytes) -> list[str]:
    """Where a page leads to."""
    return re.findall(r'href="([^"]+)"', page.decode())


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    """The scripted hosts, with the table."""
    with Hosts() as hosts:
        hosts.put(RAW, TABLE, json.dumps({"spacy": TABLES}).encode())
        yield hosts


@pytest.fixture
def mirror(hosts: Hosts, origin: Origin, tmp_path: Path) -> Iterator[Running]:
    """A mirror that asks them, and looks for what moves each time."""
    settings = {
        "MODELMIRROR_UPSTREAM_HOSTS": hosts.setting(RAW, SITE, ASSETS),
        "MODELMIRROR_HUGGINGFACE_REF_LIFETIME": "0s",
    }
    with Running(tmp_path / "data", origin, settings=settings) as mirror:
        yield mirror


def test_a_wheel_is_what_its_meta_file_says(hosts: Hosts, mirror: Running) -> None:
    """By either address, once; wrong bytes are never a whole answer."""
    path = f"/explosion/spacy-models/releases/download/{SM}/{SM}-py3-none-any.whl"
    publish(hosts, body=WHEEL[:-1] + b"?", meta={"checksum_whl": hashlib.sha256(WHEEL).hexdigest()})
    mirror.refuses_wrong(f"/-/host/{SITE}{path}")
    publish(hosts)
    got = mirror.ask(f"/-/host/{SITE}{path}")
    assert (got.status, got.body) == (200, WHEEL)
    assert got.headers["etag"] == f'"{hashlib.sha256(WHEEL).hexdigest()}"'
    mirror.settle()
    asked = len(hosts.seen)
    with hosts.away():
        assert mirror.ask(file_of()).body == WHEEL
    assert len(hosts.seen) == asked


@pytest.mark.parametrize("meta", [{"checksum_whl": None}, {"lang": "en"}, {"checksum_whl": "md5"}])
def test_without_a_checksum_the_first_download_is_believed(
    hosts: Hosts, mirror: Running, meta: dict[str, str | None]
) -> None:
    """Every later one must be the same, else the alarm is raised."""
    publish(hosts, meta=meta)
    assert mirror.ask(file_of()).body == WHEEL
    mirror.settle()
    digest = hashlib.sha256(WHEEL).hexdigest()
    assert mirror.stop() == 0
    (mirror.data / "v1" / "blobs" / "sha256" / digest[:2] / digest).unlink()
    mirror.start()
    publish(hosts, body=WHEEL[:-1] + b"?", meta=meta)
    mirror.refuses_wrong(file_of())


def test_the_table_moves_and_is_kept_when_upstream_breaks(hosts: Hosts, mirror: Running) -> None:
    """What is no table is not taken for a new one."""
    target = f"/-/host/{RAW}{TABLE}"
    first = mirror.ask(target)
    assert first.json() == {"spacy": TABLES}
    newer = json.dumps({"spacy": {"3.9": {"en_core_web_sm": ["3.9.0"]}}}).encode()
    hosts.put(RAW, TABLE, newer)
    assert mirror.ask(target).body == newer
    for broken in (Thing(b"", 503), Thing(b"<html>sorry</html>"), Thing(b'{"spacy": []}')):
        hosts.put(RAW, TABLE, broken)
        got = mirror.ask(target)
        assert (got.status, got.body, "x-hf-warning" in got.headers) == (200, newer, True)


def test_an_index_lists_models_with_their_digests(hosts: Hosts, mirror: Running) -> None:
    """Newest first, by the names that pip asks for; what is not in the table is not there."""
    publish(hosts)
    publish(hosts, "en_core_web_sm-3.10.0", meta={"checksum_whl": "a" * 64, "checksum": "b" * 64})
    root = mirror.ask("/-/spacy/simple/")
    assert root.headers["content-type"] == "text/html; charset=utf-8"
    assert b"script" not in root.body
    assert links(root.body) == [
        f"{mirror.url}/-/spacy/simple/{name}/" for name in ("en-core-web-sm", "de-core-news-sm")
    ]
    digest = hashlib.sha256(WHEEL).hexdigest()
    expected = [
        f"{mirror.url}/-/spacy/files/en_core_web_sm-3.10.0-py3-none-any.whl#sha256={'a' * 64}",
        f"{mirror.url}/-/spacy/files/en_core_web_sm-3.10.0.tar.gz#sha256={'b' * 64}",
        f"{mirror.url}{file_of()}#sha256={digest}",
        f"{mirror.url}/-/spacy/files/en_core_web_sm-3.7.0a0-py3-none-any.whl",
        f"{mirror.url}/-/spacy/files/en_core_web_sm-2.3.1.tar.gz",
    ]
    for name in ("en-core-web-sm/", "en_core.web_SM"):
        assert links(mirror.ask(f"/-/spacy/simple/{name}").body) == expected
    page = mirror.ask("/-/spacy/files/")
    assert set(links(page.body)) == {*expected, f"{mirror.url}{file_of('de_core_news_sm-3.8.0')}"}
    assert mirror.ask("/-/spacy/files", method="HEAD").headers["content-length"] == str(
        len(page.body)
    )
    for nothing in ("/-/spacy/simple/spacy/", "/-/spacy/simple/evil/"):
        assert mirror.ask(nothing).status == 404
    metas = [request.target for request in hosts.seen if "/meta/" in request.target]
    assert len(metas) == len(set(metas)) == 5
    with hosts.away():
        again = mirror.ask("/-/spacy/simple/en-core-web-sm/")
        assert links(again.body) == expected
        assert "as it was" in again.headers["x-hf-warning"]


def test_a_page_asks_for_so_many_checksums_and_no_more(hosts: Hosts, mirror: Running) -> None:
    """The rest is listed without."""
    many = {f"m{number}": ["3.8.0"] for number in range(130)}
    hosts.put(RAW, TABLE, json.dumps({"spacy": {"3.8": many}}).encode())
    for name in many:
        publish(hosts, f"{name}-3.8.0", meta={"checksum_whl": "c" * 64})
    for _ in range(2):
        found = links(mirror.ask("/-/spacy/files/").body)
        assert len(found) == 130
        assert sum("#sha256=" in link for link in found) == 100
    assert sum("/meta/" in request.target for request in hosts.seen) == 100


def test_pages_without_upstream_and_writes_are_refused(hosts: Hosts, mirror: Running) -> None:
    """With a reason."""
    with hosts.away():
        assert mirror.ask("/-/spacy/simple/").status == 501
    for target in ("/-/spacy/simple/", "/-/spacy/files/", file_of()):
        assert mirror.ask(target, method="POST", body=b"").status == 405
    assert mirror.ask("/-/spacy/files/evil.whl").status == 400


@pytest.mark.parametrize("flag", ["--index-url", "--find-links"])
def test_pip_installs_from_the_mirror(
    hosts: Hosts, mirror: Running, tmp_path: Path, flag: str
) -> None:
    """The newest, twice, the second time with its hosts gone."""
    newest = wheel("en_core_web_sm-3.10.0")
    publish(hosts)
    publish(hosts, "en_core_web_sm-3.10.0", newest)
    where = "simple/" if flag == "--index-url" else "files/"
    more = ("--no-index",) if flag == "--find-links" else ()
    for folder in ("first", "second"):
        subprocess.run(
            (
                sys.executable, "-m", "pip", "download", "en_core_web_sm", "--no-deps", *more,
                flag, f"{mirror.url}/-/spacy/{where}", "-d", str(tmp_path / folder),
                "--no-cache-dir", "--disable-pip-version-check",
            ),
            env={**os.environ, "PIP_CONFIG_FILE": os.devnull, "NO_PROXY": "127.0.0.1"},
            check=True,
            capture_output=True,
        )  # fmt: skip
        assert [path.read_bytes() for path in (tmp_path / folder).iterdir()] == [newest]
        for host in (SITE, ASSETS):
            hosts.things = {key: value for key, value in hosts.things.items() if key[0] != host}
    assert hosts.bodies(ASSETS, "/asset/en_core_web_sm-3.10.0") == 1
