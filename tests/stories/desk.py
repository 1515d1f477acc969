"""The desk of somebody who follows a page: a home, a folder to work in, and terminals that stay open."""

import contextlib
import os
import re
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.stories.page import Command, File, lacking

#: Longest that one command may take: a client imports a gigabyte of libraries.
_SECONDS: Final = 300
_LOOK_AGAIN_SECONDS: Final = 0.05
_STOP_SECONDS: Final = 30
_SYSTEM_PATH: Final = "/usr/local/bin:/usr/bin:/bin"
_ESCAPES: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

_SHELL: Final = ("bash", "--norc", "--noprofile", "-c")

# Reads commands from 3, each ended by a NUL, and says on 4 how each ended. `$?` is what the last one left.
_LOOP: Final = r"""
__ended=0
while IFS= read -r -d '' __typed <&3; do
    (exit "$__ended")
    eval "$__typed" </dev/null 3<&- 4>&-
    __ended=$?
    printf '%s\n' "$__ended" >&4
done
"""


class NotAsShownError(AssertionError):
    """Following the page came to something else than the page says."""


@dataclass(frozen=True, slots=True)
class Done:
    """What a command wrote, standard output and error as they came, and its exit code (None: it goes on)."""

    written: str
    code: int | None


class Terminal:
    """One shell. Variables, folder and `$?` stay from one command to the next, as in a person's."""

    def __init__(
        self, folder: Path, variables: Mapping[str, str], screen: Path, before: tuple[str, ...] = ()
    ) -> None:
        self._screen = screen
        self._read = 0
        self._busy = False
        commands, self._commands = os.pipe()
        self._ends, ends = os.pipe()
        with screen.open("ab") as output:
            self._shell = subprocess.Popen(
                [*before, *_SHELL, f"exec 3<&{commands} 4>&{ends}\n{_LOOP}"],
                cwd=folder,
                env=dict(variables),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(commands, ends),
                start_new_session=True,
            )
        os.close(commands)
        os.close(ends)

    @property
    def running(self) -> bool:
        """Whether the command that was typed last has not ended."""
        return self._busy

    def type(self, text: str) -> None:
        """Type a command; what is on the screen already is no longer looked at."""
        self._read = self._screen.stat().st_size
        self._busy = True
        os.write(self._commands, text.encode() + b"\0")

    def seen(self) -> str:
        """What was written since the last command was typed, without colours and cursor movements."""
        with self._screen.open("rb") as screen:
            screen.seek(self._read)
            return _ESCAPES.sub("", screen.read().decode(errors="replace"))

    def ended(self, seconds: float) -> int | None:
        """Wait for the command's end; its exit code, or None when it has not come in time."""
        if not select.select([self._ends], [], [], seconds)[0]:
            return None
        text = os.read(self._ends, 100)
        self._busy = False
        return int(text) if text else self._shell.wait(_STOP_SECONDS)  # the shell itself has gone

    def interrupt(self) -> None:
        """Press Ctrl-C, and wait until the command has ended; maybe the shell goes with it.

        Raises:
            NotAsShownError: It has not ended.
        """
        self._send(signal.SIGINT)
        if self.ended(_STOP_SECONDS) is None:
            raise NotAsShownError(f"Ctrl-C ended nothing in {_STOP_SECONDS} s:\n{self.seen()}")

    def close(self) -> None:
        """End everything that runs in it."""
        self._send(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._shell.wait(_STOP_SECONDS)
        self._send(signal.SIGKILL)
        self._shell.wait(_STOP_SECONDS)
        for pipe in (self._commands, self._ends):
            os.close(pipe)

    def _send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._shell.pid, number)


@dataclass
class Desk:
    """A home folder, a folder to work in, and what somebody types there.

    Attributes:
        place: An empty folder of the test; home and folder come below it.
        variables: What every new terminal has besides HOME, PATH and the language.
        path: Folders of commands, before those of the system.
        before: A program that becomes each terminal's shell, with its arguments.
    """

    place: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    path: tuple[Path, ...] = ()
    before: tuple[str, ...] = ()
    _terminals: list[Terminal] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Make the folders."""
        self.home.mkdir(parents=True)
        self.folder.mkdir()

    @property
    def home(self) -> Path:
        """The reader's home."""
        return self.place / "home"

    @property
    def folder(self) -> Path:
        """Where the reader works; every terminal opens there."""
        return self.home / "story"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        while self._terminals:
            self._terminals.pop().close()

    def open(self) -> Terminal:
        """Open a terminal."""
        path = [self.home / ".local" / "bin", *self.path]
        variables = {
            "HOME": str(self.home),
            "PATH": ":".join([*map(str, path), _SYSTEM_PATH]),
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            "PYTHONUNBUFFERED": "1",  # as before a person
            **self.variables,
        }
        handle, screen = tempfile.mkstemp(prefix="screen-", dir=self.place)
        os.close(handle)
        terminal = Terminal(self.folder, variables, Path(screen), self.before)
        self._terminals.append(terminal)
        return terminal

    def save(self, file: File) -> None:
        """Save a file of the page."""
        path = self.folder / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.text, encoding="utf-8")

    def run(self, terminal: Terminal, command: Command) -> Done:
        """Type a command and wait until it has ended, or, if it goes on, written what is shown.

        Raises:
            NotAsShownError: It did not write what is shown, or did neither in time.
        """
        terminal.type(command.text)
        code = None
        deadline = time.monotonic() + _SECONDS
        wait = _LOOK_AGAIN_SECONDS if command.goes_on else _SECONDS
        while time.monotonic() < deadline and code is None:
            code = terminal.ended(wait)
            if command.goes_on and lacking(command.output, terminal.seen()) is None:
                break
        written = terminal.seen()
        line = lacking(command.output, written)
        if line is not None:
            raise NotAsShownError(f"{command.text}\ndid not write: {line}\nbut:\n{written[-6000:]}")
        if code is None and not command.goes_on:
            raise NotAsShownError(
                f"{command.text}\ndid not end in {_SECONDS} s:\n{written[-6000:]}"
            )
        if code is not None and command.goes_on:
            raise NotAsShownError(f"{command.text}\nended with {code}:\n{written[-6000:]}")
        return Done(written, code)

    def stop(self) -> None:
        """Press Ctrl-C in the newest terminal that is still running a command of its own."""
        running = [terminal for terminal in self._terminals[1:] if terminal.running]
        if not running:
            raise NotAsShownError("nothing runs that Ctrl-C could stop")
        running[-1].interrupt()


def typed(name: str, program: Path, folder: Path) -> None:
    """Put a program on the path as *name*, in *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).symlink_to(program)
