"""`docker compose up` at a desk where there is no engine: compose files are played in chroots.

The program on the path hands what was typed to a `Project` of the test, and shows what its services wrote as
Docker Compose does: each line after the name of its service. It knows ``compose up`` of the file in this
folder, with ``--exit-code-from`` or without, and nothing else.
"""

import json
import shlex
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import unquote_plus

from tests.doubles.http_server import HttpServer
from tests.shipped.compose import NotStartedError, Project

_FILE: Final = "compose.yaml"
_PROGRAM: Final = """#!/bin/sh
answer=$(mktemp)
code=$(curl -s -o "$answer" -w '%header{{x-exit-code}}' --get --data-urlencode "=$*" {url}) || exit 125
cat "$answer"
rm "$answer"
exit "$code"
"""


@dataclass(frozen=True, slots=True)
class _Ended:
    text: str
    code: int


class Engine(HttpServer):
    """Plays the compose file of a folder for as long as the block lasts.

    *project* makes the project of a file; its services run until the end. *folder* gets the program `docker`.
    """

    def __init__(self, project: Callable[[Path], Project], folder: Path, place: Path) -> None:
        self._make = project
        self._project: Project | None = None
        self._folder = folder
        self._file = place / _FILE

    def __enter__(self) -> Self:
        super().__enter__()
        self._folder.mkdir(parents=True, exist_ok=True)
        program = self._folder / "docker"
        program.write_text(_PROGRAM.format(url=self.url))
        program.chmod(0o755)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
        if self._project is not None:
            self._project.__exit__(kind, error, trace)

    def answer(self, handler: BaseHTTPRequestHandler, headers: Mapping[str, str]) -> None:
        """Run the command that is the query, and hand over what it wrote and its exit code."""
        del headers
        ended = self.run(shlex.split(unquote_plus(handler.path.partition("?")[2])))
        body = ended.text.encode()
        handler.send_response(200)
        handler.send_header("X-Exit-Code", str(ended.code))
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def run(self, words: list[str]) -> _Ended:
        """What comes of a command; what it writes is handed over when all is done."""
        if words[:2] != ["compose", "up"]:
            return _Ended(f"docker: not played here: {shlex.join(words)}\n", 125)
        if self._project is None:
            self._project = self._make(self._file)
        project = self._project
        project.ended.clear()
        (last,) = set(project.services) - {
            other for one in project.services.values() for other in one.get("depends_on", ())
        }
        note = ""
        try:
            project.up(last)
        except NotStartedError as error:
            note = f"service {json.dumps(str(error))}\n"
        except (AssertionError, OSError, subprocess.SubprocessError) as error:
            note = f"docker: {error}\n"
        shown = [
            f"{name}  | {line}\n"
            for name, done in project.ended.items()
            for line in (done.stdout + done.stderr).splitlines()
        ]
        codes = [done.returncode for done in project.ended.values() if done.returncode]
        return _Ended("".join(shown) + note, codes[0] if codes else 125 if note else 0)
