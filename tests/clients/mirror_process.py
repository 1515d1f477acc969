"""The mirror as its user runs it: a process of its own, found by the first line that it prints."""

import contextlib
import dataclasses
import os
import re
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from tests.origin import Origin

ROOT = Path(__file__).resolve().parents[2]

_FIRST_LINE = re.compile(r"modelmirror listening on (http://\S+)")
_START_SECONDS = 30
_STOP_SECONDS = 20


@dataclasses.dataclass(frozen=True, slots=True)
class MirrorProcess:
    """A running mirror: its base URL, its data folder and where its standard error goes."""

    url: str
    data: Path
    log: Path
    process: subprocess.Popen[str]


@contextlib.contextmanager
def running_mirror(
    origin: Origin,
    folder: Path,
    *,
    ref_lifetime: str = "1h",
    settings: Mapping[str, str] | None = None,
    before: Sequence[str] = (),
) -> Iterator[MirrorProcess]:
    """Run a mirror of the origin for as long as the block lasts.

    Args:
        origin: What it mirrors.
        folder: Holds the data folder and the log; a second run on it finds what the first stored.
        ref_lifetime: How long it believes a branch without asking.
        settings: More of the environment.
        before: A program that becomes the mirror's, with its arguments.

    Raises:
        AssertionError: It did not start, or did not end by itself when asked to.
    """
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("MODELMIRROR_") and not name.lower().endswith("_proxy")
    }
    environment |= {
        "MODELMIRROR_HUGGINGFACE_UPSTREAMS": origin.url,
        "MODELMIRROR_REDIRECT_HOSTS": ",".join(origin.redirect_hosts),
        "MODELMIRROR_HUGGINGFACE_REF_LIFETIME": ref_lifetime,
        **(settings or {}),
    }
    folder.mkdir(parents=True, exist_ok=True)
    data, log = folder / "data", folder / "mirror.log"
    command = [*before, sys.executable, "-m", "mirror", "serve", "--port", "0", "--data", str(data)]
    with (
        log.open("a") as errors,
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            line = _first_line(process.stdout)
            match = _FIRST_LINE.match(line)
            assert match, f"the mirror began with {line!r}:\n{log.read_text()[-4000:]}"
            yield MirrorProcess(match.group(1), data, log, process)
        finally:
            process.terminate()
            try:
                process.communicate(timeout=_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                raise AssertionError(
                    f"the mirror did not end within {_STOP_SECONDS} s of SIGTERM:\n"
                    f"{log.read_text()[-4000:]}",
                ) from None


def _first_line(stream: IO[str]) -> str:
    """Read one line, or what there is of it when the time to start has passed."""
    deadline = time.monotonic() + _START_SECONDS
    line = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            if not selector.select(max(0.0, deadline - time.monotonic())):
                break
            byte = os.read(stream.fileno(), 1)
            if not byte:
                break
            line += byte
    return line.decode()
