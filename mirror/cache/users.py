"""Local users: a file of names, hashed secrets and what each may read.

The file holds no secret. A token is made by the mirror's own command from 256 random bits, so its SHA-256
gives nothing away and is looked up at once; a password is a person's, so it is hashed with scrypt, in a
thread, and what was checked is remembered in memory under a key of this process. The file is read again
when it changes; one that cannot be read leaves the users as they were.
"""

import asyncio
import base64
import binascii
import hmac
import logging
import secrets
import tomllib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import scrypt, sha256
from pathlib import Path
from typing import Any, Final

from mirror.clock import Clock
from mirror.credential import Credential
from mirror.errors import ConfigError, NotAllowedError
from mirror.index.grants import EVERYONE
from mirror.names import Repo
from mirror.patterns import RepoPattern, spell

# Whoever does not say who they are; a section of this name says what they may read.
ANONYMOUS: Final = "anonymous"

# 32 MiB and a tenth of a second for each guess (RFC 7914; OWASP's least is 2**15 with more lanes).
_COST, _BLOCK, _LANES = 15, 8, 1
_MAX_COST: Final = 17
# What was checked is remembered for so many secrets, right and wrong ones.
_REMEMBERED: Final = 4096
# More than so many strangers' passwords are not waited for: one is checked at a time.
_WAITING: Final = 32
# The file is looked at this often, in seconds.
_LOOK_EVERY: Final = 1.0

_log: Final = logging.getLogger("modelmirror")


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who may read what *reads* says, on this mirror's word; *name* is empty for anonymous."""

    name: str
    reads: tuple[RepoPattern, ...]

    def may_read(self, repo: Repo) -> bool:
        """Whether *repo* is among what this user may read."""
        return any(pattern.matches(repo) for pattern in self.reads)


@dataclass(frozen=True, slots=True)
class _Known:
    """What the file says: users and their password hashes by name, names by the hash of a token."""

    users: Mapping[str, User]
    passwords: Mapping[str, str]
    tokens: Mapping[str, str]


class Users:
    """The users in *file*; raises `ConfigError` when it cannot be used."""

    def __init__(self, file: Path, clock: Clock) -> None:
        self._file = file
        self._clock = clock
        self._stamp = self._look()
        self._known = read(file)
        self._looked = clock.monotonic()
        self._key = secrets.token_bytes(32)
        self._checked: OrderedDict[bytes, bool] = OrderedDict()
        self._one = asyncio.Lock()
        self._waiting = 0

    async def identify(self, credential: Credential | None) -> User:
        """Name who sent *credential*; raises `NotAllowedError` for a stranger."""
        self._renew()
        if credential is None:
            return self.named("")
        scheme, _, value = credential.header.partition(" ")
        value = value.strip()
        if scheme.lower() == "bearer":
            return self._by_token(value)
        if scheme.lower() != "basic":
            raise _stranger("This mirror takes tokens (Bearer) and passwords (Basic).")
        try:
            name, _, password = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError, ValueError):
            raise _stranger("The user and password sent to this mirror cannot be read.") from None
        if Credential.is_token_of_ours(password):  # As git has it: a token in the password's place.
            return self._by_token(password)
        if not await self._is_password(name, password):
            raise _stranger("This mirror does not know this user with this password.")
        return self._known.users[name]

    def named(self, name: str) -> User:
        """Look up who was identified before, empty for anonymous; raises `NotAllowedError` if gone."""
        self._renew()
        user = self._known.users.get(name or ANONYMOUS)
        if user is None:
            raise _stranger(
                "This mirror wants to know who you are."
                if not name
                else f"This mirror does not know {name} any more."
            )
        return user

    def _by_token(self, token: str) -> User:
        name = self._known.tokens.get(token_hash(token))
        if name is None:
            raise _stranger("This mirror does not know this token.")
        return self._known.users[name]

    async def _is_password(self, name: str, password: str) -> bool:
        known = self._known
        sent = name.encode() + b"\0" + password.encode()
        mark = hmac.digest(self._key, sent, "sha256")
        if mark not in self._checked:
            if self._waiting >= _WAITING:
                raise _stranger("Too many passwords are being checked; try again in a moment.")
            self._waiting += 1
            try:
                async with self._one:
                    if mark not in self._checked:
                        # For an unknown name as long as for a known one, so that names cannot be guessed.
                        kept = known.passwords.get(name, _NOBODYS)
                        right = await asyncio.to_thread(is_password, password, kept)
                        if known is not self._known:  # The file changed meanwhile.
                            return right and self._known.passwords.get(name) == kept
                        self._checked[mark] = right and name in known.passwords
                        while len(self._checked) > _REMEMBERED:
                            self._checked.popitem(last=False)
            finally:
                self._waiting -= 1
        self._checked.move_to_end(mark)
        return self._checked[mark]

    def _renew(self) -> None:
        now = self._clock.monotonic()
        if now - self._looked < _LOOK_EVERY:
            return
        self._looked = now
        stamp = self._look()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._known = read(self._file)
        except ConfigError as error:
            _log.warning("The users stay as they were: %s", error)
            return
        self._checked.clear()
        _log.info("The users in %s were read anew.", self._file)

    def _look(self) -> tuple[int, int, int] | None:
        try:
            seen = self._file.stat()
        except OSError:
            return None
        return seen.st_ino, seen.st_size, seen.st_mtime_ns


def read(file: Path) -> _Known:
    """Read a file of users; raises `ConfigError` naming what is wrong with it."""
    try:
        tree = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"The users in {file} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"The file of users {file} is not TOML: {error}.") from error
    users: dict[str, User] = {}
    passwords: dict[str, str] = {}
    tokens: dict[str, str] = {}
    for name, entry in tree.items():
        try:
            users[name] = _user(name, entry)
            for kept in _texts(entry, "tokens"):
                tokens[_checked_token(kept)] = name
            if "password" in entry:
                passwords[name] = _checked_password(entry["password"])
        except ValueError as error:
            raise ConfigError(
                f"The user {name!r} in {file} cannot be used: {error}.",
                hint="`modelmirror user NAME` writes an entry.",
            ) from error
    return _Known(users, passwords, tokens)


def checked_name(name: str) -> str:
    """Return *name* if a user can have it; raises `ValueError`."""
    plain = name.isascii() and name.replace("-", "").replace("_", "").replace(".", "").isalnum()
    if not plain or len(name) > 64 or name == EVERYONE:
        msg = "a name is up to 64 letters, digits, '-', '_' and '.', and not everyone"
        raise ValueError(msg)
    return name


def _user(name: str, entry: Any) -> User:
    checked_name(name)
    if not isinstance(entry, dict):
        msg = "it is no table"
        raise ValueError(msg)  # noqa: TRY004 -- one error for all that the file can hold
    unknown = set(entry) - ({"read"} if name == ANONYMOUS else {"read", "password", "tokens"})
    if unknown:
        msg = f"it has {', '.join(sorted(unknown))}, which means nothing here"
        raise ValueError(msg)
    if "read" not in entry:
        msg = 'it does not say what may be read; read = ["*"] is everything'
        raise ValueError(msg)
    reads = tuple(RepoPattern.parse(text) for text in _texts(entry, "read"))
    return User("" if name == ANONYMOUS else name, reads)


def _texts(entry: Mapping[str, Any], key: str) -> list[str]:
    found = entry.get(key, [])
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        msg = f"{key} is no list of texts"
        raise ValueError(msg)
    return found


# ── secrets and their hashes ───────────────────────────────────────────────────────────────────────


def new_token() -> str:
    """Make a token that nobody guesses."""
    return Credential.OURS + secrets.token_urlsafe(32)


def token_hash(token: str) -> str:
    """Hash a token as the file keeps it."""
    return "sha256:" + sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def password_hash(password: str, salt: bytes | None = None) -> str:
    """Hash a password as the file keeps it, with scrypt (RFC 7914)."""
    salt = secrets.token_bytes(16) if salt is None else salt
    key = _derive(password, _COST, _BLOCK, _LANES, salt)
    parts = ("scrypt", str(_COST), str(_BLOCK), str(_LANES), _text(salt), _text(key))
    return ":".join(parts)


def is_password(password: str, kept: str) -> bool:
    """Whether *kept* is the hash of *password*; takes a tenth of a second on purpose."""
    cost, block, lanes, salt, key = _parts(kept)
    return hmac.compare_digest(_derive(password, cost, block, lanes, salt), key)


def _derive(password: str, cost: int, block: int, lanes: int, salt: bytes) -> bytes:
    room = 132 * block * (2**cost + lanes)
    return scrypt(
        password.encode("utf-8", "surrogateescape"),
        salt=salt, n=2**cost, r=block, p=lanes, maxmem=room, dklen=32,
    )  # fmt: skip


def _parts(kept: str) -> tuple[int, int, int, bytes, bytes]:
    name, *fields = kept.split(":")
    if name != "scrypt" or len(fields) != 5:
        msg = "its password is no hash of this mirror's"
        raise ValueError(msg)
    cost, block, lanes = (int(text) for text in fields[:3])
    salt, key = (base64.b64decode(text, validate=True) for text in fields[3:])
    if not (10 <= cost <= _MAX_COST and 1 <= block <= 16 and 1 <= lanes <= 4 and len(key) == 32):
        msg = "the hash of its password is out of bounds"
        raise ValueError(msg)
    return cost, block, lanes, salt, key


def _checked_password(kept: Any) -> str:
    _parts(str(kept))
    return str(kept)


def _checked_token(kept: str) -> str:
    scheme, _, digest = kept.partition(":")
    if scheme != "sha256" or len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
        msg = "one of its tokens is no hash of this mirror's; the file holds hashes alone"
        raise ValueError(msg)
    return kept


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


# What a stranger's password is compared with.
_NOBODYS: Final = f"scrypt:{_COST}:{_BLOCK}:{_LANES}:{_text(bytes(16))}:{_text(bytes(32))}"


def _stranger(message: str) -> NotAllowedError:
    return NotAllowedError(
        message,
        repo="",
        anonymous=True,
        hint="Set HF_TOKEN to the token that its operator gave you.",
    )


def refusal(user: User, repo: Repo) -> NotAllowedError:
    """Word that *user* may not read *repo*, whether or not there is one."""
    if user.name:
        return NotAllowedError(
            f"{user.name} may not read {spell(repo)} through this mirror.",
            repo=spell(repo),
            anonymous=False,
            hint="Ask its operator.",
        )
    return NotAllowedError(
        f"This mirror lets nobody read {spell(repo)} without saying who they are.",
        repo=spell(repo),
        anonymous=True,
        hint="Set HF_TOKEN to the token that its operator gave you.",
    )
