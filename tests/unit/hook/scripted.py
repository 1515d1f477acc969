"""A server that stands for a mirror, or for a host that is asked directly, and programs that ask it."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Final

from mirror.hook import FOLDER
from tests.doubles.http_server import HttpServer, send

ASKER: Final = Path(__file__).with_name("asker.py")
SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came; *headers* have lower-case names."""

    method: str
    target: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered: by default the target itself."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


class Scripted(HttpServer):
    """Answers every request, by target as *replies* say, until its context ends; `seen` keeps them all."""

    def __init__(self, replies: Mapping[str, Reply] | None = None) -> None:
        self.replies = dict(replies or {})
        self.seen: list[Request] = []

    @property
    def targets(self) -> list[str]:
        """What was asked for, in order, without the questions whether it lives."""
        return [request.target for request in self.seen if request.target != "/-/live"]

    def answer(self, handler: BaseHTTPRequestHandler, headers: Mapping[str, str]) -> None:
        """Answer as told; see `Reply`."""
        self.seen.append(Request(handler.command, handler.path, headers))
        reply = self.replies.get(handler.path, Reply())
        body = handler.path.encode() if reply.body is None else reply.body
        send(handler, reply.status, reply.headers, body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A Python program with the hook on its path.

    *url* is ``MODELMIRROR_URL``, `None` for none; *variables* are more of its environment; *path* has
    folders that come after the hook's; *home* is where it looks for a netrc.
    """

    url: str | None
    variables: Mapping[str, str] = field(default_factory=dict)
    path: Sequence[Path] = ()
    home: Path | None = None
    python: str = sys.executable
    hook: Path = FOLDER
    options: Sequence[str] = ()

    def run(self, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """Run Python with *arguments*, and *text* on its standard input."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home or "/dev/null/nowhere"),
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": os.pathsep.join(map(str, (self.hook, *self.path))),
            **({} if self.url is None else {"MODELMIRROR_URL": self.url}),
            **self.variables,
        }
        return subprocess.run(
            [self.python, *self.options, *arguments],
            input=text,
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    def said(self, code: str) -> Any:
        """What *code* prints last, as JSON."""
        done = self.run("-c", code)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    def ask(
        self, client: str, *urls: str, method: str = "GET", headers: Mapping[str, str] | None = None
    ) -> list[dict[str, Any]]:
        """What *client* gets for each of *urls*."""
        questions = [(client, method, url, dict(headers or {})) for url in urls]
        done = self.run(str(ASKER), text=json.dumps(questions))
        assert done.returncode == 0, done.stderr
        outcomes: list[dict[str, Any]] = json.loads(done.stdout)
        return outcomes
