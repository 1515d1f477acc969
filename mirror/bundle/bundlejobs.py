"""Bundles as orders: planned, imported, looked at and stopped over the operator's door.

Blobs that a bundle is being written from, or that one which comes in needs,
are kept from eviction for as long. One import at a time.
"""

import base64
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from mirror.bundle.bundleexport import ExportWanted, Planned, plan
from mirror.bundle.bundleimport import Import, ImportWanted
from mirror.bundle.bundlemanifest import NAME, Member, read_has, write_has
from mirror.bundle.bundlepublish import finish
from mirror.bundle.bundleselect import AddressWanted, RepoWanted
from mirror.bundle.bundlesent import Sent
from mirror.bundle.jobs import Job, Jobs, Order
from mirror.bundle.parts import Parts
from mirror.digest import Digest
from mirror.errors import QuestionError
from mirror.names import Repo
from mirror.patterns import RepoPattern

Work: TypeAlias = Callable[["_Job"], Mapping[str, Any]]

# Whoever gave the order looks several times a second, and every few seconds while a bundle is written.
LEASE: Final = 120.0
_MOST: Final = 10_000


class Bundles:
    """The bundles of one data folder, with *parts*."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._lock = threading.Lock()
        self._jobs: Jobs[_Job] = Jobs("work on a bundle")

    @property
    def orders(self) -> Mapping[str, Order]:
        """The orders, by their names."""
        return {
            "bundle-plan": self._plan,
            "bundle-import": self._import,
            "bundle-look": self._jobs.look,
            "bundle-stop": self._jobs.stop,
            "bundle-end": self._end,
            "bundle-has": self._has,
        }

    def held(self) -> frozenset[Digest]:
        """The blobs that must not be evicted now."""
        jobs = self._jobs.known()
        return frozenset[Digest]().union(*(job.held for job in jobs if not job.forgotten))

    def finish(self) -> None:
        """Publish what a crash came before; to be called before anybody is served. Blocks."""
        finish(self._parts)

    def close(self) -> None:
        """Stop what is under way and wait for its end. Blocks."""
        self._jobs.close()

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

        return self._jobs.start(_Job("export", work))

    def _import(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        wanted, paths = _wanted(arguments), _paths(arguments)

        def work(job: _Job) -> Mapping[str, Any]:
            report = Import(self._parts, wanted, job, job.hold).run(paths)
            job.hold(frozenset())
            return report

        return self._jobs.start(
            _Job("import", work), alone="This mirror is importing another bundle already."
        )

    def _end(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """A bundle is written, or given up: its blobs may go again, and what was sent is remembered."""
        job = self._jobs.asked_for(arguments)
        planned = job.planned
        if planned is not None and arguments.get("sent") and not job.is_alive():
            sent, manifest = Sent(self._parts.layout, self._parts.arrears), planned.manifest
            with self._lock:
                sent.remember(manifest.name, (*manifest.blobs, *manifest.held))
        self._jobs.end(job)
        return {}

    def _has(self, _arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        blobs = (Member(blob.digest.hex, blob.size) for blob in self._parts.store.walk())
        return {"text": write_has(blobs).decode("ascii")}


class _Job(Job):
    """Work on a bundle; its blobs are kept from eviction after its end, too, while somebody looks."""

    def __init__(self, kind: str, work: Work) -> None:
        super().__init__(
            f"bundle-{kind}",
            lambda _watch: work(self),
            lease=LEASE,
            kept="What was checked is kept.",
            whole="publish",
        )
        self.held: frozenset[Digest] = frozenset()
        self.planned: Planned | None = None

    @property
    def needed(self) -> bool:
        """Whether it is to be known still when another is begun."""
        return super().needed or not self.forgotten

    def hold(self, blobs: frozenset[Digest]) -> None:
        """Keep *blobs* from eviction."""
        self.held = blobs


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
