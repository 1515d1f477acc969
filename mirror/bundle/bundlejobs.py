"""Bundles as orders: planned, imported, looked at and stopped over the operator's door.

As with adoptions one order begins the work, and whoever gave it looks again and again; nobody looking any
more means that they are gone. Blobs that a bundle is being written from, or that one which comes in needs,
are kept from eviction for as long. One import at a time.
"""

import base64
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from mirror.bundle.adopt import StoppedError
from mirror.bundle.adoptparts import Parts
from mirror.bundle.bundleexport import ExportWanted, Planned, plan
from mirror.bundle.bundleimport import Import, ImportWanted
from mirror.bundle.bundlemanifest import NAME, Member, read_has, write_has
from mirror.bundle.bundlepublish import finish
from mirror.bundle.bundleselect import AddressWanted, RepoWanted
from mirror.bundle.bundlesent import Sent
from mirror.digest import Digest
from mirror.errors import MirrorError, QuestionError
from mirror.names import Repo
from mirror.patterns import RepoPattern

Order: TypeAlias = Callable[[Mapping[str, Any]], Mapping[str, Any]]
Work: TypeAlias = Callable[["_Job"], Mapping[str, Any]]

# Whoever gave the order looks several times a second, and every few seconds while a bundle is written.
LEASE: Final = 120.0
_MOST: Final = 10_000


class Bundles:
    """The bundles of one data folder, with *parts*."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._lock = threading.Lock()
        self._jobs: dict[int, _Job] = {}
        self._number = 0

    @property
    def orders(self) -> Mapping[str, Order]:
        """The orders, by their names."""
        return {
            "bundle-plan": self._plan,
            "bundle-import": self._import,
            "bundle-look": self._look,
            "bundle-stop": self._stop,
            "bundle-end": self._end,
            "bundle-has": self._has,
        }

    def held(self) -> frozenset[Digest]:
        """The blobs that must not be evicted now."""
        with self._lock:
            jobs = list(self._jobs.values())
        return frozenset[Digest]().union(*(job.held for job in jobs if not job.forgotten))

    def finish(self) -> None:
        """Publish what a crash came before; to be called before anybody is served. Blocks."""
        finish(self._parts)

    def close(self) -> None:
        """Stop what is under way and wait for its end. Blocks."""
        for job in list(self._jobs.values()):
            job.stop()
            job.join()

    # ── orders ─────────────────────────────────────────────────────────────────────────────────

    def _plan(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        wanted = _export(arguments)

        def work(job: _Job) -> Mapping[str, Any]:
            job.planned = plan(self._parts, wanted, job, job.hold)
            return {
                "spool": str(job.planned.spool),
                "size": job.planned.size,
                "missing": job.planned.missing,
            }

        return self._begin("export", work)

    def _import(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        wanted, paths = _wanted(arguments), _paths(arguments)

        def work(job: _Job) -> Mapping[str, Any]:
            report = Import(self._parts, wanted, job, job.hold).run(paths)
            job.hold(frozenset())
            return report

        return self._begin("import", work)

    def _begin(self, kind: str, work: Work) -> Mapping[str, Any]:
        with self._lock:
            alive = [job for job in self._jobs.values() if job.is_alive() or not job.forgotten]
            if kind == "import" and any(
                job.kind == kind and job.is_alive() for job in self._jobs.values()
            ):
                raise QuestionError(
                    "This mirror is importing another bundle already.", hint="Wait for its end."
                )
            self._jobs = {job.number: job for job in alive}
            self._number += 1
            job = self._jobs[self._number] = _Job(self._number, kind, work)
            job.start()
            return {"job": self._number}

    def _look(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        return self._asked_for(arguments).look()

    def _stop(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        job = self._asked_for(arguments)
        job.stop()
        return job.look()

    def _end(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """A bundle is written, or given up: its blobs may go again, and what was sent is remembered."""
        job = self._asked_for(arguments)
        planned = job.planned
        if planned is not None and arguments.get("sent") and not job.is_alive():
            sent, manifest = Sent(self._parts.layout, self._parts.arrears), planned.manifest
            with self._lock:
                sent.remember(manifest.name, (*manifest.blobs, *manifest.held))
        self._jobs.pop(job.number, None)
        return {}

    def _has(self, _arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        blobs = (Member(blob.digest.hex, blob.size) for blob in self._parts.store.walk())
        return {"text": write_has(blobs).decode("ascii")}

    def _asked_for(self, arguments: Mapping[str, Any]) -> "_Job":
        job = self._jobs.get(arguments.get("job", 0))
        if job is None:
            raise QuestionError(
                "There is no such work on a bundle: the server was started again, or it is over."
            )
        return job


class _Job(threading.Thread):
    """One piece of work, on a thread of its own; hears how far it is (`mirror.bundle.adopt.Watch`)."""

    def __init__(self, number: int, kind: str, work: Work) -> None:
        super().__init__(name=f"bundle-{kind}", daemon=True)
        self.number = number
        self.kind = kind
        self.held: frozenset[Digest] = frozenset()
        self.planned: Planned | None = None
        self._work = work
        self._looked = time.monotonic()
        self._stopping = threading.Event()
        self._step, self._done, self._total = "look", 0, 0
        self._report: Mapping[str, Any] | None = None
        self._error: Mapping[str, Any] | None = None

    @property
    def forgotten(self) -> bool:
        """Whether nobody has looked for so long that nobody will."""
        return time.monotonic() - self._looked > LEASE

    def run(self) -> None:
        """Do it."""
        try:
            self._report = self._work(self)
        except StoppedError:
            self._error = {"error": "It was stopped.", "hint": "What was checked is kept."}
        except MirrorError as error:
            self._error = {"error": error.message, "hint": error.hint}
        except Exception as error:  # noqa: BLE001 -- told to whoever gave the order
            self._error = {"error": f"{type(error).__name__}: {error}", "hint": "Please report it."}

    def hold(self, blobs: frozenset[Digest]) -> None:
        """Keep *blobs* from eviction."""
        self.held = blobs

    def stop(self) -> None:
        """Have it stop at the next piece."""
        self._stopping.set()

    def look(self) -> Mapping[str, Any]:
        """How far it is, and, when it is over, its report or why there is none."""
        self._looked = time.monotonic()
        over = not self.is_alive()
        return {
            "step": self._step,
            "done": self._done,
            "total": self._total,
            "over": over,
            "report": self._report,
            "failed": self._error,
        }

    def begin(self, step: str, total: int) -> None:
        """Hear that a step begins."""
        self._step, self._done, self._total = step, 0, total

    def advance(self, amount: int) -> None:
        """Hear of progress; raises `StoppedError` when it is to end, but for the publishing."""
        self._done += amount
        if self._step != "publish" and (self._stopping.is_set() or self.forgotten):
            raise StoppedError("It was stopped.")


# ── arguments ──────────────────────────────────────────────────────────────────────────────────


def _export(arguments: Mapping[str, Any]) -> ExportWanted:
    try:
        name = str(arguments.get("name", "bundle"))
        if not NAME.match(name):
            raise QuestionError(
                f"{name!r} is no name of a series of bundles.",
                hint="Letters, digits, dots, dashes and underscores, 64 at most.",
            )
        since = arguments.get("since")
        return ExportWanted(
            everything=bool(arguments.get("everything")),
            repos=tuple(
                RepoWanted(Repo(hub, repo), revision, tuple(include), tuple(exclude))
                for hub, repo, revision, include, exclude in arguments.get("repos", [])
            ),
            addresses=tuple(
                AddressWanted(path, query, base64.b64decode(post))
                for path, query, post in arguments.get("addresses", [])
            ),
            name=name,
            has=None if since is None else read_has(Path(since).read_bytes()),
            since_last=bool(arguments.get("since_last")),
        )
    except OSError as error:
        raise QuestionError(f"{error.filename} cannot be read: {error.strerror}.") from error
    except (ValueError, TypeError) as error:
        raise QuestionError(f"The order cannot be read: {error}.") from error


def _wanted(arguments: Mapping[str, Any]) -> ImportWanted:
    signers = arguments.get("signers")
    try:
        grants = tuple(
            (RepoPattern.parse(str(pattern)).text, tuple(map(str, readers)))
            for pattern, readers in arguments.get("grants", [])
        )
    except (ValueError, TypeError) as error:
        raise QuestionError(f"{error}.") from error
    if signers is not None and not Path(signers).is_file():
        raise QuestionError(
            f"There is no file of allowed signers at {signers}.",
            hint='A line of it is like "NAME ssh-ed25519 AAAA…": see ssh-keygen(1).',
        )
    return ImportWanted(
        signers=None if signers is None else Path(signers),
        unsigned=bool(arguments.get("unsigned")),
        rollback=bool(arguments.get("rollback")),
        ask=bool(arguments.get("ask", True)),
        dry_run=bool(arguments.get("dry_run")),
        grants=grants,
    )


def _paths(arguments: Mapping[str, Any]) -> list[Path]:
    paths = arguments.get("paths")
    if not isinstance(paths, list) or not 0 < len(paths) <= _MOST:
        raise QuestionError("Name the files of the bundle.")
    if not all(
        isinstance(path, str) and path.startswith("/") and "\0" not in path for path in paths
    ):
        raise QuestionError("Files are named by their whole paths.")
    return [Path(path) for path in paths]
