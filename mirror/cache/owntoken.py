"""A token of the mirror's own, for the repos listed for it and no other.

Whoever is named as a reader of a listed repo reads what the operator may read, so each listing names its
readers and there is no default (docs/decisions/0010-audiences.md).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from mirror.cache.users import User
from mirror.credential import Credential
from mirror.errors import ConfigError
from mirror.index.grants import EVERYONE
from mirror.names import Repo
from mirror.patterns import RepoPattern


@dataclass(frozen=True, slots=True)
class OwnToken:
    """The token, and by pattern of repos its *readers*: names of users, or ``everyone``."""

    credential: Credential
    readers: Mapping[RepoPattern, frozenset[str]]

    @classmethod
    def read(
        cls,
        token: str,
        file: Path | None,
        readers: Mapping[RepoPattern, frozenset[str]],
        *,
        users: bool,
    ) -> Self | None:
        """Take *token*, or the one in *file*; `None` where there is neither and nothing is listed.

        *users* tells whether there are local users. Raises `ConfigError` for one without the other, a
        file that holds no token, and readers that cannot be told apart.
        """
        if file is not None:
            token = token_in(file)
        if bool(token) != bool(readers):
            raise ConfigError(
                "The mirror's own token goes with a list of repos and who may read them.",
                hint="Set huggingface.token_repos, and huggingface.token or huggingface.token_file.",
            )
        named = sorted({name for names in readers.values() for name in names} - {EVERYONE})
        if named and not users:
            raise ConfigError(
                f"huggingface.token_repos names {', '.join(named)}, and there are no local users.",
                hint="Set access.users, or name everyone.",
            )
        return cls(Credential(f"Bearer {token}"), readers) if token else None

    def opens(self, repo: Repo, user: User) -> bool:
        """Whether *user* may read *repo* with it."""
        return any(
            (EVERYONE in names or bool(user.name and user.name in names)) and pattern.matches(repo)
            for pattern, names in self.readers.items()
        )


def token_in(file: Path) -> str:
    """The token that *file* holds. Raises `ConfigError` where it holds none."""
    try:
        token = file.read_text(encoding="ascii").strip()
    except OSError as error:
        raise ConfigError(f"The token in {file} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError:
        token = ""
    if not token or not token.isprintable() or " " in token:
        raise ConfigError(
            f"The file {file} holds no token.", hint="A token is one word on one line."
        )
    return token
