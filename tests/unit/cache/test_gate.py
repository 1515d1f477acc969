"""The operator's gate without a server: lists, users and their secrets, and what settings cannot be."""

import asyncio
import base64
import time
from pathlib import Path

import pytest

from mirror.cache import users as module
from mirror.cache.gate import Gate
from mirror.cache.owntoken import OwnToken
from mirror.cache.rules import FilePattern, Rules
from mirror.cache.users import (
    User,
    Users,
    is_password,
    new_token,
    password_hash,
    read,
    token_hash,
)
from mirror.clock import SystemClock
from mirror.credential import Credential
from mirror.errors import ConfigError, NotAllowedError
from mirror.messages import Answer
from mirror.names import Document, Repo
from mirror.patterns import RepoPattern

TINY = Repo("huggingface", "models/acme/tiny")
PASSWORD = "correct horse"


class _Clock(SystemClock):
    """A clock that can be turned."""

    ahead = 0.0

    def monotonic(self) -> float:
        """Monotonic seconds, and what was added."""
        return super().monotonic() + self.ahead


def _basic(name: str, password: str) -> Credential:
    return Credential("Basic " + base64.b64encode(f"{name}:{password}".encode()).decode())


def _patterns(*texts: str) -> tuple[RepoPattern, ...]:
    return tuple(RepoPattern.parse(text) for text in texts)


# ── what may pass ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("pattern", "path", "meant"),
    [
        ("*.bin", "pytorch_model.bin", True),
        ("*.bin", "onnx/deep/model.BIN", True),
        ("*.bin", "model.bin.txt", False),
        ("*.bin", "x.bin/readme.md", False),
        ("onnx/*", "onnx/model.onnx", True),
        ("onnx/*", "ONNX/deep/model.onnx", True),
        ("onnx/*", "other/onnx/model.onnx", False),
        ("config.json", "sub/config.json", True),
        ("LICENSE*", "license", True),
        ("*.pt", "evil.pt\n", False),
    ],
)
def test_file_patterns(pattern: str, path: str, *, meant: bool) -> None:
    """Without a slash a name in any folder, with one the whole path; in any case."""
    assert FilePattern.parse(pattern).matches(path) is meant


@pytest.mark.parametrize(
    ("path", "passes"),
    [
        ("model-00001-of-00002.safetensors", True),
        ("model.safetensors.index.json", True),
        ("tokenizer.model", True),
        ("unet/diffusion_pytorch_model.safetensors", True),
        ("LICENSE", True),
        ("data/train-00000.parquet", True),
        ("pytorch_model.bin", False),
        ("model.safetensors.bin", False),
        ("weights.pt", False),
        ("archive/data.pkl", False),
        ("tf_model.h5", False),
        ("modeling_custom.py", False),
        ("weights", False),
        ("weights.safetensors ", False),
        ("model.gguf", False),
        ("pickle.7z", False),
    ],
)
def test_safetensors_only(path: str, *, passes: bool) -> None:
    """What is not named stays out, whatever it is called."""
    rules = Rules.read((), (), ("safetensors-only",), ())
    if passes:
        rules.check_file(TINY, path)
    else:
        with pytest.raises(NotAllowedError, match="safetensors-only"):
            rules.check_file(TINY, path)


def test_deny_beats_allow_and_presets_take_company() -> None:
    """The lists together, and the words that name which of them it was."""
    rules = Rules.read(
        _patterns("acme/*"), _patterns("acme/bad*"), ("safetensors-only", "*.gguf"), ("secret*",)
    )
    rules.check_repo(TINY)
    rules.check_file(TINY, "model.gguf")
    with pytest.raises(NotAllowedError, match=r"deny list has secret\*"):
        rules.check_file(TINY, "secret.safetensors")
    with pytest.raises(NotAllowedError, match=r"deny list has acme/bad\*"):
        rules.check_repo(Repo("huggingface", "models/ACME/Bad-model"))
    with pytest.raises(NotAllowedError, match="not on its allow list"):
        rules.check_repo(Repo("huggingface", "datasets/acme/tiny"))
    with pytest.raises(ConfigError, match="access"):
        Rules.read((), (), ("",), ())
    with pytest.raises(ConfigError, match="/etc"):
        Rules.read((), (), (), ("/etc/*",))


def test_what_no_file_list_names_passes_as_json_alone() -> None:
    """With rules for files, a call that upstream alone understands cannot bring one."""
    page = Answer(200, (("Content-Type", "application/json; charset=utf-8"),), (b"[]",))
    bytes_ = Answer(200, (("Content-Type", "application/octet-stream"),), (b"\x80\x04",))
    judging = Gate(rules=Rules.read((), (), ("safetensors-only",), ()))
    judging.check_passed(TINY, page)
    judging.check_passed(TINY, Answer(404, (), (b"no",)))
    with pytest.raises(NotAllowedError):
        judging.check_passed(TINY, bytes_)
    Gate().check_passed(TINY, bytes_)


# ── users ──────────────────────────────────────────────────────────────────────────────────────────


def test_hashes_are_of_one_secret_each() -> None:
    """A password's hash is salted and takes its time; a token's is looked up."""
    kept = password_hash(PASSWORD)
    assert kept != password_hash(PASSWORD)
    assert is_password(PASSWORD, kept)
    assert not is_password(PASSWORD + "x", kept)
    assert PASSWORD not in kept
    token = new_token()
    assert token.startswith("mm_")
    assert len(token) > 40
    assert token != new_token()
    assert token not in token_hash(token)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("alice = 3", "no table"),
        ("[alice]", "does not say what may be read"),
        ("[everyone]\nread = []", "not everyone"),
        ('["a b"]\nread = []', "a name is"),
        ('["ä"]\nread = []', "a name is"),
        ('[alice]\nread = "all"', "no list"),
        ('[alice]\nread = ["a b"]', "no pattern"),
        ('[alice]\nread = []\nrole = "admin"', "role"),
        ('[anonymous]\nread = []\ntokens = ["x"]', "tokens"),
        ('[alice]\nread = []\ntokens = ["mm_plain"]', "hashes alone"),
        ('[alice]\nread = []\npassword = "plain"', "no hash"),
        ('[alice]\nread = []\npassword = "scrypt:40:8:1:AAAA:AAAA"', "out of bounds"),
        ("[alice", "not TOML"),
    ],
)
def test_a_wrong_file_of_users_is_named(tmp_path: Path, text: str, words: str) -> None:
    """Each mistake is a sentence with the file, and no secret of it."""
    file = tmp_path / "users.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        read(file)
    assert str(file) in str(caught.value)
    assert "mm_plain" not in str(caught.value)


def test_what_was_checked_is_remembered_until_the_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One look at scrypt for each secret, right or wrong; a change of the file ends both."""
    file = tmp_path / "users.toml"
    clock = _Clock()
    looked: list[str] = []

    def counting(password: str, kept: str) -> bool:
        looked.append(password)
        return is_password(password, kept)

    monkeypatch.setattr(module, "is_password", counting)

    def write(password: str) -> None:
        file.write_text(f'[carol]\npassword = "{password_hash(password)}"\nread = ["*"]\n')

    async def main() -> None:
        users = Users(file, clock)

        async def known(name: str, password: str) -> bool:
            try:
                return (await users.identify(_basic(name, password))).name == name
            except NotAllowedError:
                return False

        results = await asyncio.gather(*(known("carol", PASSWORD) for _ in range(20)))
        assert all(results)
        assert looked == [PASSWORD]
        assert not await known("carol", "wrong")
        assert not await known("carol", "wrong")
        assert not await known("nobody", PASSWORD)
        assert looked == [PASSWORD, "wrong", PASSWORD]
        write("another and longer")
        clock.ahead += 2
        assert not await known("carol", PASSWORD)
        assert await known("carol", "another and longer")

    write(PASSWORD)
    asyncio.run(main())


def test_a_crowd_of_strangers_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many guesses at once one is checked at a time, and few wait; tokens go past them."""
    token = new_token()
    file = tmp_path / "users.toml"
    file.write_text(f'[ci]\ntokens = ["{token_hash(token)}"]\nread = ["*"]\n')
    running: list[int] = []
    most: list[int] = []

    def slow(_password: str, _kept: str) -> bool:
        running.append(1)
        most.append(len(running))
        time.sleep(0.001)
        running.pop()
        return False

    monkeypatch.setattr(module, "is_password", slow)

    async def main() -> None:
        users = Users(file, SystemClock())
        guesses = [users.identify(_basic("ci", f"guess {number}")) for number in range(200)]
        outcomes = await asyncio.gather(*guesses, return_exceptions=True)
        assert all(isinstance(error, NotAllowedError) for error in outcomes)
        assert sum("Too many" in str(error) for error in outcomes) == 200 - module._WAITING
        assert max(most) == 1
        assert (await users.identify(Credential(f"Bearer {token}"))).name == "ci"

    asyncio.run(main())


def test_an_open_gate_asks_nobody() -> None:
    """Without settings there are no users, no rules and no token."""

    async def main() -> None:
        gate = Gate()
        user = await gate.user(Document(repo=TINY), Credential("Bearer hf_x"))
        gate.check(user, Document(repo=TINY))
        assert user.name == ""
        assert gate.token(user, TINY) is None
        assert not gate.knows_callers

    asyncio.run(main())


# ── the mirror's own token ─────────────────────────────────────────────────────────────────────────


def test_readers_of_the_own_token() -> None:
    """Named users and everyone, each for their patterns alone."""
    own = OwnToken(
        Credential("Bearer hf_x"),
        {
            RepoPattern.parse("acme/*"): frozenset({"alice"}),
            RepoPattern.parse("open/*"): frozenset({"everyone"}),
        },
    )
    alice, bob, anybody = User("alice", ()), User("bob", ()), User("", ())
    assert [own.opens(TINY, user) for user in (alice, bob, anybody)] == [True, False, False]
    opened = Repo("huggingface", "models/open/x")
    assert all(own.opens(opened, user) for user in (alice, bob, anybody))
    assert not own.opens(Repo("huggingface", "datasets/acme/tiny"), alice)


def test_half_a_setting_of_the_own_token_is_refused(tmp_path: Path) -> None:
    """A token without a list, a list without one, readers without users, a file without a token."""
    listed = {RepoPattern.parse("acme/*"): frozenset({"everyone"})}
    named = {RepoPattern.parse("acme/*"): frozenset({"alice"})}
    file = tmp_path / "token"
    assert OwnToken.read("", None, {}, users=False) is None
    for token, readers in (("hf_x", {}), ("", listed)):
        with pytest.raises(ConfigError, match="list of repos"):
            OwnToken.read(token, None, readers, users=True)
    with pytest.raises(ConfigError, match="alice, and there are no local users"):
        OwnToken.read("hf_x", None, named, users=False)
    with pytest.raises(ConfigError, match="cannot be read"):
        OwnToken.read("", file, listed, users=False)
    for content in (b"", b"two words\n", b"\xff\n", b"one\ntwo\n"):
        file.write_bytes(content)
        with pytest.raises(ConfigError, match="holds no token"):
            OwnToken.read("", file, listed, users=False)
    file.write_bytes(b"hf_secret\n")
    own = OwnToken.read("", file, listed, users=False)
    assert own is not None
    assert own.credential.header == "Bearer hf_secret"
    assert "hf_secret" not in repr(own)


@pytest.mark.parametrize(
    ("header", "ours"),
    [
        ("Bearer mm_x", True),
        ("bearer  mm_x", True),
        ("Bearer hf_x", False),
        (_basic("u", "mm_x").header, True),
        (_basic("mm_u", "hf_x").header, False),
        ("Basic !", False),
        ("Basic", False),
        ("", False),
    ],
)
def test_tokens_of_ours_are_known_by_their_beginning(header: str, *, ours: bool) -> None:
    """Bare, and as git sends them."""
    assert Credential(header).is_ours is ours
