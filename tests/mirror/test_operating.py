"""Looking after a mirror: what is here, who needs it, and what it saved, on a running one and on none."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mirror.operating import order, refused, said, told
from tests.mirror.running import Running
from tests.origin import Origin

SHARED = bytes(range(256)) * 8192  # 2 MiB
OWN = bytes(range(255, -1, -1)) * 4096  # 1 MiB
LFS = ("*.safetensors", "*.bin")


@pytest.fixture
def stored(origin: Origin, mirror: Running) -> Running:
    """A mirror with two public repos that share their weights, and a private one."""
    files = {"config.json": b"{}", "model.safetensors": SHARED}
    origin.add_repo("models", "acme/one", files={**files, "own.bin": OWN}, lfs=LFS)
    origin.add_repo("models", "acme/two", files=files, lfs=LFS, tags={"v1": "main"})
    origin.add_repo(
        "models",
        "acme/secret",
        files={"s.bin": OWN[::2]},
        lfs=LFS,
        private=True,
        readers=("tokenA",),
    )
    for path in ("one/resolve/main/model.safetensors", "one/resolve/main/own.bin"):
        assert mirror.ask(f"/acme/{path}").status == 200
    for path in ("two/resolve/v1/model.safetensors", "two/resolve/main/config.json"):
        assert mirror.ask(f"/acme/{path}").status == 200
    assert mirror.ask("/acme/secret/resolve/main/s.bin", token="tokenA").status == 200
    mirror.settle()
    return mirror


def _both(mirror: Running, verb: str, *words: str) -> Iterator[str]:
    """What people are told while the mirror runs, and then with none running."""
    yield said(mirror.data, verb, *words)
    assert mirror.stop() == 0
    yield said(mirror.data, verb, *words)


def test_ls_lists_repos_with_audience_files_and_sizes(stored: Running) -> None:
    """Private ones too, for the operator alone; aligned, and the same with no mirror running."""
    assert "acme/secret" not in stored.ask("/-/status").body.decode()
    for shown in _both(stored, "ls"):
        head, *rows = shown.splitlines()
        assert re.split(r"  +", head) == [
            "REPO", "AUDIENCE", "REVISIONS", "FILES", "SIZE", "LAST USED", "PINNED FOR",
        ]  # fmt: skip
        assert [re.split(r"  +", row) for row in rows] == [
            ["acme/one", "public", "1", "3/3", "3.0 MiB", "just now", "-"],
            ["acme/secret", "private", "1", "1/1", "512 KiB", "just now", "-"],
            ["acme/two", "public", "1", "2/2", "2.0 MiB", "just now", "-"],
        ]
        assert len({row.index("just now") for row in rows}) == 1


def test_ls_lists_revisions_and_files(origin: Origin, stored: Running) -> None:
    """Of a repo its revisions with their commits, of a revision its files and which are here."""
    commit = origin.repo("models", "acme/two").commit
    (row,) = told(stored.data, "ls", "acme/two")["revisions"]
    assert (row["revision"], row["commit"], row["list"]) == (["main", "v1"], commit, "complete")
    assert (row["files"], row["stored"]) == (2, 2)
    for revision in ("main", "v1", commit, commit[:8]):
        listed = told(stored.data, "ls", f"acme/two@{revision}")["files"]
        assert [file["path"] for file in listed] == ["config.json", "model.safetensors"]
    files = {
        file["path"]: file["stored"]
        for file in told(stored.data, "ls", "acme/one", "--files")["files"]
    }
    assert files == {"config.json": True, "model.safetensors": True, "own.bin": True}
    assert "model.safetensors" in said(stored.data, "ls", "acme/two@main")
    digest = told(stored.data, "ls", "acme/two@v1")["files"][1]["digest"]
    blob = told(stored.data, "ls", digest)["blob"]
    assert (blob["size"], blob["needed_by"]) == (len(SHARED), ["acme/one", "acme/two"])


def test_ls_says_what_is_not_known(stored: Running) -> None:
    """Each in a sentence with the next step."""
    for words, sentence in (
        (("acme/nobody",), "Nothing is known of acme/nobody. `modelmirror ls`"),
        (("acme/two@v9",), "No revision v9 of acme/two is known"),
        (("https://example.org/x.bin",), "No hub of this mirror serves"),
        (("sha256:" + "0" * 64,), "is not stored"),
        (("sha256:12",), "is no sha256"),
        (("a b",), "names nothing"),
        (("--files",), "of which TARGET"),
    ):
        assert sentence in refused(stored.data, "ls", *words), words
    assert "acme/two (public)" in said(stored.data, "ls", "ACME/Two")


def test_du_tells_what_only_one_needs_and_what_is_shared(stored: Running) -> None:
    """The shared weights are counted once in all, and as shared for both; the sums agree."""
    assert stored.stop() == 0
    du = told(stored.data, "du")
    rows = {row["owner"]: (row["bytes"], row["only"], row["shared"]) for row in du["rows"]}
    shared = len(SHARED) + 2  # config.json is the same, too
    assert rows == {
        "acme/one": (shared + len(OWN), len(OWN), shared),
        "acme/two": (shared, 0, shared),
        "acme/secret": (len(OWN) // 2, len(OWN) // 2, 0),
    }
    assert du["bytes"] == shared + len(OWN) * 3 // 2
    assert du["unnamed"] == 0
    assert "3.5 MiB are stored in all." in said(stored.data, "du")


def test_du_by_project_follows_the_pins(stored: Running) -> None:
    """Projects are those that pins are for; what nobody pinned is a row of its own."""
    for target, project in (("acme/one", "search"), ("acme/two@v1", "chat"), ("acme/one", "chat")):
        assert order(stored.data, "pin", target, "--for", project).returncode == 0
    rows = {row["owner"]: row for row in told(stored.data, "du", "--by", "project")["rows"]}
    assert set(rows) == {"search", "chat", "(not pinned)"}
    assert rows["search"]["only"] == 0
    assert rows["chat"]["bytes"] == rows["search"]["bytes"] == len(SHARED) + 2 + len(OWN)
    assert rows["(not pinned)"]["bytes"] == len(OWN) // 2
    assert "PROJECT" in said(stored.data, "du", "--by", "project")


def test_du_by_project_reads_a_list_of_projects(stored: Running, tmp_path: Path) -> None:
    """Groups of a models.toml have a row each, by the files they choose, beside those who pinned."""
    listing = tmp_path / "models.toml"
    listing.write_text(
        '[chat]\ntargets = ["acme/one"]\nexclude = ["own.bin"]\n'
        '[search]\ntargets = ["acme/two@v1", "acme/never-seen", "acme/one"]\n'
    )
    assert order(stored.data, "pin", "acme/two", "--for", "chat").returncode == 0
    shared, whole = len(SHARED) + 2, len(SHARED) + 2 + len(OWN)
    for running in (True, False):
        if not running:
            assert stored.stop() == 0
        done = order(stored.data, "du", "--file", str(listing), "--json")
        rows = {row["owner"]: row for row in json.loads(done.stdout)["rows"]}
        assert {name: (row["bytes"], row["only"]) for name, row in rows.items()} == {
            "chat": (shared, 0),
            "search": (whole, len(OWN)),
            "(of no project)": (len(OWN) // 2, len(OWN) // 2),
        }
        assert done.stderr == "modelmirror: acme/never-seen: nothing of it is here.\n"
    assert "--by project" in refused(stored.data, "du", "--by", "repo", "--file", str(listing))
    assert "no group" not in refused(stored.data, "du", "--file", str(tmp_path / "none.toml"))


def test_pins_are_listed_and_survive_a_restart(stored: Running) -> None:
    """Given to a running mirror and to a folder at rest; withdrawn one owner at a time."""
    assert "Nothing is pinned" in said(stored.data, "pin")
    assert "acme/two@v1  chat" in said(stored.data, "pin", "acme/two@v1", "--for", "chat")
    assert stored.stop() == 0
    said(stored.data, "pin", "Acme/Two@v1", "--for", "search")
    (pin,) = told(stored.data, "pin")["pins"]
    assert pin == {
        "target": "acme/two@v1",
        "for": ["chat", "search"],
        "blobs": 2,
        "bytes": len(SHARED) + 2,
    }
    stored.start()
    assert "chat, search" in said(stored.data, "ls", "acme/two")
    (row,) = told(stored.data, "unpin", "acme/two@v1", "--for", "chat")["pins"]
    assert row["for"] == ["search"]
    assert told(stored.data, "unpin", "acme/two@v1") == {"pins": []}
    assert "is not pinned" in refused(stored.data, "unpin", "acme/two@v1")
    assert "which TARGET" in refused(stored.data, "pin", "--for", "chat")


def test_pins_keep_what_is_wanted_least(tmp_path: Path, origin: Origin) -> None:
    """A pinned repo outlives many that were wanted later; unpinned, it goes like any other."""
    for number in range(8):
        content = bytes([number]) * (1 << 20)
        origin.add_repo("models", f"acme/m{number}", files={"m.bin": content}, lfs=LFS)
    path = "/acme/m{}/resolve/main/m.bin"
    with Running(tmp_path / "data", origin, flags=("--quota", "3MiB")) as mirror:

        def fetch(*numbers: int) -> None:
            for number in numbers:
                assert mirror.ask(path.format(number)).status == 200
                mirror.settle()

        fetch(0)
        said(mirror.data, "pin", "acme/m0")
        fetch(1, 2, 3, 4)
        assert told(mirror.data, "ls", "acme/m0")["revisions"][0]["stored"] == 1
        assert told(mirror.data, "ls", "acme/m1")["revisions"][0]["stored"] == 0
        said(mirror.data, "unpin", "acme/m0")
        fetch(5, 6, 7)
        assert told(mirror.data, "ls", "acme/m0")["revisions"][0]["stored"] == 0


def test_status_tells_how_it_is(stored: Running) -> None:
    """Running and not, with room and what is stored."""
    running = told(stored.data, "status")
    assert (running["running"], running["state"]) == (True, "online")
    assert (running["repos"], running["closed_repos"], running["pins"]) == (3, 1, 0)
    assert running["bytes"] == len(SHARED) + 2 + len(OWN) * 3 // 2
    at_rest = list(_both(stored, "status"))
    assert "online, version" in at_rest[0]
    assert "not running, version" in at_rest[1]
    assert "3.5 MiB in 5 files" in at_rest[1]


def test_stats_count_what_was_saved_over_restarts(stored: Running) -> None:
    """A second client's download is saved bytes and a hit, also after a restart."""
    first = told(stored.data, "stats")
    fetched = len(SHARED) + len(OWN) * 3 // 2 + 2
    assert first["fetched"] == fetched
    assert stored.ask("/acme/one/resolve/main/model.safetensors").status == 200
    second = told(stored.data, "stats")
    assert second["served"] == first["served"] + len(SHARED)
    assert (second["fetched"], second["hits"]) == (fetched, first["hits"] + 1)
    assert second["saved"] == max(0, second["served"] - fetched)
    report = stored.ask("/-/status").json()["traffic"]
    assert report["served"] == second["served"]
    assert stored.stop() == 0
    after = told(stored.data, "stats")
    assert {k: after[k] for k in ("served", "fetched", "hits", "since")} == {
        k: second[k] for k in ("served", "fetched", "hits", "since")
    }
    assert after["hours"][-1][0] <= time.time()
    assert re.search(r"last 24 hours +\S+ MiB", said(stored.data, "stats"))


def test_a_folder_that_is_none_and_one_of_another_process_are_told(
    tmp_path: Path, stored: Running
) -> None:
    """Exit code 4 with what to do."""
    done = order(tmp_path / "nothing", "status")
    assert done.returncode == 4
    assert "There is no store in" in done.stderr
    (stored.data / "v1" / "control.sock").unlink()
    done = order(stored.data, "ls")
    assert done.returncode == 4
    assert "does not listen on" in done.stderr


def test_orders_of_no_sense_are_refused(stored: Running) -> None:
    """What a later or an earlier command line might send."""
    from mirror.errors import QuestionError  # noqa: PLC0415
    from mirror.upkeep.reach import order as reach  # noqa: PLC0415

    socket = stored.data / "v1" / "control.sock"
    for name, arguments in (
        ("ls", {"target": 7}),
        ("rm", {"target": "acme/one", "dry_run": "yes"}),
        ("gc", {"older": -1}),
        ("gc", {"older": True}),
        ("du", {"by": "colour"}),
        ("pin", {"target": "acme/one", "for": ""}),
        ("pin", {"target": "acme/one", "for": "a\nb"}),
    ):
        with pytest.raises(QuestionError):
            reach(socket, name, arguments)
