"""GitHub through a running mirror: release assets, files, LFS, archives, and what torch.hub asks."""

import contextlib
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts import Hosts, Thing
from tests.mirror.running import Running
from tests.origin import Origin

SITE = "github.com"
API = "api.github.com"
RAW = "raw.githubusercontent.com"
MEDIA = "media.githubusercontent.com"
CODELOAD = "codeload.github.com"
ASSETS = "release-assets.githubusercontent.com"
HUB = "huggingface.co"

MODEL = os.urandom(400_000)
DIGEST = hashlib.sha256(MODEL).hexdigest()
WRONG = MODEL[:-1] + bytes([MODEL[-1] ^ 1])
COMMIT = "a" * 40

ASSET = "/ultralytics/assets/releases/download/v8.4.0/yolo11n.pt"
RELEASE = "/repos/ultralytics/assets/releases/tags/v8.4.0"

YUNET = "models/face_detection_yunet/face_detection_yunet_2023mar.onnx"
POINTER = (
    f"version https://git-lfs.github.com/spec/v1\noid sha256:{DIGEST}\nsize {len(MODEL)}\n".encode()
)


@contextlib.contextmanager
def running(
    hosts: Hosts, origin: Origin, folder: Path, *flags: str, **settings: str
) -> Iterator[Running]:
    """A mirror that asks them."""
    settings["MODELMIRROR_UPSTREAM_HOSTS"] = hosts.setting(
        SITE, API, RAW, MEDIA, CODELOAD, ASSETS, HUB
    )
    with Running(folder / "data", origin, flags, settings) as mirror:
        yield mirror


@pytest.fixture
def mirror(hosts: Hosts, origin: Origin, tmp_path: Path) -> Iterator[Running]:
    """A mirror that believes what moves for a minute."""
    with running(hosts, origin, tmp_path) as mirror:
        yield mirror


@pytest.fixture
def curious(hosts: Hosts, origin: Origin, tmp_path: Path) -> Iterator[Running]:
    """A mirror that asks for what moves each time."""
    with running(hosts, origin, tmp_path, MODELMIRROR_HUGGINGFACE_REF_LIFETIME="0s") as mirror:
        yield mirror


def at(host: str, path: str) -> str:
    """The mirror's address of a place."""
    return f"/-/host/{host}{path}"


def release(hosts: Hosts, body: bytes, digest: str | None) -> None:
    """Publish the asset, as GitHub redirects to it and its API tells of it."""
    hosts.put(SITE, ASSET, Thing(to=f"https://{ASSETS}/x/1?sp=r&sig=secret"))
    hosts.put(ASSETS, "/x/1?sp=r&sig=secret", body)
    assets = [{"name": "yolo11n.pt", "size": len(body), "digest": digest}]
    hosts.put(API, RELEASE, json.dumps({"tag_name": "v8.4.0", "assets": assets}).encode())


# ── release assets ──────────────────────────────────────────────────────────────────────────────────


def test_an_asset_comes_once_and_is_what_the_api_says(hosts: Hosts, mirror: Running) -> None:
    """The signed address is followed and kept nowhere; wrong bytes are never a whole answer."""
    release(hosts, WRONG, f"sha256:{DIGEST}")
    mirror.refuses_wrong(at(SITE, ASSET))
    hosts.put(ASSETS, "/x/1?sp=r&sig=secret", MODEL)
    got = mirror.ask(at(SITE, ASSET), token="ghp_secret")
    assert (got.status, got.body) == (200, MODEL)
    assert got.headers["etag"] == f'"{DIGEST}"'
    mirror.settle()
    with hosts.away():
        assert mirror.ask(at(SITE, ASSET)).body == MODEL
        part = mirror.ask(at(SITE, ASSET), headers={"Range": "bytes=10-"})
        assert (part.status, part.body) == (206, MODEL[10:])
    assert hosts.bodies(API, RELEASE) == 1
    assert hosts.bodies(ASSETS, "/x/1") == 2
    assert all("ghp_secret" not in str(request) for request in hosts.seen)
    assert b"sig=secret" not in b"".join(
        path.read_bytes() for path in mirror.data.rglob("*") if path.is_file()
    )


@pytest.mark.parametrize(
    "api",
    [Thing(b"{}", 403), Thing(b"", 404), Thing(b"", 429), Thing(b"", 500), Thing(b"<html>")],
    ids=["forbidden", "missing", "busy", "broken", "a page"],
)
def test_without_the_api_the_first_download_is_believed(
    hosts: Hosts, mirror: Running, tmp_path: Path, api: Thing
) -> None:
    """Its rate limit keeps nobody waiting; bytes that are others later are refused, with the alarm."""
    release(hosts, MODEL, None)
    hosts.put(API, RELEASE, api)
    assert mirror.ask(at(SITE, ASSET)).body == MODEL
    mirror.settle()
    assert mirror.ask(at(SITE, ASSET)).body == MODEL
    assert hosts.bodies(API, RELEASE) == 1
    assert mirror.stop() == 0
    (tmp_path / "data" / "v1" / "blobs" / "sha256" / DIGEST[:2] / DIGEST).unlink()
    mirror.start()
    hosts.put(ASSETS, "/x/1?sp=r&sig=secret", WRONG)
    mirror.refuses_wrong(at(SITE, ASSET))


def test_an_asset_that_does_not_exist_is_404(hosts: Hosts, mirror: Running) -> None:
    """And what GitHub has besides is not served, nor asked for."""
    assert mirror.ask(at(SITE, ASSET)).status == 404
    for path in ("/o/r/issues/1", "/o/r", "/login", "/o/r/blob/main/README.md"):
        assert mirror.ask(at(SITE, path)).status == 400, path
    assert mirror.ask(at(API, "/user")).status == 400
    assert mirror.ask(at(API, "/repos/o/r/tags") + "?token=x").status == 400
    assert {request.target for request in hosts.seen} == {ASSET}


# ── files ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_of_a_commit_is_asked_for_once(hosts: Hosts, curious: Running) -> None:
    """By either address; a file of a branch is asked for again, and each version served as it is."""
    small = b"dependencies = ['torch']\n"
    hosts.put(RAW, f"/o/r/{COMMIT}/hubconf.py", small)
    for path in (at(RAW, f"/o/r/{COMMIT}/hubconf.py"), at(SITE, f"/o/r/raw/{COMMIT}/hubconf.py")):
        assert curious.ask(path).body == small
        curious.settle()
    asked = len(hosts.seen)
    assert curious.ask(at(RAW, f"/o/r/{COMMIT}/hubconf.py")).body == small
    assert len(hosts.seen) == asked

    hosts.put(RAW, "/o/r/main/weights.bin", MODEL)
    assert curious.ask(at(RAW, "/o/r/main/weights.bin")).body == MODEL
    curious.settle()
    hosts.put(RAW, "/o/r/main/weights.bin", WRONG)
    assert curious.ask(at(SITE, "/o/r/raw/main/weights.bin")).body == WRONG
    curious.settle()
    with hosts.away():
        got = curious.ask(at(RAW, "/o/r/main/weights.bin"))
    for status in (None, 403, 429, 500):
        if status is not None:
            hosts.put(RAW, "/o/r/main/weights.bin", Thing(b"", status))
            got = curious.ask(at(RAW, "/o/r/main/weights.bin"))
        assert (got.status, got.body) == (200, WRONG)
        assert int(got.headers["age"]) >= 0
        assert "cannot be asked now" in got.headers["x-hf-warning"]
    hosts.put(RAW, "/o/r/main/weights.bin", Thing(b"", 404))
    curious.wait_for(lambda: curious.ask(at(RAW, "/o/r/main/weights.bin")).status == 404)
    hosts.put(RAW, "/o/r/main/weights.bin", Thing(MODEL, methods=("GET",)))
    assert curious.ask(at(RAW, "/o/r/main/weights.bin")).body == MODEL


def test_a_file_in_lfs_is_never_its_pointer(hosts: Hosts, curious: Running) -> None:
    """Whichever host is asked; its digest and size are the pointer's."""
    path = "/o/r/main/model.onnx"
    hosts.put(RAW, path, POINTER)
    hosts.put(MEDIA, f"/media{path}", WRONG)
    curious.refuses_wrong(at(RAW, path))
    hosts.put(MEDIA, f"/media{path}", MODEL)
    for place in (at(RAW, path), at(MEDIA, f"/media{path}"), at(SITE, "/o/r/raw/main/model.onnx")):
        got = curious.ask(place)
        assert (got.body, got.headers["etag"]) == (MODEL, f'"{DIGEST}"')
        curious.settle()
    assert hosts.bodies(MEDIA, f"/media{path}") == 2
    with hosts.away():
        assert curious.ask(at(RAW, path)).body == MODEL


def test_a_file_whose_pointer_cannot_be_read_is_not_served(hosts: Hosts, mirror: Running) -> None:
    """What is as small as a pointer may be one."""
    hosts.put(RAW, "/o/r/main/model.onnx", Thing(POINTER, methods=("HEAD",)))
    assert mirror.ask(at(RAW, "/o/r/main/model.onnx")).status == 403


@pytest.mark.parametrize("refusal", [403, 404, 429, 503])
def test_opencv_zoo_comes_from_the_hub_where_its_lfs_budget_is_spent(
    hosts: Hosts, mirror: Running, refusal: int
) -> None:
    """The digest says that it is the same file."""
    place = at(SITE, f"/opencv/opencv_zoo/raw/main/{YUNET}")
    hosts.put(RAW, f"/opencv/opencv_zoo/main/{YUNET}", POINTER)
    hosts.put(MEDIA, f"/media/opencv/opencv_zoo/main/{YUNET}", Thing(b"budget", refusal))
    assert mirror.ask(place).status in (404, 429, 501, 502)
    model = "/opencv/face_detection_yunet/resolve/main/face_detection_yunet_2023mar.onnx"
    hosts.put(HUB, model, MODEL)
    mirror.wait_for(lambda: mirror.ask(place).body == MODEL)


def test_where_the_hub_is_asked_is_where_its_second_source_is(
    hosts: Hosts, origin: Origin, tmp_path: Path
) -> None:
    """A site whose Hub is another mirror asks that one."""
    hosts.put(RAW, f"/opencv/opencv_zoo/main/{YUNET}", POINTER)
    hosts.put("hub", f"/opencv/opencv_zoo/resolve/main/{YUNET}", MODEL)
    settings = {
        "MODELMIRROR_UPSTREAM_HOSTS": hosts.setting(RAW, MEDIA),
        "MODELMIRROR_HUGGINGFACE_UPSTREAMS": f"{hosts.url}/hub",
    }
    with Running(tmp_path / "data", origin, settings=settings) as mirror:
        assert mirror.ask(at(RAW, f"/opencv/opencv_zoo/main/{YUNET}")).body == MODEL


# ── torch.hub ───────────────────────────────────────────────────────────────────────────────────────


def archive(commit: str, comment: bytes = b"") -> bytes:
    """A repository as GitHub zips it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        made.writestr(f"o-r-{commit[:7]}/hubconf.py", "def one(): return 1\n")
        made.comment = comment
    return file.getvalue()


def zipball(hosts: Hosts, ref: str, body: bytes, etag: str = "") -> None:
    """Publish an archive: a redirect to a host that sends it without a length."""
    hosts.put(SITE, f"/o/r/zipball/{ref}", Thing(to=f"https://{CODELOAD}/o/r/legacy.zip/{ref}"))
    name = f'attachment; filename="o-r-{etag or ref[:7]}.zip"'
    headers = {"Content-Disposition": name, **({"ETag": f'"{etag}"'} if etag else {})}
    hosts.put(CODELOAD, f"/o/r/legacy.zip/{ref}", Thing(body, chunked=True, headers=headers))


def test_the_archive_of_a_commit_never_moves(hosts: Hosts, curious: Running) -> None:
    """It is made once; made anew with other bytes it is the same repository, and that is noted."""
    zipball(hosts, COMMIT, archive(COMMIT))
    place = at(SITE, f"/o/r/zipball/{COMMIT}")
    got = curious.ask(place)
    assert (got.status, got.body) == (200, archive(COMMIT))
    assert got.headers["content-length"] == str(len(got.body))
    asked = len(hosts.seen)
    assert curious.ask(place).body == archive(COMMIT)
    assert len(hosts.seen) == asked

    for comment in (b"another day", b"and another"):
        before, again = curious.ask(place).body, archive(COMMIT, comment)
        digest = hashlib.sha256(before).hexdigest()
        assert curious.stop() == 0
        (curious.data / "v1" / "blobs" / "sha256" / digest[:2] / digest).unlink()
        curious.start()
        zipball(hosts, COMMIT, again)
        assert curious.ask(place).body == again
        assert "with other bytes" in curious.log.read_text()
        with hosts.away():
            assert curious.ask(place).body == again


@pytest.mark.parametrize("etags", [("one", "two"), ("", "")], ids=["etags", "none"])
def test_the_archive_of_a_branch_moves(
    hosts: Hosts, curious: Running, etags: tuple[str, str]
) -> None:
    """A new version is served as soon as it is seen, and the last one when GitHub is away."""
    place = at(SITE, "/o/r/zipball/main")
    first, second = archive("1" * 40), archive("2" * 40)
    zipball(hosts, "main", first, etags[0])
    assert curious.ask(place).body == first
    zipball(hosts, "main", second, etags[1] or "")
    hosts.things[CODELOAD, "/o/r/legacy.zip/main"] = Thing(
        second, chunked=True, headers={"ETag": '"two"'} if etags[1] else {"X": "y"}
    )
    assert curious.ask(place).body == second
    with hosts.away():
        got = curious.ask(place)
    assert got.body == second
    assert "age" in got.headers


def test_what_torch_hub_asks_is_answered_with_github_gone(hosts: Hosts, curious: Running) -> None:
    """Whether a branch is there, which branches and tags, page by page; also that one is not there."""
    hosts.put(SITE, "/o/r/tree/main/", Thing(b"<html>a long page</html>"))
    branches = json.dumps([{"name": "main", "commit": {"sha": COMMIT}}]).encode()
    link = f'<https://{API}/repositories/7/branches?per_page=100&page=2>; rel="next"'
    hosts.put(
        API, "/repos/o/r/branches?per_page=100&page=1", Thing(branches, headers={"Link": link})
    )
    hosts.put(API, "/repos/o/r/branches?per_page=100&page=2", b"[]")
    hosts.put(API, "/repositories/7/branches?per_page=100&page=2", b"[]")

    def asked() -> None:
        assert curious.ask(at(SITE, "/o/r/tree/main/")).status == 200
        assert curious.ask(at(SITE, "/o/old/tree/main/")).status == 404
        page = curious.ask(at(API, "/repos/o/r/branches?per_page=100&page=1"))
        assert page.body == branches
        following = page.headers["link"].partition(">")[0].removeprefix("<")
        assert following.startswith(curious.url)
        assert curious.ask(following.removeprefix(curious.url)).body == b"[]"
        assert curious.ask(at(API, "/repos/o/r/branches?per_page=100&page=2")).body == b"[]"

    asked()
    with hosts.away():
        asked()
        assert "age" in curious.ask(at(SITE, "/o/r/tree/main/")).headers
        assert curious.ask(at(API, "/repos/o/r/tags?per_page=100&page=1")).status == 501
    for status in (403, 405, 429):
        hosts.put(SITE, "/o/new/tree/main/", Thing(b"", status))
        assert curious.ask(at(SITE, "/o/new/tree/main/")).status >= 400, status
    for status in (403, 429, 502):
        hosts.put(API, "/repos/o/r/branches?per_page=100&page=1", Thing(b"{}", status))
        got = curious.ask(at(API, "/repos/o/r/branches?per_page=100&page=1"))
        assert (got.status, got.body) == (200, branches), status
        assert "age" in got.headers
    hosts.put(API, "/repos/o/r/branches?per_page=100&page=1", Thing(b"{}", 404))
    gone = at(API, "/repos/o/r/branches?per_page=100&page=1")
    curious.wait_for(lambda: curious.ask(gone).status == 404)
