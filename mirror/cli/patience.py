"""Whoever waits at a terminal for longer than a second is told that something goes on."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TextIO

# How long nothing is said, and how often the line is written anew then, in seconds.
EVERY: Final = 1.0


@contextmanager
def patience(what: str, stream: TextIO | None = None, every: float = EVERY) -> Iterator[None]:
    """Say on *stream* (standard error) how long *what* has been going on, if it is a terminal."""
    stream = sys.stderr if stream is None else stream
    if not stream.isatty():
        yield
        return
    over = threading.Event()

    def tell() -> None:
        seconds = 0.0
        while not over.wait(every):
            seconds += every
            stream.write(f"\r{what}: {seconds:.0f} s")
            stream.flush()
        if seconds:
            stream.write("\r\x1b[K")  # the line is for what comes of it
            stream.flush()

    teller = threading.Thread(target=tell, name="patience", daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()
