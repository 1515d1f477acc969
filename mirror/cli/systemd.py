"""What systemd and a service say to one another: readiness, a watchdog, a socket handed over.

A few datagrams and variables, each told by one of its manual pages: sd_notify(3),
sd_watchdog_enabled(3), sd_listen_fds(3). Whatever started the mirror otherwise sets none of them.
"""

import os
import socket
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Final, Self

from mirror.errors import ConfigError

_FIRST: Final = 3  # SD_LISTEN_FDS_START: those before it are standard input, output and error
_PATIENCE: Final = 1.0  # seconds for a manager whose queue is full; then the word is lost


@dataclass(frozen=True, slots=True)
class Manager:
    """The service manager that started this process, if one did.

    *address* is its socket, empty for none; *watchdog* the seconds within which it wants to hear of us
    again and again, `None` if it does not care; *handed* the descriptors that it listens on for us.
    """

    address: str = ""
    watchdog: float | None = None
    handed: tuple[int, ...] = ()

    @classmethod
    def read(cls, environment: MutableMapping[str, str], pid: int) -> Self:
        """Take what the manager said to the process *pid* out of *environment*.

        It is taken out, for no child of ours is the one that was meant; what was said to another process
        stays. What cannot be read counts as not said.
        """
        address = environment.pop("NOTIFY_SOCKET", "")
        span = None
        if _meant_for(pid, environment.get("WATCHDOG_PID", str(pid))):
            microseconds = _number(environment.pop("WATCHDOG_USEC", ""))
            environment.pop("WATCHDOG_PID", None)
            span = microseconds / 1e6 if microseconds else None
        handed: tuple[int, ...] = ()
        if _meant_for(pid, environment.get("LISTEN_PID", "")):
            handed = tuple(range(_FIRST, _FIRST + _number(environment.pop("LISTEN_FDS", ""))))
            environment.pop("LISTEN_PID")
            environment.pop("LISTEN_FDNAMES", None)
        # A path, or a name that stands in no folder; others, such as vsock, are for whole machines.
        return cls(address if address.startswith(("/", "@")) else "", span, handed)

    def tell(self, *words: str) -> None:
        """Tell the manager *words* like ``READY=1``; without one, or when it does not listen, nothing."""
        if not self.address:
            return
        address = "\0" + self.address[1:] if self.address[0] == "@" else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as way:
                way.settimeout(_PATIENCE)
                way.sendto("\n".join(words).encode(), address)
        except OSError:
            return  # It then does what it does with a service that says nothing: it has its own log.

    def listener(self) -> socket.socket | None:
        """The socket that the manager listens on for us; `None` if it handed none over.

        Raises `ConfigError` where it is more than one, or none that HTTP comes in by.
        """
        if not self.handed:
            return None
        if len(self.handed) > 1:
            raise ConfigError(
                f"systemd handed {len(self.handed)} sockets over, and the mirror listens on one.",
                hint="Keep one ListenStream= in the socket unit; [::]:8090 takes IPv4 too.",
            )
        try:
            os.set_inheritable(self.handed[0], False)  # noqa: FBT003 -- it has no name there
            found = socket.socket(fileno=self.handed[0])
        except OSError as error:
            raise ConfigError(
                f"What systemd handed over is no socket: {error.strerror}.",
                hint="Is there a ListenStream= in the socket unit?",
            ) from error
        if (
            found.family not in {socket.AF_INET, socket.AF_INET6}
            or found.type != socket.SOCK_STREAM
            or not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        ):
            found.close()
            raise ConfigError(
                "The socket that systemd handed over does not listen for TCP connections.",
                hint="Write ListenStream=127.0.0.1:8090 in the socket unit, and Accept=no.",
            )
        return found


def _meant_for(pid: int, text: str) -> bool:
    return text == str(pid)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0
