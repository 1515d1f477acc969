"""Exporting native caches: what each target needs is planned, what is missing is brought, and written down.

The way of one target: a manifest that says it is whole ends it, without a request where its name pins its
bytes. Else the mirror tells what it is (`mirror.bundle.planning`), each of its files is looked for where it
is to be, taken from the store or brought over the wire (`mirror.bundle.laying`), put in place and noted. A
target is written into the manifest once it has everything.
"""

import errno
import os
import shutil
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from mirror.bundle.choosing import chosen
from mirror.bundle.endpoint import AnswerRefusedError, Endpoint, UnreachableError
from mirror.bundle.laying import Laid, Laying
from mirror.bundle.manifest import Manifest, Needed, shape_of
from mirror.bundle.outcome import Outcome, Report, Voice, Wanted
from mirror.bundle.places import Places
from mirror.bundle.placing import Placing
from mirror.bundle.plan import Plan
from mirror.bundle.planning import Planner, versions
from mirror.bundle.store import Shelf
from mirror.bundle.transfer import Transfer
from mirror.errors import MirrorError, StoreFullError, StoreUnusableError
from mirror.store import durable
from mirror.targets import REPOS, Kind
from mirror.units import format_size

# How many files come at once: small ones wait for answers more than for bytes.
AT_ONCE: Final = 8

WORKING: Final = ".modelmirror.partial"

# A mirror says so where it has not what was asked, and nobody to ask.
_NOT_HERE: Final = 501
# There is no such thing, here or upstream: what is written wrongly is not missed for ever.
_NOWHERE: Final = frozenset({400, 404})


@dataclass(frozen=True, slots=True)
class _Job:
    """A target to be laid out; *before* is what it had when it was laid out the same way.

    *whole* tells whether it still has all of that.
    """

    outcome: Outcome
    plan: Plan
    shape: str
    before: Needed | None
    whole: bool

    def needed(self, files: Sequence[str], state: str = "") -> Needed:
        """What the manifest is to say of it."""
        return Needed(
            target=str(self.outcome.wanted),
            files=tuple(dict.fromkeys(files)),
            links=tuple(self.plan.links),
            shape=self.shape,
            state=state,
            rest={} if self.before is None else self.before.rest,
        )


class Export:
    """One export into *folder* from the mirror at *endpoint*.

    *shelf* makes what takes from the store, where it is on this machine, of the working folder. With *real*
    there are no symbolic links; with *verify* everything is hashed again.
    """

    def __init__(
        self,
        folder: Path,
        endpoint: Endpoint,
        places: Places,
        voice: Voice,
        *,
        shelf: Callable[[Path], Shelf] | None,
        real: bool,
        verify: bool,
    ) -> None:
        self._folder = folder
        self._working = folder / WORKING
        self._endpoint = endpoint
        self._places = places
        self._voice = voice
        self._shelf = None if shelf is None else shelf(self._working)
        self._real = real
        self._verify = verify
        self._stop = threading.Event()

    def run(self, wanted: Sequence[Wanted]) -> Report:
        """Lay *wanted* out. Raises `MirrorError` where the folder cannot be used at all."""
        lock = self._opened()
        try:
            return self._run([Outcome(one) for one in dict.fromkeys(wanted)])
        except StoreFullError as error:
            raise _full(error) from error
        finally:
            if self._shelf is not None:
                self._shelf.close()
            lock.release()

    def _run(self, outcomes: Sequence[Outcome]) -> Report:
        manifest = Manifest.load(self._folder)
        if self._verify:
            self._voice.expect(_held(manifest, outcomes))
            manifest.advance = self._voice.advance
        handles = [
            outcome.wanted.target.name
            for outcome in outcomes
            if outcome.wanted.target.kind is Kind.TFHUB and not outcome.wanted.place
        ]
        planner = Planner(
            self._endpoint, self._places, chosen, real=self._real, newest=versions(handles)
        )
        laying = self._laying(manifest)
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="export") as pool:
            try:
                self._all(outcomes, planner, laying, pool)
            except BaseException:
                self._halt()
                pool.shutdown(wait=True, cancel_futures=True)
                raise
            finally:
                laying.save()
        report = Report(outcomes, dict(manifest.environment))
        if not report.failed:  # Else what has come of the others is not forgotten.
            manifest.prune()
            manifest.save()
            shutil.rmtree(self._working, ignore_errors=True)
        return report

    # ── the folder ─────────────────────────────────────────────────────────────────────────────

    def _opened(self) -> durable.StoreLock:
        """Make the folder ready, and keep others out of it."""
        lock = durable.StoreLock(self._working / "lock")
        try:
            if not self._folder.exists():
                self._folder.mkdir(parents=True)
                self._folder.chmod(0o755)  # whatever the umask is
            self._working.mkdir(mode=0o700, exist_ok=True)
            lock.acquire()
        except StoreUnusableError as error:
            raise StoreUnusableError(
                f"{self._folder} cannot be exported to now: another export is under way.",
                hint="Wait for its end, or stop it.",
            ) from error
        except OSError as error:
            uid, gid = os.geteuid(), os.getegid()
            hint = "Name a folder that can be written to."
            if error.errno in {errno.EACCES, errno.EPERM}:
                there = next(one for one in (self._folder, *self._folder.parents) if one.exists())
                hint = f"Give it to that user: chown -R {uid}:{gid} {there}"
            raise StoreUnusableError(
                f"User {uid} cannot write to {self._folder}: {error.strerror}.", hint=hint
            ) from error
        for left in self._working.glob("new-*"):  # What a run that was killed had half made.
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left, ignore_errors=True)
            else:
                durable.remove(left)
        return lock

    def _laying(self, manifest: Manifest) -> Laying:
        return Laying(
            folder=self._folder,
            manifest=manifest,
            endpoint=self._endpoint,
            transfer=Transfer(
                self._endpoint, self._working, advance=self._voice.advance, stop=self._stop
            ),
            placing=Placing(self._folder, self._working),
            shelf=self._shelf,
            meter=self._voice,
            verify=self._verify,
            placed=self._voice.placed,
        )

    def _room_for(self, size: int) -> None:
        """Refuse what cannot fit before any of it comes; what is taken from the store may need no room."""
        partial = sum(
            entry.stat().st_size for entry in os.scandir(self._working) if entry.is_file()
        )
        free = durable.free_bytes(self._folder)
        if self._shelf is None and size - partial > free:
            raise StoreFullError(
                f"{format_size(size - partial)} are to come, and {self._folder} has room for"
                f" {format_size(free)}.",
                needed=size - partial,
                free=free,
            )

    def _halt(self) -> None:
        self._stop.set()
        self._endpoint.abort()
        if self._shelf is not None:
            self._shelf.close()

    # ── targets ────────────────────────────────────────────────────────────────────────────────

    def _all(
        self,
        outcomes: Sequence[Outcome],
        planner: Planner,
        laying: Laying,
        pool: ThreadPoolExecutor,
    ) -> None:
        planned = [pool.submit(self._planned, outcome, planner, laying) for outcome in outcomes]
        jobs = [job for future in planned if (job := future.result()) is not None]
        for job in _clashing(jobs):
            jobs.remove(job)
            self._voice.ended(job.outcome)
        missing = sum(
            file.size or 0 for job in jobs for file in job.plan.files if not laying.here(file)
        )
        self._room_for(missing)
        self._voice.expect(missing)
        for job in jobs:
            if not job.whole:  # Else what it had is good until it has what is newer.
                laying.promise(job.needed(()), job.plan)
        laying.save()
        running = [(job, self._begun(job, laying, pool)) for job in jobs]
        for job, futures in running:
            laid = []
            for future in futures:
                try:
                    laid.append(future.result())
                except StoreFullError as error:
                    job.outcome.error = job.outcome.error or _full(error)
                    self._halt()  # Nothing else will fit either.
                except MirrorError as error:
                    job.outcome.error = job.outcome.error or error
                except OSError as error:
                    job.outcome.error = job.outcome.error or self._unusable(error)
            self._finish(job, laid, laying)

    def _planned(self, outcome: Outcome, planner: Planner, laying: Laying) -> _Job | None:
        """The plan of a target, `None` where there is nothing to do for it, or nothing can be."""
        wanted = outcome.wanted
        try:
            shape = self._shape(wanted)
            before = laying.manifest.targets.get(str(wanted))
            if before is not None and before.shape != shape:
                before = None
            whole = before is not None and not laying.manifest.lacks(before, read=self._verify)
            if not (whole and wanted.target.pinned):
                try:
                    plan = planner.plan(wanted.target, wanted.place)
                    if wanted.target.kind is Kind.TFHUB:
                        plan = self._without_others(plan)
                    return _Job(outcome, plan, shape, before, whole)
                except (AnswerRefusedError, UnreachableError) as error:
                    if not whole or getattr(error, "status", _NOT_HERE) != _NOT_HERE:
                        raise
                    outcome.note = f"Whether it has changed could not be asked: {error}"
            assert before is not None  # noqa: S101 -- whole
            self._count(outcome, before.files, laying)
        except MirrorError as error:
            outcome.error = error
        self._voice.ended(outcome)
        return None

    def _without_others(self, plan: Plan) -> Plan:
        """*plan* without the handles that an earlier run has unpacked a model of their own for."""
        links = {
            path: to
            for path, to in plan.links.items()
            if (self._folder / path).is_symlink() or not (self._folder / path).is_dir()
        }
        return replace(plan, links=links)

    def _begun(self, job: _Job, laying: Laying, pool: ThreadPoolExecutor) -> Sequence[Future[Laid]]:
        what = str(job.outcome.wanted.target)
        plan = job.plan
        files = [
            pool.submit(laying.file, file, expected=file.size is not None) for file in plan.files
        ]
        archives = [
            pool.submit(laying.archive, archive, job.before, what) for archive in plan.archives
        ]
        return [*files, *archives]

    def _finish(self, job: _Job, laid: Sequence[Laid], laying: Laying) -> None:
        """Make what goes with the files of a target, and write down that it has everything."""
        outcome, plan = job.outcome, job.plan
        outcome.fetched = sum(one.fetched for one in laid)
        try:
            if outcome.error is None:
                for path, content in plan.made.items():
                    laying.small(path, content, keep=path in plan.seeds)
                for path, to in plan.links.items():
                    laying.link(path, to)
                paths = [path for one in laid for path in one.paths]
                state = "\n".join(sorted(one.tag for one in laid if one.tag))
                needed = job.needed([*paths, *plan.made], state)
                laying.keep(needed, plan.environment)
                self._count(outcome, needed.files, laying)
            elif getattr(outcome.error, "status", 0) in _NOWHERE and not job.whole:
                laying.withdraw(str(outcome.wanted))
        except StoreFullError as error:
            outcome.error = _full(error)
        except MirrorError as error:
            outcome.error = error
        except OSError as error:
            outcome.error = self._unusable(error)
        self._voice.ended(outcome)

    def _unusable(self, error: OSError) -> MirrorError:
        return durable.disk_error(error, f"{error.filename or self._folder} cannot be used")

    def _count(self, outcome: Outcome, paths: Sequence[str], laying: Laying) -> None:
        outcome.files = len(paths)
        outcome.size = sum(laying.manifest.files[path].size for path in paths)

    def _shape(self, wanted: Wanted) -> str:
        """All that decides where the files of a target go, as one word."""
        target = wanted.target
        if wanted.place:
            where = [self._places.below(wanted.place)]
        else:
            url = target.name if target.kind is Kind.URL else ""
            where = [folder.path for folder in self._places.caches(target.kind, url)]
        globs = [f"+{glob}" for glob in target.include] + [f"-{glob}" for glob in target.exclude]
        links = (
            "links"
            if not self._real and (target.kind in REPOS or target.kind is Kind.TFHUB)
            else ""
        )
        return shape_of(str(target), globs, where, links)


def _clashing(jobs: Sequence[_Job]) -> Sequence[_Job]:
    """Those that have other content for a path than one before them; each gets an error that says so."""
    claims: dict[str, tuple[str, frozenset[object]]] = {}
    found = []
    for job in jobs:
        mine = job.plan.claims()
        clash = next(
            (path for path in mine if path in claims and not claims[path][1] & mine[path]), ""
        )
        if clash:
            job.outcome.error = MirrorError(
                f"{claims[clash][0]} and {job.outcome.wanted} have different files for {clash}.",
                hint="Give one of them another place: TARGET=PATH.",
            )
            found.append(job)
        else:
            claims.update({path: (str(job.outcome.wanted), names) for path, names in mine.items()})
    return found


def _held(manifest: Manifest, outcomes: Sequence[Outcome]) -> int:
    """Bytes that the manifest has of these targets: so many are read again."""
    targets = (manifest.targets.get(str(outcome.wanted)) for outcome in outcomes)
    paths = {path for needed in targets if needed is not None for path in needed.files}
    return sum(manifest.files[path].size for path in paths if path in manifest.files)


def _full(error: StoreFullError) -> StoreFullError:
    return StoreFullError(
        error.message,
        needed=error.needed,
        free=error.free,
        hint="Free some space on that disk and export again: what has come is kept.",
    )
