"""What `warm` and `check` are to see to: targets on the command line, or those of a project's files."""

import functools
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import click

from mirror.bundle import lockfile, projects
from mirror.bundle.endpoint import Endpoint
from mirror.bundle.lockfile import Locked
from mirror.bundle.outcome import Wanted
from mirror.cli.completing import stored
from mirror.cli.inside import mirror_of
from mirror.errors import QuestionError
from mirror.targets import Target

_OPTIONS: Final = (
    click.argument("targets", nargs=-1, metavar="[TARGET]...", shell_complete=stored),
    click.option(
        "--file",
        "project",
        type=click.Path(path_type=Path, dir_okay=False),
        help=f"Where targets are listed; by default {projects.FILE} here.",
    ),
    click.option("--group", "groups", multiple=True, help="Of that, only these groups."),
    click.option("--include", multiple=True, metavar="GLOB", help="Of repos, only these files."),
    click.option("--exclude", multiple=True, metavar="GLOB", help="Of repos, not these files."),
    click.option(
        "--as",
        "loader",
        default="",
        metavar="LOADER",
        help="Of repos, what this reads: transformers, sentence-transformers, diffusers, gguf:Q4_K_M.",
    ),
    click.option(
        "--endpoint", metavar="URL", help="A running mirror; then no data folder is needed."
    ),
    click.option("--data", type=click.Path(path_type=Path), help="The data folder."),
    click.option(
        "--config", "file", type=click.Path(path_type=Path), help="A settings file (TOML)."
    ),
)


@dataclass(frozen=True, slots=True)
class Choice:
    """The flags that say what is wanted; the same for each of the verbs."""

    targets: tuple[str, ...]
    project: Path | None
    groups: tuple[str, ...]
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    loader: str

    @property
    def said(self) -> bool:
        """Whether anything is named, or all of the usual list meant."""
        return bool(self.targets or self.project or self.groups)

    @property
    def listing(self) -> Path:
        """The file that lists targets."""
        return self.project or Path(projects.FILE)

    @property
    def lock_file(self) -> Path:
        """The lock that belongs to it."""
        return self.listing.with_suffix(".lock")

    def wanted(self) -> dict[Wanted, list[str]]:
        """What is wanted, each with its groups. Raises `QuestionError`."""
        if not self.targets:
            found = projects.read(self.listing, self.groups)
            return {self._only(one.target): groups for one, groups in found.items()}
        if self.groups or self.project:
            raise QuestionError("Targets that are named here have no --group and no --file.")
        return {self._only(Target.parse(text)): [] for text in self.targets}

    def locked(self) -> list[Locked]:
        """What is locked, of the groups or targets that are wanted. Raises `QuestionError`."""
        if self.include or self.exclude or self.loader:
            raise QuestionError(
                "What is locked has its files: --include, --exclude and --as are for what is not.",
                hint=f"Write them into {self.listing}, then run modelmirror lock.",
            )
        found = lockfile.read(self.lock_file, self.groups)
        if self.targets:
            names = {str(Target.parse(text)) for text in self.targets}
            found = [one for one in found if str(one.goal.wanted.target) in names]
            lacking = names - {str(one.goal.wanted.target) for one in found}
        else:
            listed = projects.read(self.listing, self.groups) if self.listing.exists() else {}
            lacking = set(map(str, listed)) - {str(one.goal.wanted) for one in found}
        if lacking:
            raise QuestionError(
                f"{self.lock_file} does not have {', '.join(sorted(lacking))}.",
                hint="Run modelmirror lock.",
            )
        return found

    def again(self, wanted: Wanted, where: Sequence[str], *, locked: bool) -> str:
        """The command that fetches one target, *where* it is missing."""
        target = wanted.target
        words = ["modelmirror", "warm", str(target)]
        if locked:
            words += ["--locked", *(["--file", str(self.project)] if self.project else [])]
        else:
            words += [word for glob in target.include for word in ("--include", glob)]
            words += [word for glob in target.exclude for word in ("--exclude", glob)]
            words += ["--as", target.loader] if target.loader else []
        return shlex.join([*words, *where])

    def _only(self, target: Target) -> Wanted:
        return Wanted(target.only(self.include, self.exclude, self.loader))


@dataclass(frozen=True, slots=True)
class Where:
    """The flags that say which mirror is meant; the same for each of the verbs."""

    endpoint: str | None
    data: Path | None
    file: Path | None

    @property
    def words(self) -> list[str]:
        """How they are written."""
        said = {"--endpoint": self.endpoint, "--data": self.data, "--config": self.file}
        return [word for flag, value in said.items() if value for word in (flag, str(value))]

    def asked(self, *, offline: bool = False) -> AbstractContextManager[Endpoint]:
        """That mirror; with *offline* one that asks nobody else."""
        return endpoint_of(self.endpoint, self.data, self.file, offline=offline)


def options(function: Callable[..., None]) -> Callable[..., None]:
    """Give a verb the flags that say what is wanted, and where: as its *choice* and *where*."""

    @functools.wraps(function)
    def chosen(**flags: Any) -> None:
        choice, where = (
            made(**{field.name: flags.pop(field.name) for field in fields(made)})
            for made in (Choice, Where)
        )
        function(choice=choice, where=where, **flags)

    for option in reversed(_OPTIONS):
        option(chosen)
    return chosen


@contextmanager
def endpoint_of(
    endpoint: str | None, data: Path | None, file: Path | None, *, offline: bool = False
) -> Iterator[Endpoint]:
    """The mirror that is meant; with *offline* one that asks nobody else."""
    if endpoint is not None:
        with closing(Endpoint(endpoint, token, only_stored=offline)) as asked:
            yield asked
        return
    with (
        mirror_of(data, file, offline=offline) as (url, _),
        closing(Endpoint(url, token, only_stored=offline)) as asked,
    ):
        yield asked


@contextmanager
def usage() -> Iterator[None]:
    """What is wrong in what was written is wrong usage."""
    try:
        yield
    except QuestionError as error:
        raise click.UsageError(str(error)) from error


def token() -> str:
    """The token that the Hub's own clients would send."""
    from huggingface_hub import get_token  # noqa: PLC0415 -- 0.2 s that most calls need not pay

    return get_token() or ""


def counted(number: int, what: str) -> str:
    """``1 file``, ``2 files``."""
    return f"{number} {what}{'' if number == 1 else 's'}"
