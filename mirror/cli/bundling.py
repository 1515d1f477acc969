"""`modelmirror export --format bundle`: what is here, for a mirror that has no network."""

import base64
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from mirror.bundle.bundlemanifest import Manifest
from mirror.bundle.bundlesigning import sign
from mirror.bundle.bundlewriting import OneFile, Sink, SplitFile, Stream, Writing
from mirror.bundle.choosing import chosen
from mirror.bundle.endpoint import Endpoint
from mirror.bundle.places import Places
from mirror.bundle.planning import Planner
from mirror.cli.inside import mirror_of
from mirror.cli.ownmirror import Give
from mirror.cli.settings import read
from mirror.cli.shown import counted
from mirror.cli.working import Progress, followed, given_to, giving
from mirror.errors import MirrorError, QuestionError
from mirror.store.layout import Layout
from mirror.targets import REPOS, Kind, Target
from mirror.units import format_size

_HUB: Final = "huggingface"
_KINDS: Final = {Kind.MODEL: "models", Kind.DATASET: "datasets", Kind.SPACE: "spaces"}
# The server keeps what is being written from eviction as long as it is looked after.
_HEARTBEAT: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleWanted:
    """What the flags say; *split* is in bytes, *series* a name with *since_last*."""

    file: str
    targets: tuple[Target, ...]
    everything: bool
    since: Path | None
    since_last: str
    split: int | None
    key: Path | None
    data: Path | None
    config: Path | None
    as_json: bool


def write_bundle(wanted: BundleWanted) -> None:
    """Write the bundle. Raises `MirrorError`; nothing that looks like a bundle is left then."""
    to_pipe = wanted.file == "-"
    if to_pipe and wanted.split is not None:
        raise click.UsageError("Parts are files: give a FILE with --split.")
    if to_pipe and sys.stdout.isatty():
        raise click.UsageError("A bundle is no text: lead standard output to a file or a program.")
    if wanted.everything == bool(wanted.targets):
        raise click.UsageError("Name the TARGETs, or --all.")
    voice = Progress(as_json=wanted.as_json, events_on_stderr=to_pipe)
    with voice, _mirror(wanted) as (give, url, layout):
        job = give("bundle-plan", _arguments(wanted, url))
        sent = False
        try:
            planned = followed(give, job, voice.follow)
            report = _write(wanted, layout, planned, voice, give, job)
            sent = True
        finally:
            give("bundle-end", {**job, "sent": sent})
    _tell(report, voice, as_json=wanted.as_json)


@contextmanager
def _mirror(wanted: BundleWanted) -> Iterator[tuple[Give, str, Layout]]:
    """How to give orders, where the mirror serves (``""`` where it need not), and its data folder."""
    if all(target.kind in REPOS for target in wanted.targets):
        settings = read({"data": wanted.data}, wanted.config).settings
        with giving(settings) as give:
            yield give, "", Layout(settings.data)
        return
    with mirror_of(wanted.data, wanted.config) as (url, layout):
        yield given_to(layout), url, layout


def _arguments(wanted: BundleWanted, url: str) -> dict[str, Any]:
    repos, addresses = [], dict[tuple[str, str], None]()
    others = [target for target in wanted.targets if target.kind not in REPOS]
    for target in wanted.targets:
        if target.kind in REPOS:
            name = f"{_KINDS[target.kind]}/{target.name}"
            revision = target.revision or "main"
            globs = [list(target.include), list(target.exclude)]
            repos.append([_HUB, name, revision, *globs])
    if others:
        with closing(_Listening(url)) as endpoint:
            planner = Planner(endpoint, Places({}, "/bundle"), chosen, real=False)
            for target in others:
                plan = planner.plan(target, "files/" if target.kind is Kind.URL else "")
                sources = [file.source for file in plan.files]
                sources += [archive.source for archive in plan.archives]
                for source in (*endpoint.asked, *sources):
                    path, _, query = source.partition("?")
                    addresses[path, query] = None
    return {
        "everything": wanted.everything,
        "repos": repos,
        "addresses": [[path, query, base64.b64encode(b"").decode()] for path, query in addresses],
        "name": wanted.since_last or "bundle",
        "since": None if wanted.since is None else str(wanted.since.absolute()),
        "since_last": bool(wanted.since_last),
    }


class _Listening(Endpoint):
    """An endpoint that remembers the documents it was asked for: a target needs them elsewhere, too."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.asked: list[str] = []

    def document(self, target: str, *, restricted: bool = False) -> Any:
        """Fetch a small body whole, and remember which."""
        found = super().document(target, restricted=restricted)
        self.asked.append(target)
        return found


def _write(
    wanted: BundleWanted,
    layout: Layout,
    planned: Mapping[str, Any],
    voice: Progress,
    give: Give,
    job: Mapping[str, Any],
) -> Mapping[str, Any]:
    with _spool(Path(planned["spool"])) as spool:
        data = os.pread(spool, planned["size"], 0)
        manifest = Manifest.decode(data)
        signature = b"" if wanted.key is None else sign(data, wanted.key)
        writing = Writing(layout, manifest, data, spool)
        length, done, beat = writing.length(signature), 0, time.monotonic()

        def advance(size: int) -> None:
            nonlocal done, beat
            done += size
            voice.look("write", done, length)
            if time.monotonic() - beat > _HEARTBEAT:
                give("bundle-look", job)
                beat = time.monotonic()

        sink, paths = _sink(wanted, length, writing.bundle)
        try:
            writing.write(sink, signature, advance)
            sink.finish()
        except BrokenPipeError as error:
            raise MirrorError("Whoever reads the bundle has gone away.") from error
        except OSError as error:
            sink.abandon()
            raise MirrorError(f"The bundle cannot be written: {error.strerror}.") from error
        except BaseException:
            sink.abandon()
            raise
    return {
        **manifest.summary(writing.bundle, ""),
        "signed": bool(signature),
        "files": [str(path) for path in paths],
        "length": length,
        "held": len(manifest.held),
        "missing": planned["missing"],
    }


def _sink(wanted: BundleWanted, length: int, bundle: str) -> tuple[Sink, Sequence[Path]]:
    if wanted.file == "-":
        sys.stdout.flush()
        return Stream(sys.stdout.fileno()), []
    path = Path(wanted.file)
    if not path.parent.is_dir():
        raise QuestionError(f"There is no folder {path.parent}.", hint="Make it first.")
    if wanted.split is None:
        return OneFile(path), [path]
    split = SplitFile(path, wanted.split, length, bundle)
    return split, split.paths


@contextmanager
def _spool(path: Path) -> Any:
    """The file that was planned into, open; it has no name any more."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise MirrorError(
            f"{path} cannot be read: {error.strerror}.",
            hint="Export as the user whose the data folder is.",
        ) from error
    try:
        path.unlink(missing_ok=True)
        yield fd
    finally:
        os.close(fd)


def _tell(report: Mapping[str, Any], voice: Progress, *, as_json: bool) -> None:
    if as_json:
        voice.say("report", report)
        return
    repos, blobs = report["repos"], report["blobs"]
    where = ", ".join(report["files"]) or "standard output"
    click.echo(
        f"{where}: {format_size(report['length'])}, {counted(blobs['files'], 'blob')} of"
        f" {counted(len(repos), 'repo')} and {counted(report['addresses'], 'address')};"
        f" number {report['serial']} of {report['series']}.",
        err=True,
    )
    if report["held"]:
        click.echo(
            f"Left out, for the receiver has them: {counted(report['held'], 'blob')}.", err=True
        )
    if report["missing"]:
        click.echo(
            f"Not here, so not in it: {counted(report['missing'], 'file')} that these repos list.",
            err=True,
        )
    closed = [item["repo"] for item in repos if item["audience"] != "public"]
    if closed:
        click.echo(f"Not open to all: {', '.join(closed[:20])}.", err=True)
    if not report["signed"]:
        click.echo("It is not signed: --sign KEY does that.", err=True)
