"""What the operator lets through at all: repos and files, by allow and deny lists.

They hold for everybody and before anything else: what is denied is not asked of upstream, and not served
if it is here. A deny list beats an allow list; an empty allow list allows everything.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import translate
from typing import Final, Self

from mirror.errors import ConfigError, NotAllowedError
from mirror.names import Repo
from mirror.patterns import RepoPattern, spell

# Formats that hold tensors or data and no code, and the text beside them. What is not named stays out,
# so a pickle under an odd name does too; so does Python, which `trust_remote_code` would run.
SAFETENSORS_ONLY: Final = (
    "*.safetensors", "*.safetensors.index.json",
    "*.json", "*.jsonl", "*.txt", "*.md", "*.yaml", "*.yml", "*.toml", "*.jinja", "*.xml",
    "*.model", "*.tiktoken", "*.spm", "*.bpe", "*.vocab",
    "LICENSE*", "LICENCE*", "NOTICE*", "README*", "USE_POLICY*", ".gitattributes", ".gitignore",
    "*.pdf", "*.png", "*.jpg", "*.jpeg", "*.gif", "*.webp", "*.svg",
    "*.parquet", "*.arrow", "*.csv", "*.tsv", "*.wav", "*.mp3", "*.flac", "*.mp4",
)  # fmt: skip
PRESETS: Final = {"safetensors-only": SAFETENSORS_ONLY}

_LONGEST: Final = 200
_ASK: Final = "Ask the operator of this mirror."


@dataclass(frozen=True, slots=True)
class FilePattern:
    """A glob over the paths of files, in any case; without a slash it means names in any folder."""

    text: str
    _compiled: re.Pattern[str] = field(repr=False, compare=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a pattern: ``*.bin``, ``onnx/*``, ``config.json``; raises `ValueError` with a sentence."""
        if not text or len(text) > _LONGEST or not text.isprintable() or text.startswith("/"):
            msg = f"{text!r} is no pattern of files; write it like *.bin or onnx/*"
            raise ValueError(msg)
        return cls(text, re.compile(translate(text.casefold())))

    def matches(self, path: str) -> bool:
        """Whether the file at *path* (relative, decoded) is one of those meant."""
        name = path if "/" in self.text else path.rpartition("/")[2]
        return self._compiled.match(name.casefold()) is not None


@dataclass(frozen=True, slots=True)
class Rules:
    """The lists; all empty, everything may pass. *presets* are those that *allow_files* came from."""

    allow_repos: tuple[RepoPattern, ...] = ()
    deny_repos: tuple[RepoPattern, ...] = ()
    allow_files: tuple[FilePattern, ...] = ()
    deny_files: tuple[FilePattern, ...] = ()
    presets: tuple[str, ...] = ()

    @classmethod
    def read(
        cls,
        allow_repos: Sequence[RepoPattern],
        deny_repos: Sequence[RepoPattern],
        allow_files: Sequence[str],
        deny_files: Sequence[str],
    ) -> Self:
        """Make the lists; names of presets among *allow_files* stand for their patterns.

        Raises `ConfigError` for what is no pattern.
        """
        presets = tuple(name for name in allow_files if name in PRESETS)
        allowed = [part for name in allow_files for part in PRESETS.get(name, (name,))]
        try:
            files = tuple(FilePattern.parse(text) for text in allowed)
            not_files = tuple(FilePattern.parse(text) for text in deny_files)
        except ValueError as error:
            raise ConfigError(f"A list of files under access cannot be used: {error}.") from error
        return cls(tuple(allow_repos), tuple(deny_repos), files, not_files, presets)

    @property
    def about_files(self) -> bool:
        """Whether there are rules for files."""
        return bool(self.allow_files or self.deny_files)

    def check_repo(self, repo: Repo) -> None:
        """Raise `NotAllowedError` unless *repo* may pass."""
        for pattern in self.deny_repos:
            if pattern.matches(repo):
                raise _refusal(repo, f"its deny list has {pattern}")
        if self.allow_repos and not any(pattern.matches(repo) for pattern in self.allow_repos):
            raise _refusal(repo, "it is not on its allow list")

    def check_file(self, repo: Repo, path: str) -> None:
        """Raise `NotAllowedError` unless the file *path* of *repo* may pass."""
        for pattern in self.deny_files:
            if pattern.matches(path):
                raise _refusal(repo, f"its deny list has {pattern.text}", path)
        if self.allow_files and not any(pattern.matches(path) for pattern in self.allow_files):
            named = ", ".join(self.presets)
            listed = f"its files are {named}" if named else "it is not on its list of files"
            raise _refusal(repo, listed, path)

    def check_whole(self, repo: Repo) -> None:
        """Raise `NotAllowedError` where files are judged one by one: this would bring what none names."""
        if self.about_files:
            raise NotAllowedError(
                f"This mirror does not pass every file, so {spell(repo)} cannot be cloned or passed whole.",
                repo=spell(repo),
                anonymous=False,
                hint="Download the files you need with the hf command.",
            )


def _refusal(repo: Repo, why: str, path: str = "") -> NotAllowedError:
    what = f"{path} of {spell(repo)}" if path else spell(repo)
    hint = "Leave such files out (hf download --exclude), or ask its operator." if path else _ASK
    return NotAllowedError(
        f"This mirror does not serve {what}: {why}.",
        repo=spell(repo),
        anonymous=False,
        hint=hint,
    )
