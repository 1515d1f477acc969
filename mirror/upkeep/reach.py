"""Reaching the server that runs on a data folder: one order over its ``control.sock``, in plain HTTP."""

import http.client
import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from mirror.errors import MirrorError, QuestionError, StoreError

# What a socket address holds (unix(7)), less its final NUL.
_ADDRESS: Final = 107
_OK: Final = 200
_BAD_ORDER: Final = 400


def order(path: Path, name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Have the server at *path* carry out order *name*; `None` when no server listens there.

    Raises `QuestionError` or `StoreError` in the server's words, `MirrorError` when it went away before
    it answered.
    """
    try:
        with closing(_Connection(path)) as connection:
            connection.connect()
            return _told(connection, name, arguments)
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    except (OSError, http.client.HTTPException) as error:
        raise MirrorError(
            f"The server at {path} did not answer: {str(error) or type(error).__name__}.",
            hint="Whether it did what it was asked is not known: look, then ask again.",
        ) from error


@contextmanager
def short(path: Path) -> Iterator[str]:
    """A name for the socket at *path* that fits into a socket address.

    Data folders may lie deep; a long name is given by a descriptor of its folder, where there is /proc.
    """
    if len(os.fsencode(path)) <= _ADDRESS:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


class _Connection(http.client.HTTPConnection):
    """HTTP over a socket in the file system; without a time limit, for an order takes what it takes."""

    def __init__(self, path: Path) -> None:
        super().__init__("modelmirror")
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with short(self._path) as path:
            self.sock.connect(path)


def _told(
    connection: http.client.HTTPConnection, name: str, arguments: Mapping[str, Any]
) -> Mapping[str, Any]:
    body = json.dumps(arguments).encode()
    connection.request("POST", f"/{name}", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    reply = json.loads(response.read())
    if response.status == _OK and isinstance(reply, dict):
        return reply
    kind = QuestionError if response.status == _BAD_ORDER else StoreError
    raise kind(str(reply.get("error", "")), hint=str(reply.get("hint", "")))
