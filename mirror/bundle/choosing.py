"""Which files of a repo a target means: those that its loader reads, of what its globs leave."""

from collections.abc import Iterator, Sequence

from mirror.bundle import loaders
from mirror.bundle.layouts import Member
from mirror.errors import MirrorError
from mirror.targets import Target


def chosen(target: Target, members: Iterator[Member]) -> Sequence[Member]:
    """The files that the target's loader and globs mean, the latter as huggingface_hub reads them.

    Raises `MirrorError` where there are none.
    """
    found = list(members)
    if target.loader:
        read = loaders.chosen(target.loader, [member.path for member in found], str(target))
        found = [member for member in found if member.path in read]
    if target.include or target.exclude:
        # Here, for it takes 0.2 s that most exports need not pay.
        from huggingface_hub.utils._paths import filter_repo_objects  # noqa: PLC0415

        found = list(
            filter_repo_objects(
                found,
                allow_patterns=list(target.include) or None,
                ignore_patterns=list(target.exclude) or None,
                key=lambda member: member.path,
            )
        )
    if not found:
        why = " that --include and --exclude leave over" if target.include or target.exclude else ""
        raise MirrorError(f"{target} has no file{why}.")
    return found
