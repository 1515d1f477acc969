"""Removing what is stored, and what is known of it.

The journal says first what is to go, and last that it has gone; in between blobs go, then what the index
knows, then the records. Whoever is killed on the way has it finished at the next start (`resume`), so
that nothing of it comes back from a record, and what is left without a name is no more than `gc` finds. What
is being served meanwhile is served to its end: its file stays open.
"""

import threading
from collections.abc import Mapping
from typing import Any, Final

from mirror.digest import Digest
from mirror.errors import QuestionError, StoreUnusableError
from mirror.index.lines import Forget, Line, Note, Unlink
from mirror.names import Repo, adopted
from mirror.store import durable
from mirror.upkeep.desk import Desk
from mirror.upkeep.naming import NamedAddress
from mirror.upkeep.removalplan import Planner, Removal
from mirror.upkeep.saying import Order, flag, target, text

REMOVAL: Final = "removal"

_BATCH: Final = 256  # deletions per transaction of the index
_SHOWN: Final = 100  # blobs that are kept for others, named one by one


class Removals:
    """Carries removals out at *desk*, one at a time."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.planner = Planner(desk)
        self._lock = threading.Lock()

    def orders(self) -> Mapping[str, Order]:
        """``rm`` and ``accept``."""
        return {"rm": self._rm, "accept": self._accept}

    def _rm(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        plan = self.planner.plan(target(arguments), text(arguments, "path"))
        if flag(arguments, "dry_run"):
            names = self._desk.store.names
            return _told(plan, sum(b.size for b in plan.free if names(b.digest) == 1), dry=True)
        return _told(plan, self.carry_out(plan), dry=False)

    def _accept(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        named = target(arguments)
        if not isinstance(named, NamedAddress):
            raise QuestionError(
                "Only the content of an address on another host can be accepted.",
                hint="A repo's files are what their digests say, or nothing.",
            )
        plans = self.planner.plan_anew(named)
        for plan in plans:
            self.carry_out(plan)
        return {"accepted": [plan.what for plan in plans]}

    def carry_out(self, plan: Removal) -> int:
        """Do what *plan* says; it is on the disk when this returns. Returns the bytes given back.

        Raises `StoreError`; what was begun then is finished at the next start.
        """
        with self._lock:
            return self._carry_out(plan)

    def _carry_out(self, plan: Removal) -> int:
        index = self._desk.index
        index.arrears.settle()
        if index.arrears.trouble:
            raise StoreUnusableError(
                f"Nothing can be removed while the disk takes nothing: {index.arrears.trouble}"
            )
        if plan.forgets:
            index.journal.append([Note(REMOVAL, plan.what, plan.form()), *_taken_back(plan)])
        freed = self._free(plan)
        if plan.forgets:
            self._forget(plan)
            index.catalog.finish()
            # Once more, for whoever learned something of it while it went: he was before its end.
            index.journal.append([*_taken_back(plan), Note(REMOVAL, plan.what, None)])
        return freed

    def resume(self) -> None:
        """Finish what a kill interrupted; to be called before anybody is served. Raises `StoreError`."""
        for what, form in self._desk.index.journal.notes(REMOVAL).items():
            plan = _read(what, form)
            if plan.repo is not None:
                # As far as the facts are still there, the blobs that were to go are found by them.
                self.planner.weigh(plan)
            self.carry_out(plan)

    def _free(self, plan: Removal) -> int:
        """Delete the blobs, the index first: the other way round one that comes anew would be forgotten."""
        desk, freed = self._desk, 0
        for start in range(0, len(plan.free), _BATCH):
            batch = plan.free[start : start + _BATCH]
            desk.index.catalog.dropped([blob.digest for blob in batch]).result()
            left = {blob.digest: blob for blob in batch}
            try:
                for blob in batch:
                    freed += desk.store.delete(blob.digest)
                    del left[blob.digest]
            finally:
                if left:
                    again = [(blob.digest, blob.size) for blob in left.values()]
                    desk.index.catalog.stored(again).result()
        if plan.expected:
            for leftover in list(desk.partials.leftovers()):
                if leftover.expected in plan.expected:
                    freed += desk.partials.discard(leftover.expected)
        return freed

    def _forget(self, plan: Removal) -> None:
        index, paths = self._desk.index, []
        if plan.repo is not None:
            for commit in (name for each in plan.commits for name in (each, adopted(each))):
                index.catalog.forget(plan.repo, commit)
                paths.append(index.records.path(plan.repo, commit))
            if plan.whole:
                index.catalog.forget(plan.repo)
        index.catalog.forget_replies(plan.replies)
        paths += [index.records.reply_path(key) for key in plan.replies]
        index.catalog.unlink(plan.unlink)
        folders = durable.FolderSyncs()
        # A record that was being written of what the index knew a moment ago must not come after.
        with index.arrears.still():
            for path in paths:
                if path.exists():
                    durable.remove(path)
                    folders.add(path.parent)
        folders.sync()


def _taken_back(plan: Removal) -> list[Line]:
    """What the journal said before and is to hold no longer."""
    lines: list[Line] = [Unlink(name) for name in plan.unlink]
    if plan.repo is not None and plan.whole:
        return [*lines, Forget(plan.repo, "")]
    if plan.repo is not None:
        lines += [Forget(plan.repo, commit) for commit in plan.commits]
    return lines


def _read(what: str, form: Mapping[str, Any]) -> Removal:
    """The removal that the journal has kept; of what cannot be read as much as can."""
    repo, unlink = form.get("repo"), form.get("unlink", [])
    return Removal(
        what,
        Repo(str(repo[0]), str(repo[1])) if isinstance(repo, list) and len(repo) == 2 else None,
        tuple(map(str, form.get("commits", []))),
        whole=form.get("whole") is True,
        replies=tuple(map(str, form.get("replies", []))),
        unlink=tuple(Digest.parse(str(name)) for name in unlink),
    )


def _told(plan: Removal, freed: int, *, dry: bool) -> Mapping[str, Any]:
    """What *plan* did, or would do, JSON-ready."""
    kept = list(plan.kept.items())
    return {
        "what": plan.what,
        "dry_run": dry,
        "revisions": len(plan.commits),
        "blobs": len(plan.free),
        "freed": freed,
        "kept_blobs": len(kept),
        "kept_bytes": sum(blob.size for blob, _ in kept),
        "kept": [
            {"digest": str(blob.digest), "size": blob.size, "needed_by": why}
            for blob, why in kept[:_SHOWN]
        ],
    }
