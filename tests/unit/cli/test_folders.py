"""Models that lie where their client does not look, and folders that it cannot read."""

import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from mirror.cli.diagnosis.findings import Finding
from mirror.cli.diagnosis.folders import check_folders, check_offline, holdings
from mirror.cli.diagnosis.looks import looks, roots
from mirror.cli.diagnosis.permissions import Reader, check_permissions
from mirror.errors import ConfigError

COMMIT = "c" * 40
REPO = "models--acme--tiny"
CL100K = "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"  # as tiktoken 0.14 named the file of it


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home without caches."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def _repo(cache: Path, name: str = REPO) -> Path:
    snapshot = cache / name / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    return cache


def _file(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"weights")
    return path


def _found(environment: Mapping[str, str], home: Path, *more: Path) -> list[Finding]:
    environment = {"TMPDIR": str(home / "tmp"), **environment}
    found = looks(environment, home, home / "prefix")
    held = holdings([*more, *roots(environment, home)], found)
    return [*check_offline(environment, found, held), *check_folders(found, held)]


def _mended(finding: Finding, environment: Mapping[str, str], home: Path) -> dict[str, str]:
    """*environment* after the line that mends has been run, as a shell runs it."""
    ran = subprocess.run(
        ["sh", "-c", f"{finding.mend} && env -0"],
        check=True,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "HOME": str(home), **environment},
    )
    return dict(pair.split("=", 1) for pair in ran.stdout.split("\0") if pair)


def test_caches_where_clients_look_are_not_complained_of(home: Path) -> None:
    """Every client's default folder, filled."""
    _repo(home / ".cache/huggingface/hub")
    _file(home / ".cache/whisper/base.pt")
    _file(home / ".cache/torch/hub/checkpoints/resnet18-f37072fd.pth")
    _file(home / ".cache/kagglehub/models/google/yamnet/tensorFlow2/yamnet/1.complete")
    _file(home / f"tmp/tfhub_modules/{'a' * 40}/saved_model.pb")
    _file(home / f"tmp/data-gym-cache/{CL100K}")
    _file(home / "nltk_data/tokenizers/punkt_tab.zip")

    assert _found({}, home) == []


@pytest.mark.parametrize(
    ("file", "environment", "who"),
    [
        ("old/hub/{repo}", {"HF_HOME": "new"}, "Hub clients"),
        ("old/{repo}", {"HF_HUB_CACHE": "new"}, "Hub clients"),
        ("old/{repo}", {"HUGGINGFACE_HUB_CACHE": "new"}, "Hub clients"),
        ("old/huggingface/hub/{repo}", {"XDG_CACHE_HOME": "new"}, "Hub clients"),
        ("old/whisper/base.pt", {"XDG_CACHE_HOME": "new"}, "whisper"),
        ("old/hub/checkpoints/a-f37072fd.pth", {"TORCH_HOME": "new"}, "torch.hub"),
        ("old/hub/o_r_main/hubconf.py", {"TORCH_HOME": "new"}, "torch.hub"),
        ("old/" + "a" * 40 + "/saved_model.pb", {"TFHUB_CACHE_DIR": "new"}, "tensorflow_hub"),
        ("old/models/o/m/f/v/1.complete", {"KAGGLEHUB_CACHE": "new"}, "kagglehub"),
        (f"old/{CL100K}", {"TIKTOKEN_CACHE_DIR": "new"}, "tiktoken"),
        ("nltk_old/corpora/words.zip", {"NLTK_DATA": "new"}, "nltk"),
    ],
)
def test_model_that_lies_elsewhere_is_found_and_mended(
    home: Path, file: str, environment: Mapping[str, str], who: str
) -> None:
    """It lies in one folder, its client will look in another; after the line it finds it there."""
    path = home / "it's here" / file.replace("{repo}", f"{REPO}/snapshots/{COMMIT}/config.json")
    _file(path)
    variables = {name: str(home / value) for name, value in environment.items()}
    (finding,) = _found(variables, home, home / "it's here")

    assert (finding.kind, finding.note) == ("misplaced", False)
    assert f"{who} will look in {home / 'new'}" in finding.what
    assert f"by {next(iter(environment))}" in finding.what
    assert str(home / "it's here") in finding.where
    assert _found(_mended(finding, variables, home), home, home / "it's here") == []


def test_model_in_the_default_folder_is_found_when_a_variable_leads_away(home: Path) -> None:
    """No folder has to be named for that: HF_HOME was set after the models had come."""
    _repo(home / ".cache/huggingface/hub")
    (finding,) = _found({"HF_HOME": str(home / "new")}, home)

    assert finding.what.startswith(f"acme/tiny lies in {home}/.cache/huggingface/hub;")
    assert finding.mend == f"export HF_HUB_CACHE={home}/.cache/huggingface/hub"


def test_home_of_the_hub_is_not_its_cache(home: Path) -> None:
    """Models at the root of HF_HOME: clients look in its folder hub."""
    _repo(home / "models")
    (finding,) = _found({"HF_HOME": str(home / "models")}, home)

    assert f"Hub clients will look in {home}/models/hub, by HF_HOME" in finding.what


def test_one_folder_for_everything_is_no_mistake(home: Path) -> None:
    """HF_HOME, HF_HUB_CACHE, TRANSFORMERS_CACHE and XDG_CACHE_HOME at once, as images have it."""
    models = home / "app/models/.cache"
    _repo(models)
    _file(models / "whisper/medium.pt")
    names = ("HF_HOME", "HF_HUB_CACHE", "TRANSFORMERS_CACHE", "XDG_CACHE_HOME")

    assert _found(dict.fromkeys(names, str(models)), home) == []


def test_model_that_only_some_clients_find_is_a_note(home: Path) -> None:
    """TRANSFORMERS_CACHE is heeded by transformers below 5, and by nobody else."""
    _repo(home / "old")
    (finding,) = _found({"TRANSFORMERS_CACHE": str(home / "old")}, home)

    assert finding.note
    assert "where only transformers below 5 will look; Hub clients will look in" in finding.what


def test_models_on_both_sides_are_linked(home: Path) -> None:
    """Where the client has models already, naming another folder would hide them."""
    _repo(home / "old")
    _repo(home / "new", "models--acme--other")
    environment = {"HF_HUB_CACHE": str(home / "new")}
    (finding,) = _found(environment, home, home / "old")

    assert shlex.split(finding.mend)[:3] == ["mkdir", "-p", str(home / "new")]
    assert _found(_mended(finding, environment, home), home, home / "old") == []
    assert (home / "new" / REPO / "snapshots" / COMMIT / "config.json").is_file()


def test_what_only_looks_like_a_model_is_none(home: Path) -> None:
    """Code by its commit, blobs by their hashes, and what was trained here."""
    _file(home / f"old/transformers_modules/acme/tiny/{'a' * 40}/modeling.py")
    _file(home / f"old/objects/{'b' * 40}")
    _file(home / "old/runs/checkpoints/epoch-10.pt")

    assert _found({}, home, home / "old") == []


def test_empty_repos_are_no_models(home: Path) -> None:
    """A folder that a broken download left behind holds nothing that would be looked for."""
    (home / "old" / REPO / "snapshots").mkdir(parents=True)

    assert _found({}, home, home / "old") == []


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_with_an_empty_cache_is_found(home: Path, name: str) -> None:
    """Nobody is asked and nothing is there; the line is to unset it, or to name what there is."""
    (finding,) = _found({name: "1"}, home)
    assert finding.kind == "offline-and-empty"
    assert finding.mend == f"unset {name}"

    _repo(home / "old")
    offline, misplaced = _found({name: "yes"}, home, home / "old")
    assert offline.mend == misplaced.mend == f"export HF_HUB_CACHE={home / 'old'}"

    assert _found({name: "1", "HF_HUB_CACHE": str(home / "old")}, home) == []
    assert _found({name: "0"}, home) == []


# ── rights ─────────────────────────────────────────────────────────────────────────────────────────

APP = Reader.parse("1000:1000")


def _closed(*folders: Path, reader: Reader = APP) -> list[Finding]:
    return list(check_permissions(folders, reader))


@pytest.fixture
def cache() -> Iterator[Path]:
    """A cache that everybody may read, in a folder that everybody may pass, as those of pytest are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        cache = _repo(Path(name) / "cache")
        for path in (cache, *cache.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        yield cache


def test_folder_that_cannot_be_read_is_found(cache: Path) -> None:
    """Whose it is, who cannot read it, and the line that changes that."""
    cache.chmod(0o700)
    (finding,) = _closed(cache)
    owner = cache.stat()

    assert finding.kind == "unreadable"
    assert f"belongs to {owner.st_uid}:{owner.st_gid} with mode 0700" in finding.what
    assert finding.mend == f"sudo chown -R 1000:1000 {cache}"


def test_file_that_cannot_be_read_is_found(cache: Path) -> None:
    """One file of a snapshot is enough; the whole cache is handed over."""
    file = cache / REPO / "snapshots" / COMMIT / "config.json"
    file.chmod(0o600)
    (finding,) = _closed(cache)

    assert finding.where == str(file)
    assert finding.mend == f"sudo chown -R 1000:1000 {cache}"


def test_folder_above_that_cannot_be_passed_is_found_once(cache: Path) -> None:
    """A cache in a home that is closed: handing the cache over would not help."""
    cache.parent.chmod(0o700)
    findings = _closed(cache, cache / REPO)

    assert [finding.mend for finding in findings] == [f"sudo chmod a+x {cache.parent}"]
    assert findings[0].kind == "unreadable"


def test_folder_that_cannot_be_written_is_a_note(cache: Path) -> None:
    """New models cannot come, but those that are there can be used."""
    (finding,) = _closed(cache)

    assert (finding.kind, finding.note) == ("unwritable", True)
    assert finding.mend == f"sudo chown -R 1000:1000 {cache}"


def test_exported_cache_need_not_be_written(cache: Path) -> None:
    """It is meant to be mounted read-only."""
    (cache / ".modelmirror.json").write_text("{}")
    (cache / ".modelmirror.json").chmod(0o644)

    assert _closed(cache) == []


def test_rights_are_those_of_owner_group_or_others(cache: Path) -> None:
    """The first that applies counts, also when another would give more."""
    owner = cache.stat()
    cache.chmod(0o705)
    in_group = Reader(1000, frozenset({owner.st_gid}))

    assert [finding.kind for finding in _closed(cache, reader=in_group)] == ["unreadable"]
    assert [finding.kind for finding in _closed(cache)] == ["unwritable"]
    assert _closed(cache, reader=Reader.of_this_process()) == []


def test_users_are_named_by_number() -> None:
    """A group that is not given is the user's own; a name is refused."""
    assert Reader.parse("1000").name == "1000:1000"
    assert Reader.parse("1000:50").name == "1000:50"
    with pytest.raises(ConfigError, match="1000:1000"):
        Reader.parse("app")
