"""How the last run ended: in good order, by being killed, or with the machine.

A process that is killed loses nothing that it had written: the kernel still has it. When the machine itself
goes down, the index's last transactions go with it, for they are not synced one by one. So a file marks a
run and names the machine's start that it belongs to; whoever finds it knows that the last run did not end,
and whether the machine has been started since.
"""

import enum
from pathlib import Path
from typing import Final

from mirror.store import durable
from mirror.store.layout import Layout

# proc(5): changes with every start of the kernel; containers see that of their host.
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")

_UNKNOWN: Final = "unknown"


class End(enum.Enum):
    """How the last run ended."""

    CLEAN = "clean"
    KILLED = "killed"
    POWER_CUT = "power-cut"


def boot_id() -> str | None:
    """The name of this start of the machine; `None` where the system does not tell."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


class RunMark:
    """The mark of a run in the data folder of *layout*; *boot* is `boot_id` of this machine.

    Where that is unknown, every end that was not clean counts as a power cut.
    """

    def __init__(self, layout: Layout, boot: str | None) -> None:
        self._layout = layout
        self._boot = boot or _UNKNOWN

    def begin(self) -> End:
        """Mark this run, on the disk when this returns, and tell how the last one ended.

        Raises `StoreError` when the mark cannot be made.
        """
        last = self.last()
        durable.write(
            self._layout.temporary(), self._layout.running, f"{self._boot}\n".encode("ascii")
        )
        return last

    def last(self) -> End:
        """How the last run ended, as far as the mark tells."""
        try:
            mark = self._layout.running.read_bytes().strip()
        except FileNotFoundError:
            return End.CLEAN
        except OSError:
            return End.POWER_CUT
        same = mark == self._boot.encode("ascii") and self._boot != _UNKNOWN
        return End.KILLED if same else End.POWER_CUT

    def end(self) -> None:
        """Take the mark away: everything is on the disk.

        Should a power cut bring it back, the next start only rebuilds what it need not.
        """
        durable.remove(self._layout.running)
