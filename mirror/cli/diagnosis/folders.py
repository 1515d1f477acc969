"""A model that lies in one folder while its client will look in another."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mirror.cli.diagnosis.findings import Finding, export, quoted
from mirror.cli.diagnosis.holdings import LAYOUTS, folders_below
from mirror.cli.diagnosis.looks import Look
from mirror.cli.diagnosis.variables import offline_switches

# More names than this in one sentence are counted.
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Holding:
    """That in *folder* lies what has *layout*: *models*, by their paths below it."""

    layout: str
    folder: Path
    models: Mapping[str, str]


def holdings(roots: Sequence[Path], looks: Sequence[Look]) -> list[Holding]:
    """What lies in and below *roots*, and where the *looks* lead."""
    places = [*roots, *(folder for look in looks for folder in look.folders)]
    return [
        Holding(layout, folder, models)
        for folder in folders_below(places)
        for layout, read in LAYOUTS.items()
        if (models := read(folder))
    ]


def check_folders(looks: Sequence[Look], held: Sequence[Holding]) -> Iterator[Finding]:
    """Find models of *held* that lie where none of the *looks*, or not all of them, will find them."""
    for holding in held:
        of_it = [look for look in looks if look.layout == holding.layout]
        finders = [look for look in of_it if _is_in(holding.folder, look.folders)]
        others = [look for look in of_it if look not in finders]
        for look in others:
            there = {
                path
                for other in held
                if other.layout == holding.layout and _is_in(other.folder, look.folders)
                for path in other.models
            }
            lost = {path: name for path, name in holding.models.items() if path not in there}
            if lost:
                yield _misplaced(holding.folder, lost, look, finders, empty=not there)


def check_offline(
    environment: Mapping[str, str], looks: Sequence[Look], held: Sequence[Holding]
) -> Iterator[Finding]:
    """Find that clients may ask nobody and have nothing."""
    switches = offline_switches(environment)
    folders = [folder for look in looks if look.layout == "hub" for folder in look.folders]
    of_hub = [holding for holding in held if holding.layout == "hub"]
    if not switches or any(_is_in(holding.folder, folders) for holding in of_hub):
        return
    mend = export(HF_HUB_CACHE=str(of_hub[0].folder)) if of_hub else f"unset {' '.join(switches)}"
    verb = "keeps" if len(switches) == 1 else "keep"
    yield Finding(
        kind="offline-and-empty",
        where=switches[0],
        what=f"{' and '.join(switches)} {verb} Hub clients from asking anybody, and {folders[0]} holds"
        " no model.",
        mend=mend,
    )


def _misplaced(
    folder: Path, lost: Mapping[str, str], look: Look, finders: Sequence[Look], *, empty: bool
) -> Finding:
    names = list(lost.values())
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    lie = "lies" if len(names) == 1 else "lie"
    by = f", by {look.why}" if look.why else ""
    only = f", where only {' and '.join(each.who for each in finders)} will look" if finders else ""
    return Finding(
        kind="misplaced",
        where=str(folder),
        what=f"{', '.join(names[:_NAMED])}{more} {lie} in {folder}{only};"
        f" {look.who} will look in {look.folders[0]}{by}.",
        mend=_mend(folder, lost, look, empty=empty),
        note=bool(finders),
    )


def _mend(folder: Path, lost: Mapping[str, str], look: Look, *, empty: bool) -> str:
    """Name the folder if nothing else is where the client looks, else put links there."""
    up = [folder, *folder.parents]
    fits = look.up < len(up) and (not look.up or folder.name == look.folders[0].name)
    if look.variable and empty and fits:
        return export(**{look.variable: str(up[look.up])})
    target = look.folders[0]
    by_folder: dict[str, list[str]] = {}
    for path in lost:
        by_folder.setdefault(path.rpartition("/")[0], []).append(path)
    lines = []
    for below, paths in by_folder.items():
        at = target / below if below else target
        links = " ".join(quoted(folder / path) for path in paths)
        lines.append(f"mkdir -p {quoted(at)} && ln -s {links} {quoted(at)}/")
    return " && ".join(lines)


def _is_in(folder: Path, folders: Sequence[Path]) -> bool:
    """Whether *folder* is one of *folders*, by whatever path."""
    return any(_same(folder, other) for other in folders)


def _same(one: Path, other: Path) -> bool:
    try:
        return one == other or one.samefile(other)
    except OSError:
        return False
