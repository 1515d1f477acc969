"""Who waits at a terminal is told so; a program is told nothing."""

import io
import threading

from mirror.cli.patience import patience


class _Terminal(io.StringIO):
    """A stream that says it is a terminal, and when it has been written to twice."""

    def __init__(self) -> None:
        super().__init__()
        self.twice = threading.Event()
        self._writes = 0

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self._writes += 1
        if self._writes == 2:
            self.twice.set()
        return super().write(text)


def test_patience_tells_a_terminal_how_long_it_takes() -> None:
    """A line that is written anew, and gone at the end."""
    terminal = _Terminal()
    with patience("Removing", terminal, every=0.001):
        assert terminal.twice.wait(10)
    shown = terminal.getvalue()
    assert shown.startswith("\rRemoving: 0 s")
    assert shown.endswith("\r\x1b[K")


def test_patience_says_nothing_of_what_is_quick_or_to_a_file() -> None:
    """Before the first second is over, and where nobody looks."""
    terminal, file = _Terminal(), io.StringIO()
    with patience("Looking", terminal, every=60), patience("Looking", file, every=0.001):
        pass
    assert terminal.getvalue() == file.getvalue() == ""
