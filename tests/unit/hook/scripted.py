"""A server that stands for a mirror, or for a host that is asked directly, and programs that ask it."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from mirror.hook import FOLDER

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


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a program that ended in the middle of an answer."""


class Scripted:
    """Answers every request, by target as *replies* say, until its context ends; `seen` keeps them all."""

    def __init__(self, replies: Mapping[str, Reply] | None = None) -> None:
        self.replies = dict(replies or {})
        self.seen: list[Request] = []

    def __enter__(self) -> Self:
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                scripted._answer(self)

            do_HEAD = do_POST = do_CONNECT = do_GET  # noqa: N815 -- names that http.server looks for

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing."""

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def targets(self) -> list[str]:
        """What was asked for, in order, without the questions whether it lives."""
        return [request.target for request in self.seen if request.target != "/-/live"]

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        headers = {name.lower(): value for name, value in handler.headers.items()}
        handler.rfile.read(int(headers.get("content-length", 0)))
        self.seen.append(Request(handler.command, handler.path, headers))
        reply = self.replies.get(handler.path, Reply())
        body = handler.path.encode() if reply.body is None else reply.body
        handler.send_response(reply.status)
        for name, value in reply.headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)


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
