"""What `warm` and `check` are to see to: targets on the command line, or those of a project's files."""

import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from mirror.bundle import lockfile, projects
from mirror.bundle.endpoint import Endpoint
from mirror.bundle.lockfile import Locked
from mirror.bundle.outcome import Wanted
from mirror.cli.inside import mirror_of
from mirror.errors import QuestionError
from mirror.targets import Target

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS: Final = (
    click.argument("targets", nargs=-1, metavar="[TARGET]..."),
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


def options(function: F) -> F:
    """Give a verb the flags that say what is wanted, and where."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


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
