"""``python -m tests.faults.sabotage ERROR serve …``: a mirror with a fault in the program itself.

Requests whose repo ends in ``--ask``, ``--follow`` or ``--fetch`` meet an ERROR (a built-in exception)
where the mirror asks, follows a fill, or receives.
"""

import builtins
import sys
from collections.abc import Callable
from typing import Any

from mirror.cache.fills import Fills
from mirror.cache.pullthrough import PullThrough
from mirror.cli import main
from mirror.upstream.transfer import Transfers


def _spoil(owner: type, name: str, mark: str, kind: type[BaseException], *, later: bool) -> None:
    real: Callable[..., Any] = getattr(owner, name)

    def spoiled(*arguments: Any, **more: Any) -> Any:
        if any(mark in repr(argument) for argument in arguments[1:]):
            raise kind("sabotage")
        return real(*arguments, **more)

    async def spoiled_later(*arguments: Any, **more: Any) -> Any:
        return await spoiled(*arguments, **more)

    setattr(owner, name, spoiled_later if later else spoiled)


if __name__ == "__main__":
    error = getattr(builtins, sys.argv.pop(1))
    _spoil(PullThrough, "ask", "--ask", error, later=True)
    _spoil(Fills, "follow", "--follow", error, later=True)
    _spoil(Transfers, "fetch", "--fetch", error, later=False)
    main()
