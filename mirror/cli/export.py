"""`modelmirror export`: what is here, for where this mirror is not: a bundle, or the clients' own caches."""

import posixpath
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

import click
from click.core import ParameterSource

from mirror.bundle import projects
from mirror.bundle.endpoint import Endpoint
from mirror.bundle.exporting import Export
from mirror.bundle.outcome import Report, Wanted
from mirror.bundle.places import KNOWN, Places, common_root
from mirror.bundle.store import Links, Shelf
from mirror.cli.bundling import BundleWanted, write_bundle
from mirror.cli.completing import stored
from mirror.cli.envfile import read_variables
from mirror.cli.exits import FAILED
from mirror.cli.inside import mirror_of
from mirror.cli.telling import Events, Plain, Telling
from mirror.cli.wanting import token, usage
from mirror.errors import MirrorError, QuestionError
from mirror.store.layout import Layout
from mirror.targets import REPOS, Kind, Target, placed
from mirror.units import parse_size

# The flags that one format alone has.
_ONLY: Final[Mapping[str, frozenset[str]]] = {
    "bundle": frozenset({"everything", "since", "since_last", "split", "key"}),
    "cache": frozenset({"pairs", "files", "root", "links", "verify", "project", "groups"}),
}


@click.command("export")
@click.argument("where", metavar="FILE|DIR|-")
@click.argument("targets", nargs=-1, metavar="[TARGET[=PATH]...]", shell_complete=stored)
@click.option(
    "--format",
    "form",
    type=click.Choice(["bundle", "cache"]),
    default="bundle",
    show_default=True,
    help="bundle: for `modelmirror import` elsewhere; cache: what clients have in their own caches.",
)
@click.option("--all", "everything", is_flag=True, help="bundle: all that is here.")
@click.option(
    "--since",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="bundle: without what this manifest of the receiver, or of a bundle, has.",
)
@click.option(
    "--since-last", metavar="NAME", default="", help="bundle: what NAME was not sent yet."
)
@click.option("--split", metavar="SIZE", help="bundle: files of at most SIZE, FILE.001 and so on.")
@click.option(
    "--sign", "key", metavar="KEY", type=click.Path(path_type=Path), help="bundle: an ssh key."
)
@click.option(
    "--file",
    "project",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"cache: also the targets that are listed in this {projects.FILE}.",
)
@click.option("--group", "groups", multiple=True, help="Of that, only these groups.")
@click.option("--endpoint", metavar="URL", help="A running mirror; then no data folder is needed.")
@click.option("--data", type=click.Path(path_type=Path), help="The data folder.")
@click.option("--set", "pairs", multiple=True, metavar="VAR=PATH", help="A variable of the app.")
@click.option(
    "--env-file",
    "files",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A file with the variables of the app.",
)
@click.option("--root", metavar="PATH", help="Where DIR will be, as the app sees it.")
@click.option(
    "--links",
    type=click.Choice([links.value for links in Links]),
    default=Links.REFLINK.value,
    show_default=True,
    help="What is shared with the store; none: real files only, fit for installers.",
)
@click.option("--include", multiple=True, metavar="GLOB", help="Of repos, only these files.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Of repos, not these files.")
@click.option("--verify", is_flag=True, help="Hash again what is there.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, one event a line, for programs.")
@click.option("--config", "file", type=click.Path(path_type=Path), help="A settings file (TOML).")
def command(  # noqa: PLR0913 -- each flag once
    *,
    where: str,
    targets: tuple[str, ...],
    form: str,
    everything: bool,
    since: Path | None,
    since_last: str,
    split: str | None,
    key: Path | None,
    project: Path | None,
    groups: tuple[str, ...],
    endpoint: str | None,
    data: Path | None,
    pairs: tuple[str, ...],
    files: tuple[Path, ...],
    root: str | None,
    links: str,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    verify: bool,
    as_json: bool,
    file: Path | None,
) -> None:
    """Write TARGETs, or --all, as a bundle to FILE or standard output (-), for `modelmirror import`.

    With --format cache: lay them out in DIR as their clients would have cached them, and say what to set.

    TARGET is org/name[@revision], dataset:org/name, whisper:base, torch:resnet18-f37072fd.pth,
    torchhub:owner/repo[:ref], tfhub:google/yamnet/1, kaggle:owner/model/framework/variation/version,
    tiktoken:cl100k_base, nltk:punkt_tab, spacy:de_core_news_lg[==3.8.0], or https://host/path. With =PATH it
    goes there instead: a repo as a flat folder, a file as that file, or with a slash at the end into it.

    What is there and whole is not fetched again.
    """
    _refuse_others(form)
    if form == "bundle":
        if endpoint is not None:
            raise click.UsageError("A bundle is written where the data folder is: give --data.")
        with usage():
            wanted = _wanted(targets, include, exclude)
        if placing := next((one for one in wanted if one.place), None):
            raise click.UsageError(f"A place, as in {placing}, is for --format cache.")
        write_bundle(
            BundleWanted(
                file=where,
                targets=tuple(one.target for one in wanted),
                everything=everything,
                since=since,
                since_last=since_last,
                split=_size(split),
                key=key,
                data=data,
                config=file,
                as_json=as_json,
            )
        )
        return
    folder = Path(where)
    if not targets and project is None:
        raise click.UsageError("Name the TARGETs, or the --file that lists them.")
    with usage():
        wanted = _wanted(targets, include, exclude) + _listed(project, groups, include, exclude)
        variables = _variables(files, pairs, "".join(targets))
        places = _places(variables, root, wanted, folder)
        for one in wanted:
            _ = places.below(one.place) if one.place else places.caches(*_of(one.target))
    voice: Telling = Events(folder) if as_json else Plain(folder)
    choice = Links(links)
    with ExitStack() as stack:
        stack.enter_context(voice)
        stack.enter_context(_stoppable())
        url, layout = stack.enter_context(_mirror(endpoint, data, file))
        asked = stack.enter_context(closing(Endpoint(url, token)))
        export = Export(
            folder,
            asked,
            places,
            voice,
            shelf=None if layout is None else lambda working: Shelf(layout, choice, working),
            real=choice is Links.NONE,
            verify=verify,
        )
        report = export.run(wanted)
        voice.end(report, _environment(report, places.root, wanted))
    if report.failed:
        sys.exit(FAILED)


def _refuse_others(form: str) -> None:
    """Refuse flags of the other format: a bundle that was not signed must not pass for one that is."""
    context = click.get_current_context()
    for one in context.command.params:
        name = str(one.name)
        typed = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        meant = next((other for other, names in _ONLY.items() if name in names), form)
        if typed and meant != form:
            raise click.UsageError(f"{one.opts[0]} is for --format {meant}.")


@contextmanager
def _stoppable() -> Iterator[None]:
    """Tell Ctrl-C as any other end that is too early: by a sentence, and what to do next."""
    try:
        yield
    except KeyboardInterrupt:
        raise MirrorError(
            "Stopped before the end.", hint="Export again: what has come is kept."
        ) from None


def _size(text: str | None) -> int | None:
    try:
        return None if text is None else parse_size(text)
    except ValueError as error:
        raise click.UsageError(f"--split: {error}.") from error


@contextmanager
def _mirror(
    endpoint: str | None, data: Path | None, file: Path | None
) -> Iterator[tuple[str, Layout | None]]:
    if endpoint is not None:
        yield endpoint, None
        return
    with mirror_of(data, file) as found:
        yield found


def _wanted(
    targets: Sequence[str], include: tuple[str, ...], exclude: tuple[str, ...]
) -> list[Wanted]:
    found = []
    for text in targets:
        target, place = placed(text)
        found.append(Wanted(Target.parse(target).only(include, exclude), place))
    return found


def _listed(
    project: Path | None,
    groups: tuple[str, ...],
    include: tuple[str, ...],
    exclude: tuple[str, ...],
) -> list[Wanted]:
    """The targets of a project's file. Raises `QuestionError`."""
    if project is None:
        if groups:
            raise QuestionError(
                "Groups are those of a file.", hint=f"Name it: --file {projects.FILE}."
            )
        return []
    return [Wanted(one.target.only(include, exclude)) for one in projects.read(project, groups)]


def _variables(files: Sequence[Path], pairs: Sequence[str], said: str) -> dict[str, str]:
    """The app's variables: those of the files, a later one before an earlier, and those that are set.

    Raises `ConfigError` for a file that cannot be read, and `QuestionError` for a variable that is set and
    that neither a client reads nor a place, in *said*, names.
    """
    found: dict[str, str] = {}
    for file in files:
        found.update(read_variables(file))
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.isidentifier() or not value:
            raise QuestionError(f"{pair!r} sets nothing.", hint="Write --set HF_HOME=/app/models.")
        found[name] = value
        if name not in KNOWN and not re.search(rf"\$\{{?{name}\b", said + " ".join(pairs)):
            raise QuestionError(
                f"No client that is known reads {name}, and no place names it.",
                hint=f"Known are {', '.join(sorted(KNOWN))}.",
            )
    return found


def _places(
    variables: Mapping[str, str], root: str | None, wanted: Sequence[Wanted], folder: Path
) -> Places:
    if root is None:
        asked = [(*_of(one.target), one.place) for one in wanted]
        root = common_root(variables, asked, str(folder.absolute()))
    elif not root.startswith("/"):
        raise QuestionError(
            f"--root {root!r} is no path of the app.",
            hint="Write one that begins with a slash, like /app/models.",
        )
    return Places(variables, root)


def _of(target: Target) -> tuple[Kind, str]:
    return target.kind, target.name if target.kind is Kind.URL else ""


def _environment(report: Report, root: str, wanted: Sequence[Wanted]) -> dict[str, str]:
    """What is to be set where the folder is at *root*."""
    found = {
        name: posixpath.normpath(posixpath.join(root, value))
        for name, value in sorted(report.environment.items())
    }
    if any(one.target.kind in REPOS and not one.place for one in wanted):
        # Else the Hub's clients look for newer files first, and would write them to a read-only folder.
        found["HF_HUB_OFFLINE"] = "1"
    return found
