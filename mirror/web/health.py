"""The state of the mirror for probes: 200 while anything can be served, and what is wrong in sentences.

Probes come every few seconds from many places, so nothing here grows with what is stored.
"""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any, Final

from mirror.cache.keeper import Keeper
from mirror.cache.shelf import Shelf
from mirror.errors import MirrorError
from mirror.web.frame import mapping, number

_UNREADABLE: Final = "The index cannot be read: nothing can be served."


class Health:
    """Answers probes from what *keeper* reports and *shelf* holds, which is read in *pool*."""

    def __init__(self, keeper: Keeper, shelf: Shelf | None, pool: Executor) -> None:
        self._keeper = keeper
        self._pool = pool
        self._shelf = shelf

    async def look(self, query: Mapping[str, Sequence[str]]) -> tuple[int, Mapping[str, Any]]:
        """The status of the answer and what it says; where *query* has a ``target`` also whether it is here.

        ``include`` and ``exclude`` are globs over the files of a repo. Raises `QuestionError` for what is no
        target.
        """
        try:
            report = dict(self._keeper.report())
        except MirrorError:
            return 503, {"status": "unhealthy", "reasons": [_UNREADABLE]}
        serving = bool(report.pop("serving", True))
        if not serving:
            report["status"] = "unhealthy"
        kinds = [mapping(hub) for hub in mapping(report.get("cached")).values()]
        report["models_cached"] = sum(int(number(hub.get("models"))) for hub in kinds)
        if traffic := mapping(report.get("traffic")):
            # The hours are the home page's; here they would be most of the answer.
            report["traffic"] = {key: value for key, value in traffic.items() if key != "hours"}
        if self._shelf is not None and (target := query.get("target")):
            globs = (query.get(name, ()) for name in ("include", "exclude"))
            look = partial(_present, self._shelf, target[0], *globs)
            report |= await asyncio.get_running_loop().run_in_executor(self._pool, look)
        return 200 if serving else 503, report


def _present(shelf: Shelf, target: str, *globs: Sequence[str]) -> Mapping[str, Any]:
    # What plans targets is imported by the first probe that names one, not by every start.
    from mirror.bundle.present import Present  # noqa: PLC0415

    return Present(shelf).look(target, *globs)
