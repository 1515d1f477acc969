"""`modelmirror_hook.py check`: whether an exported cache is what its manifest says, without modelmirror."""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pytest

from mirror.cli import exits
from mirror.hook import FOLDER, modelmirror_hook

FILE: Final = FOLDER / "modelmirror_hook.py"
COMMIT: Final = "c" * 40
BLOB: Final = f"models--a--b/blobs/{'e' * 40}"
LINK: Final = f"models--a--b/snapshots/{COMMIT}/config.json"
MTIME: Final = 1764311111
FILES: Final = {
    "whisper/base.pt": b"weights" * 1000,
    BLOB: b'{"model_type": "bert"}',
    "tfhub/0/saved_model.pb": b"",
}
NOBODY: Final = 65534
# A process of root's can read everything: it becomes another's, once it has imported what it needs.
AS_OTHER: Final = """
import argparse, gettext, hashlib, json, locale, os, posixpath, shlex, shutil, stat, sys
sys.path.insert(0, sys.argv[1])
import modelmirror_hook
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(int(sys.argv[2]))
    os.setuid(int(sys.argv[2]))
sys.exit(modelmirror_hook.main(["check", sys.argv[3], "--json"]))
"""


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """An exported cache of two targets that is whole."""
    folder = tmp_path / "cache"
    for name, content in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (MTIME, MTIME + 0.25))
    link = folder / LINK
    link.parent.mkdir(parents=True)
    link.symlink_to(f"../../blobs/{'e' * 40}")
    _manifest(folder)
    return folder


def test_whole_cache_is_whole(cache: Path) -> None:
    """A cache as it was exported is whole; nothing is hashed, what is not in the manifest does not matter."""
    (cache / "more").write_bytes(b"put here by its user")
    code, said = _check(cache)

    assert (code, said["whole"], said["problems"]) == (exits.OK, True, [])
    assert (said["files"], said["links"], said["hashed"]) == (3, 1, 0)
    assert said["bytes"] == sum(map(len, FILES.values()))
    assert [target["whole"] for target in said["targets"]] == [True, True]


def test_verify_hashes_every_file(cache: Path) -> None:
    """With --verify each file is read; a changed byte is found whatever its time says."""
    path = cache / "whisper/base.pt"
    path.write_bytes(b"x" + FILES["whisper/base.pt"][1:])
    os.utime(path, (MTIME, MTIME))

    assert _check(cache)[0] == exits.OK
    code, said = _check(cache, "--verify")
    assert (code, said["hashed"]) == (exits.FAILED, 3)
    assert _problems(said) == {"whisper/base.pt": "changed"}
    assert hashlib.sha256(FILES["whisper/base.pt"]).hexdigest() in said["problems"][0]["detail"]


def test_file_of_another_time_is_hashed(cache: Path) -> None:
    """A file that was copied without its time is hashed, and believed if it is the same."""
    os.utime(cache / "whisper/base.pt", (1, 1))
    code, said = _check(cache)
    assert (code, said["hashed"]) == (exits.OK, 1)

    (cache / "whisper/base.pt").write_bytes(b"x" + FILES["whisper/base.pt"][1:])
    code, said = _check(cache)
    assert (code, _problems(said)) == (exits.FAILED, {"whisper/base.pt": "changed"})


def test_what_is_wrong_is_named(cache: Path) -> None:
    """Missing, short and long files are named with what is to be there, and which targets lack them."""
    (cache / "whisper/base.pt").unlink()
    (cache / BLOB).write_bytes(FILES[BLOB][:-1])
    (cache / "tfhub/0/saved_model.pb").write_bytes(b"more")
    code, said = _check(cache)

    assert code == exits.FAILED
    assert _problems(said) == {
        "whisper/base.pt": "missing",
        BLOB: "short",
        "tfhub/0/saved_model.pb": "long",
    }
    assert [target["whole"] for target in said["targets"]] == [False, False]
    lines = _run("check", str(cache)).stdout.splitlines()
    assert f"short: {BLOB} (it has 21 bytes of 22)" in lines
    assert "not whole: whisper:base" in lines
    assert lines[-1].startswith(f"{cache} is not whole: 3 problems among 3 files and 1 link,")


def test_target_that_is_whole_is_so_beside_others(cache: Path) -> None:
    """A target lacks only what it needs itself."""
    (cache / "whisper/base.pt").unlink()
    _, said = _check(cache)

    assert {target["target"]: target["whole"] for target in said["targets"]} == {
        "whisper:base": False,
        "hf:a/b": True,
    }


def test_links_that_lead_nowhere_are_named(cache: Path) -> None:
    """A link without its file, one that leads elsewhere, and one that is gone are told apart."""
    (cache / BLOB).unlink()
    assert _problems(_check(cache)[1]) == {BLOB: "missing", LINK: "dead link"}

    (cache / LINK).unlink()
    (cache / LINK).symlink_to("/etc/passwd")
    assert _problems(_check(cache)[1])[LINK] == "other link"

    (cache / LINK).unlink()
    assert _problems(_check(cache)[1])[LINK] == "missing"


def test_copy_in_place_of_a_link_does_as_well(cache: Path) -> None:
    """A cache that was copied without links is whole, if the copies have what the links led to."""
    (cache / LINK).unlink()
    (cache / LINK).write_bytes(FILES[BLOB])
    assert _check(cache)[0] == exits.OK

    (cache / LINK).write_bytes(FILES[BLOB][::-1])
    code, said = _check(cache)
    assert (code, _problems(said)) == (exits.FAILED, {LINK: "changed"})


def test_folder_in_place_of_a_link_is_checked(cache: Path) -> None:
    """Where a link led to a folder, a copy of the folder is checked file by file."""
    _manifest(cache, links={"alias": "whisper"})
    (cache / "alias").mkdir()
    (cache / "alias/base.pt").write_bytes(FILES["whisper/base.pt"])
    assert _check(cache)[0] == exits.OK

    (cache / "alias/base.pt").unlink()
    assert _problems(_check(cache)[1]) == {"alias/base.pt": "missing"}


@pytest.mark.parametrize("mode", [0o000, 0o600])
def test_folder_that_cannot_be_read_is_named_once(mode: int) -> None:
    """A folder of another user is named with the command that mends it; that is no damage, but no check."""
    with TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        (root / "whisper").mkdir()
        for file in ("base.pt", "tiny.pt"):
            (root / "whisper" / file).touch()
        entry = {"size": 0, "sha256": hashlib.sha256().hexdigest(), "mtime": MTIME}
        files = {"whisper/base.pt": entry, "whisper/tiny.pt": entry}
        _manifest(root, files=files, links={"whisper/link": "base.pt"}, targets=[])
        (root / "whisper").chmod(mode)
        done = subprocess.run(
            [sys.executable, "-c", AS_OTHER, str(FOLDER), str(NOBODY), str(root)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        (root / "whisper").chmod(0o755)
    assert done.returncode == exits.UNCHECKED, done.stderr
    said = json.loads(done.stdout)

    assert _problems(said) == {"whisper": "unreadable"}
    user = f"{NOBODY}:{NOBODY}" if os.geteuid() == 0 else f"{os.getuid()}:{os.getgid()}"
    assert (
        said["problems"][0]["detail"] == f"Permission denied; sudo chown -R {user} {root}/whisper"
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "is no exported cache"),
        ("{", "is no JSON"),
        ('["list"]', "is no manifest of an exported cache"),
        ('{"format": "other", "version": 1}', "is no manifest of an exported cache"),
        ('{"format": "modelmirror-cache", "version": 2}', "fetch a newer modelmirror_hook.py"),
        ('{"format": "modelmirror-cache", "version": 1, "files": []}', None),
        ('{"format": "modelmirror-cache", "version": 1, "files": [1]}', "is damaged"),
        ('{"format": "modelmirror-cache", "version": 1, "files": {"a": {}}}', "is damaged"),
        ('{"format": "modelmirror-cache", "version": 1, "files": {"a": 1}}', "is damaged"),
        ('{"format": "modelmirror-cache", "version": 1, "links": {"../a": "b"}}', "is damaged"),
        ('{"format": "modelmirror-cache", "version": 1, "links": {"/a": "b"}}', "is damaged"),
        ('{"format": "modelmirror-cache", "version": 1, "targets": [1]}', "is damaged"),
        (
            (
                '{"format": "modelmirror-cache", "version": 1, "more": 1, '
                '"targets": [{"target": "x", "files": [], "links": [], "more": 2}]}'
            ),
            None,
        ),
    ],
)
def test_manifest_that_cannot_be_believed_is_no_check(
    content: str | None, said: str | None, tmp_path: Path
) -> None:
    """A manifest that is missing, newer or damaged is a sentence and a code; an unknown key is nothing."""
    if content is not None:
        (tmp_path / ".modelmirror.json").write_text(content)
    done = _run("check", str(tmp_path))

    if said is None:
        assert done.returncode == exits.OK, done.stderr
    else:
        assert done.returncode == exits.UNCHECKED
        assert said in done.stderr
        assert "Traceback" not in done.stderr
        code, report = _check(tmp_path)
        assert (code, report["whole"]) == (exits.UNCHECKED, False)
        assert said in report["error"]


def test_large_cache_takes_no_time(tmp_path: Path) -> None:
    """5 GB are believed by size and time without reading a byte of them."""
    (tmp_path / "large").touch()
    os.truncate(tmp_path / "large", 5_000_000_000)
    os.utime(tmp_path / "large", (MTIME, MTIME))
    entry = {"size": 5_000_000_000, "sha256": "0" * 64, "mtime": MTIME}
    _manifest(tmp_path, files={"large": entry}, links={}, targets=[])
    begun = time.monotonic()
    code, said = _check(tmp_path)

    assert (code, said["bytes"], said["hashed"]) == (exits.OK, 5_000_000_000, 0)
    assert time.monotonic() - begun < 5


def test_wrong_use_is_said() -> None:
    """A folder that is not there and a missing verb exit as wrong flags do elsewhere."""
    nowhere, nothing = _run("check", "/dev/null/nowhere"), _run()

    assert (nowhere.returncode, nothing.returncode) == (exits.USAGE, exits.USAGE)
    assert "/dev/null/nowhere is no folder" in nowhere.stderr


def test_exit_codes_are_those_of_the_table() -> None:
    """The script's codes are numbers of the one table."""
    hook = modelmirror_hook
    codes = (hook.WHOLE, hook.BROKEN, hook.USAGE, hook.UNCHECKED)

    assert codes == (exits.OK, exits.FAILED, exits.USAGE, exits.UNCHECKED)


def _manifest(
    folder: Path,
    *,
    files: Mapping[str, Any] | None = None,
    links: Mapping[str, str] | None = None,
    targets: list[Any] | None = None,
) -> None:
    """Write the manifest of *folder*, by default of everything in `FILES`."""
    entries = {
        name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest(), "mtime": MTIME}
        for name, content in FILES.items()
    }
    default = [
        {"target": "whisper:base", "files": ["whisper/base.pt"], "links": []},
        {"target": "hf:a/b", "files": [BLOB], "links": [LINK]},
    ]
    said = {
        "format": "modelmirror-cache",
        "version": 1,
        "files": entries if files is None else files,
        "links": {LINK: f"../../blobs/{'e' * 40}"} if links is None else links,
        "targets": default if targets is None else targets,
        "environment": {"XDG_CACHE_HOME": "."},
    }
    (folder / ".modelmirror.json").write_text(json.dumps(said, sort_keys=True) + "\n")


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", str(FILE), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def _check(folder: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """The exit code and the report of a check of *folder*."""
    done = _run("check", str(folder), "--json", *options)
    report: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, report


def _problems(said: Mapping[str, Any]) -> dict[str, str]:
    return {problem["path"]: problem["what"] for problem in said["problems"]}
