"""Exports beside the store: which mirror is asked, what is shared, and who may have what."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mirror.cache.users import new_token, token_hash
from mirror.digest import git_sha1_of
from tests.faults.disks import NotPermittedError, mounted
from tests.house.certificates import Authority
from tests.mirror.exporting import CDN, TINY, WHISPER, World, sha256, world

WEIGHTS = TINY["model.safetensors"]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[World]:
    """A mirror of one's own."""
    with world(tmp_path) as running:
        yield running


def stored(site: World, body: bytes) -> Path:
    """Where the store has content."""
    digest = sha256(body)
    return site.mirror.data / "v1/blobs/sha256" / digest[:2] / digest


def laid(site: World, body: bytes) -> Path:
    """Where the Hub's layout has it."""
    return site.out / "huggingface/hub/models--acme--tiny/blobs" / sha256(body)


def test_the_mirror_that_runs_on_the_data_folder_is_asked(site: World) -> None:
    """Its address is learned over its socket; what it has not it fetches."""
    site.export("acme/tiny", "whisper:base", here=True)
    assert laid(site, WEIGHTS).read_bytes() == WEIGHTS
    assert site.mirror.ask("/-/status").json()["store"]["blobs"] > 3


def test_without_a_server_a_mirror_of_ones_own_is_asked(site: World) -> None:
    """It fetches, stores and ends with the export; the next one needs no host at all."""
    site.mirror.stop()
    site.export("acme/tiny", "whisper:base", here=True)
    assert stored(site, WEIGHTS).read_bytes() == WEIGHTS
    path = f"/main/whisper/models/{sha256(WHISPER['base'])}/base.pt"
    assert site.hosts.bodies(CDN, path) == 1
    site.folder = site.folder / "again"
    site.folder.mkdir()
    with site.hosts.away():
        site.export("whisper:base", here=True)
    assert (site.out / "whisper/base.pt").read_bytes() == WHISPER["base"]


@pytest.mark.parametrize("cold", [True, False], ids=["cold", "warm"])
def test_hard_links_are_files_of_the_store(site: World, *, cold: bool) -> None:
    """Under a second name, whether the mirror had them before or not."""
    if not cold:
        site.export("acme/tiny", here=True)
        site.folder = site.folder / "second"
        site.folder.mkdir()
    site.export("acme/tiny", "--links", "hard", here=True)
    assert laid(site, WEIGHTS).samefile(stored(site, WEIGHTS))
    assert stored(site, WEIGHTS).stat().st_mode & 0o777 == 0o444
    assert laid(site, WEIGHTS).read_bytes() == WEIGHTS


def test_small_files_that_the_store_has_are_linked_too(site: World) -> None:
    """The Hub names them by git's SHA-1; the index tells which file of the store that is."""
    site.export("acme/tiny", here=True)
    site.folder = site.folder / "second"
    site.folder.mkdir()
    site.export("acme/tiny", "--links", "hard", here=True)
    folder = site.out / "huggingface/hub/models--acme--tiny/blobs"
    small = {path: body for path, body in TINY.items() if path.endswith(".json")}
    assert small
    for body in small.values():
        assert (folder / git_sha1_of(body).hex).samefile(stored(site, body))


def test_what_the_store_has_need_not_come_again(site: World) -> None:
    """It is copied where it cannot be cloned, and is a file of its own."""
    site.export("acme/tiny", "whisper:base", here=True)
    site.folder = site.folder / "second"
    site.folder.mkdir()
    ran = site.export("acme/tiny", "whisper:base", "--json", here=True)
    (end,) = ran.said("end")
    assert (
        end["fetched"] < 10_000
    )  # Small files are known by git's digest, which is no name in the store.
    assert not laid(site, WEIGHTS).samefile(stored(site, WEIGHTS))
    assert laid(site, WEIGHTS).read_bytes() == WEIGHTS


def test_a_store_that_rotted_is_not_exported(site: World) -> None:
    """What is taken out of it is hashed; the mirror mends its own and sends that."""
    site.export("acme/tiny", here=True)
    at = stored(site, WEIGHTS)
    at.chmod(0o644)
    at.write_bytes(WEIGHTS[:-1] + bytes([WEIGHTS[-1] ^ 1]))
    for links in ("hard", "none"):
        site.folder = site.folder / links
        site.folder.mkdir()
        site.export("acme/tiny", "--links", links, here=True)
        assert sha256(WEIGHTS) in site.tree().values()


def test_what_is_shared_costs_no_room_where_the_disk_can(site: World) -> None:
    """On Btrfs an export takes the extents of the store."""
    if subprocess.run(["which", "mkfs.btrfs"], capture_output=True, check=False).returncode:
        pytest.skip("no mkfs.btrfs")
    image = site.folder / "disk"
    with image.open("wb") as file:
        file.truncate(300 << 20)
    subprocess.run(["mkfs.btrfs", "-q", str(image)], check=True)
    site.mirror.stop()
    try:
        with mounted(str(image), site.folder / "btrfs", "-o", "loop"):
            site.mirror = replace(site.mirror, data=site.folder / "btrfs/data")
            site.folder = site.folder / "btrfs"
            site.export("acme/tiny", here=True)
            report = subprocess.run(
                ["filefrag", "-v", str(laid(site, WEIGHTS))],
                capture_output=True,
                text=True,
                check=True,
            )
            assert "shared" in report.stdout
    except NotPermittedError as why:
        pytest.skip(str(why))


def test_a_gated_repo_is_for_whoever_may_read_it(site: World) -> None:
    """The token is that of the Hub's own clients; what the store has is not given past the mirror."""
    site.origin.tokens = {"good": "alice", "other": "bob"}
    site.origin.add_repo(
        "models", "acme/gated", files={"w.safetensors": WEIGHTS}, gated="manual", readers=["good"]
    )
    site.environment["HF_TOKEN"] = "good"
    site.export("acme/gated", here=True)
    assert sha256(WEIGHTS) in site.tree().values()
    assert stored(site, WEIGHTS).exists()
    for token in ("other", ""):
        site.folder = site.folder / f"as-{token}"
        site.folder.mkdir()
        site.environment["HF_TOKEN"] = token
        ran = site.export("acme/gated", here=True, code=1)
        assert "acme/gated" in ran.err
        assert "HF_TOKEN" in ran.err
        assert site.tree() == {}
    assert "good" not in (site.mirror.data / "v1/journal.jsonl").read_text()


def test_a_mirror_may_have_users_and_tls(tmp_path: Path) -> None:
    """It is asked by its name, with the token that it knows; strangers are told to have one."""
    issued = Authority(tmp_path / "ca").issue("IP:127.0.0.1")
    token = new_token()
    users = tmp_path / "users.toml"
    users.write_text(f'[alice]\ntokens = ["{token_hash(token)}"]\nread = ["*"]\n')
    flags = ("--tls-cert", str(issued.certificate), "--tls-key", str(issued.key))
    with world(tmp_path, *flags, "--users", str(users)) as site:
        ran = site.export("whisper:base", code=1)
        assert "is not trusted" in ran.err
        site.environment["SSL_CERT_FILE"] = str(tmp_path / "ca/authority.pem")
        ran = site.export("whisper:base", "acme/tiny", code=1)
        assert "0 of 2 targets are whole" in ran.out
        assert "HF_TOKEN" in ran.err
        site.environment["HF_TOKEN"] = token
        site.export("whisper:base", "acme/tiny")
        assert (site.out / "whisper/base.pt").read_bytes() == WHISPER["base"]
        ran = site.export("whisper:base", here=True, code=1)
        assert "--endpoint https://NAME:PORT" in ran.err


def test_a_token_goes_to_repos_alone(site: World) -> None:
    """Files of other hosts are asked for without it."""
    site.environment["HF_TOKEN"] = "hf_secret"
    site.origin.tokens = {"hf_secret": "alice"}
    site.export("acme/tiny", "whisper:base", "torch:plain.pth")
    assert all("hf_secret" not in str(request) for request in site.hosts.seen)
    for path in site.out.rglob("*"):
        if path.is_file():
            assert b"hf_secret" not in path.read_bytes(), path


def test_an_offline_mirror_names_what_it_has_not(site: World) -> None:
    """What it has is laid out."""
    site.export("whisper:base", here=True)
    site.mirror.stop()
    site.folder = site.folder / "second"
    site.folder.mkdir()
    site.environment["MODELMIRROR_OFFLINE"] = "true"
    ran = site.export("whisper:base", "whisper:medium", "acme/tiny", here=True, code=1)
    assert "whisper:base: 1 file" in ran.out
    for target in ("whisper:medium", "acme/tiny"):
        assert f"modelmirror: {target}:" in ran.err
    assert (site.out / "whisper/base.pt").read_bytes() == WHISPER["base"]


def test_a_folder_that_holds_no_store_is_made_one(site: World) -> None:
    """As `serve` would; one that cannot be used is refused."""
    blocked = site.folder / "blocked"
    blocked.write_text("a file")
    command = [*site.command("whisper:base")[:-2], "--data", str(blocked)]
    done = subprocess.run(command, env=site.variables, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert str(blocked) in done.stderr
    assert "Traceback" not in done.stderr


def test_export_needs_no_client_of_the_hub_for_other_hosts(site: World) -> None:
    """huggingface_hub is imported for repos alone: it takes longer than all else."""
    code = (
        "import sys; sys.argv = sys.argv[1:]\n"
        "from mirror.cli import cli\n"
        "cli(standalone_mode=False)\n"
        "assert 'huggingface_hub' not in sys.modules\n"
    )
    arguments = site.command("whisper:base")[3:]
    subprocess.run(
        [sys.executable, "-c", code, "modelmirror", *arguments], env=site.variables, check=True
    )
    assert os.path.exists(site.out / "whisper/base.pt")  # noqa: PTH110
