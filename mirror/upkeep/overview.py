"""The orders that tell what is here: in all, repo by repo, file by file, and for whom."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from mirror import __version__
from mirror.digest import Digest
from mirror.errors import QuestionError
from mirror.index.protocol import StoredBlob
from mirror.names import ADOPTED, ADOPTED_WHOLE, Ref, Repo, Snapshot, Visibility, adopted
from mirror.patterns import spell
from mirror.upkeep.desk import Desk
from mirror.upkeep.holdings import Held, Holdings
from mirror.upkeep.naming import NamedAddress, NamedBlob, NamedRepo
from mirror.upkeep.pins import Pin
from mirror.upkeep.saying import Order, flag, target, text

_UNKNOWN: Final = "unknown"
_UNPINNED: Final = "(not pinned)"
_NO_PROJECT: Final = "(of no project)"


class Overview:
    """Tells of what is at *desk*."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._holdings = Holdings(desk)
        self._catalog = desk.index.catalog

    def orders(self) -> Mapping[str, Order]:
        """``status``, ``stats``, ``ls``, ``names`` and ``du``."""
        return {
            "status": self._status,
            "stats": self._stats,
            "ls": self._ls,
            "names": self._names,
            "du": self._du,
        }

    # ── in all ─────────────────────────────────────────────────────────────────────────────────

    def _status(self, _arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        desk, ledger = self._desk, self._desk.ledger
        totals = self._catalog.totals()
        leftovers = list(desk.partials.leftovers())
        running = {} if desk.report is None else dict(desk.report())
        repos = self._catalog.repos(public_only=False)
        return {
            "version": __version__,
            "data": str(desk.layout.data),
            "running": desk.report is not None,
            **{
                name: running[name]
                for name in ("state", "reasons", "uptime", "upstreams", "fills")
                if name in running
            },
            "blobs": totals.blobs,
            "bytes": totals.size,
            "repos": len(repos),
            "closed_repos": sum(1 for row in repos if audience(row.visibility) != "public"),
            "pins": len(desk.pins.held()),
            "grants": len(desk.grants.held()),
            "used": ledger.used,
            "reserved": ledger.reserved,
            "quota": ledger.quota,
            "free": ledger.available(),
            "partials": {
                "count": len(leftovers),
                "bytes": sum(leftover.held for leftover in leftovers),
            },
            "quarantine": desk.store.quarantined(),
            "trouble": desk.index.arrears.trouble,
        }

    def _stats(self, _arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        report = dict(self._desk.history.report())
        return {**report, "saved": self._desk.history.totals().saved}

    # ── what is here ───────────────────────────────────────────────────────────────────────────

    def _ls(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Every repo and address; the revisions of a repo; the files of a revision, or with ``files``."""
        if not text(arguments, "target"):
            return self._everything()
        named = target(arguments)
        match named:
            case NamedRepo(revision=revision):
                repo = self._holdings.find(named)
                if revision or flag(arguments, "files"):
                    return self._files(repo, revision)
                return self._revisions(repo)
            case NamedAddress():
                address = self._desk.book.look(named)
                held = self._holdings.held(address.blobs)
                if not address.keys and not held.blobs:
                    raise QuestionError(
                        f"Nothing of {named} is here.", hint="`modelmirror ls` lists what is."
                    )
                return {"addresses": [self._address_row(address.text, held)]}
            case NamedBlob(digest):
                return {"blob": self._blob(digest)}

    def _names(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """What is here and begins like ``begun``, by name alone: for who types it."""
        begun = text(arguments, "begun")
        repos = {spell(row.repo): row.repo for row in self._catalog.repos(public_only=False)}
        name, at, _ = begun.partition("@")
        refs = self._catalog.refs(repos[name]) if at and name in repos else ()
        found = {
            "repos": repos,
            "revisions": [f"{name}@{ref.revision}" for ref in refs if ref.revision != ref.commit],
            "addresses": [address.text for address in self._desk.book.every()],
            "pins": [str(pin.named) for pin in self._desk.pins.held()],
        }
        return {
            kind: sorted(name for name in names if name.startswith(begun))
            for kind, names in found.items()
        }

    def _everything(self) -> Mapping[str, Any]:
        held, pins = self._holdings.repos(), self._desk.pins.held()
        rows = []
        for row in self._catalog.repos(public_only=False):
            mine = held.get(row.repo, Held())
            rows.append(
                {
                    "hub": row.repo.hub,
                    "name": spell(row.repo),
                    "audience": audience(row.visibility),
                    "revisions": len(self._holdings.commits(row.repo, "")),
                    "files": row.files,
                    "stored": len(mine.blobs),
                    "bytes": mine.size,
                    "last_used": self._last_used(mine.used),
                    "pinned_for": sorted(_pinned_for(pins, row.repo)),
                }
            )
        addresses = [
            self._address_row(text, held) for text, (_, held) in self._holdings.addresses().items()
        ]
        return {"repos": rows, "addresses": addresses}

    def _address_row(self, text: str, held: Held) -> Mapping[str, Any]:
        pins = [pin for pin in self._desk.pins.held() if isinstance(pin.named, NamedAddress)]
        mine = [pin for pin in pins if set(self._desk.pins.digests_of(pin)) & held.blobs.keys()]
        return {
            "address": text,
            "stored": len(held.blobs),
            "bytes": held.size,
            "digests": [str(digest) for digest in held.blobs],
            "last_used": self._last_used(held.used),
            "pinned_for": sorted({owner for pin in mine for owner in pin.owners}),
        }

    def _revisions(self, repo: Repo) -> Mapping[str, Any]:
        refs: dict[str, list[Ref]] = {}
        for ref in self._catalog.refs(repo):
            refs.setdefault(ref.commit, []).append(ref)
        pins = self._desk.pins.held()
        rows = []
        for commit in self._holdings.commits(repo, ""):
            names = [ref.revision for ref in refs.get(commit, ()) if ref.revision != commit]
            told = (self._catalog.snapshot(repo, name) for name in (commit, adopted(commit)))
            snapshot = next(filter(None, told), None)
            files, blobs = 0, dict[Digest, StoredBlob]()
            for entry in self._holdings.entries(repo, commit):
                files += 1
                blob = self._holdings.blob_of(entry.digest)
                if blob is not None:
                    blobs[blob.digest] = blob
            held = Held(blobs)
            seen = [ref.seen_at for ref in refs.get(commit, ())]
            rows.append(
                {
                    "revision": sorted(names),
                    "commit": commit,
                    "list": _state(snapshot),
                    "files": files,
                    "stored": len(blobs),
                    "bytes": held.size,
                    "seen": max([*seen, *([snapshot.seen_at] if snapshot else [])], default=None),
                    "last_used": self._last_used(held.used),
                    "pinned_for": sorted(_pinned_for(pins, repo, {commit, *names})),
                }
            )
        visibility = self._catalog.visibility(repo)
        return {"name": spell(repo), "audience": audience(visibility), "revisions": rows}

    def _files(self, repo: Repo, revision: str) -> Mapping[str, Any]:
        rows: dict[tuple[str, str], Mapping[str, Any]] = {}
        for commit in self._holdings.commits(repo, revision):
            for entry in self._holdings.entries(repo, commit):
                blob = self._holdings.blob_of(entry.digest)
                rows[entry.path, str(entry.digest)] = {
                    "path": entry.path,
                    "size": entry.size,
                    "digest": str(entry.digest),
                    "sha256": None if blob is None else blob.digest.hex,
                    "stored": blob is not None,
                    "last_used": None if blob is None else self._last_used(blob.used),
                }
        ordered = [rows[key] for key in sorted(rows)]
        return {"name": spell(repo), "revision": revision, "files": ordered}

    def _blob(self, digest: Digest) -> Mapping[str, Any]:
        blob = self._catalog.blob(digest)
        if blob is None:
            raise QuestionError(f"{digest} is not stored.")
        addresses = self._holdings.addresses()
        return {
            "digest": str(digest),
            "size": blob.size,
            "last_used": self._last_used(blob.used),
            "needed_by": [
                *(spell(repo) for repo in self._catalog.holders(digest)),
                *(text for text, (_, held) in addresses.items() if digest in held.blobs),
            ],
            "pinned_for": sorted(
                owner for owner, held in self._holdings.pins().items() if digest in held.blobs
            ),
        }

    def _last_used(self, used: int) -> float | None:
        """The time of a use, to the hour; `None` where nothing is stored."""
        if not used:
            return None
        when = self._desk.lastuse.when(used)
        return self._desk.clock.wall() if when is None else when

    # ── for whom ───────────────────────────────────────────────────────────────────────────────

    def _du(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """What each owner needs: repos and addresses, or with ``by`` of ``project`` those who pinned.

        ``projects`` are more of these: what each has, by digests.
        """
        by = text(arguments, "by") or "repo"
        if by == "repo":
            owners = {spell(repo): held for repo, held in self._holdings.repos().items()}
            owners |= {text: held for text, (_, held) in self._holdings.addresses().items()}
        elif by == "project":
            owners = dict(self._holdings.pins())
            for name, held in self._projects(arguments):
                owners.setdefault(name, Held()).blobs.update(held.blobs)
            owners[_NO_PROJECT if arguments.get("projects") else _UNPINNED] = self._rest(owners)
        else:
            raise QuestionError("du is by repo or by project.")
        needed: dict[Digest, int] = {}
        for held in owners.values():
            for digest in held.blobs:
                needed[digest] = needed.get(digest, 0) + 1
        totals = self._catalog.totals()
        named = {digest: blob for held in owners.values() for digest, blob in held.blobs.items()}
        rows = [
            {"owner": owner, **_shares(held, needed)}
            for owner, held in sorted(owners.items())
            if held.blobs
        ]
        return {
            "by": by,
            "rows": rows,
            "bytes": totals.size,
            "unnamed": totals.size - sum(blob.size for blob in named.values()),
        }

    def _projects(self, arguments: Mapping[str, Any]) -> Iterator[tuple[str, Held]]:
        """What ``projects`` name by digests, as upstream publishes them or as blobs are called."""
        said = arguments.get("projects", {})
        if not isinstance(said, dict):
            raise QuestionError("The argument projects has a list of digests for each name.")
        for name, digests in said.items():
            try:
                blobs = [self._holdings.blob_of(Digest.parse(digest)) for digest in digests]
            except (TypeError, ValueError, AttributeError) as error:
                raise QuestionError(f"The digests of {name!r} cannot be read.") from error
            yield name, Held({blob.digest: blob for blob in blobs if blob is not None})

    def _rest(self, owners: Mapping[str, Held]) -> Held:
        """What is stored and in no pin."""
        pinned = {digest for held in owners.values() for digest in held.blobs}
        rest = (blob for blob in self._stored() if blob.size and blob.digest not in pinned)
        return Held({blob.digest: blob for blob in rest})

    def _stored(self) -> Iterator[StoredBlob]:
        page = self._catalog.least_recent(after=0, limit=1000)
        while page:
            yield from page
            page = self._catalog.least_recent(after=page[-1].used, limit=1000)


def audience(seen: Visibility | None) -> str:
    """Who may read, in a word: what was never seen counts as private."""
    if seen is None:
        return _UNKNOWN
    return "private" if seen.private else "gated" if seen.gated else "public"


def _state(snapshot: Snapshot | None) -> str:
    """How much of a file list is known, and whether upstream or a client's cache told it."""
    if snapshot is None:
        return _UNKNOWN
    return ADOPTED if snapshot.view in {ADOPTED, ADOPTED_WHOLE} else snapshot.state.value


def _pinned_for(pins: tuple[Pin, ...], repo: Repo, revisions: set[str] | None = None) -> set[str]:
    """Those who pinned *repo*, or one of its *revisions*."""
    return {
        owner
        for pin in pins
        if isinstance(pin.named, NamedRepo)
        and pin.named.repo == repo
        and (revisions is None or not pin.named.revision or pin.named.revision in revisions)
        for owner in pin.owners
    }


def _shares(held: Held, needed: Mapping[Digest, int]) -> Mapping[str, int]:
    only = sum(blob.size for blob in held.blobs.values() if needed[blob.digest] == 1)
    return {
        "files": len(held.blobs),
        "bytes": held.size,
        "only": only,
        "shared": held.size - only,
    }
