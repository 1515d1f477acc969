"""Adoptions as orders, one at a time."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from mirror.bundle.adopt import Adoption
from mirror.bundle.adoptoptions import Options
from mirror.bundle.adopttake import Link
from mirror.bundle.jobs import Job, Jobs, Order, Watch
from mirror.bundle.parts import Parts
from mirror.errors import QuestionError
from mirror.patterns import RepoPattern

# Whoever gave the order looks several times a second.
LEASE: Final = 60.0
_MAX_PATHS: Final = 1000


class Adoptions:
    """The adoptions of one data folder, with *parts*."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._jobs: Jobs[Job] = Jobs("adoption")

    @property
    def orders(self) -> Mapping[str, Order]:
        """The orders, by their names."""
        return {
            "adopt": self._begin,
            "adopt-look": self._jobs.look,
            "adopt-stop": self._jobs.stop,
        }

    def close(self) -> None:
        """Stop what is under way and wait for its end. Blocks."""
        self._jobs.close()

    def _begin(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        paths, options = _paths(arguments), _options(arguments)

        def work(watch: Watch) -> Mapping[str, Any]:
            return Adoption(self._parts, options, watch).run(paths).form()

        return self._jobs.start(
            Job("adopt", work, lease=LEASE, kept="What was taken is whole and stays."),
            alone="This mirror is taking over another cache already.",
        )


def _paths(arguments: Mapping[str, Any]) -> list[Path]:
    paths = arguments.get("paths")
    if not isinstance(paths, list) or not 0 < len(paths) <= _MAX_PATHS:
        raise QuestionError("Name the folders to take over.")
    if not all(
        isinstance(path, str) and path.startswith("/") and "\0" not in path for path in paths
    ):
        raise QuestionError("Folders are named by their whole paths.")
    return [Path(path) for path in paths]


def _options(arguments: Mapping[str, Any]) -> Options:
    try:
        return Options(
            link=Link(arguments.get("link", Link.REFLINK.value)),
            dry_run=bool(arguments.get("dry_run")),
            unverified=bool(arguments.get("unverified")),
            ask=bool(arguments.get("ask", True)),
            grants=tuple(RepoPattern.parse(str(text)) for text in arguments.get("grants", [])),
        )
    except (ValueError, TypeError) as error:
        raise QuestionError(f"{error}.") from error
