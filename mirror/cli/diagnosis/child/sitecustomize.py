"""A wall around a client that is tried: it reaches the mirror and nobody else.

What it would have asked besides is written down. An audit hook sees every socket of the interpreter,
whichever library opens it, and cannot be taken off again (``sys.addaudithook``); programs that are known to
use the network are not started. Libraries with sockets of their own (uvloop's, those of hf_xet) are not seen.

The next sitecustomize on the path, the start-up hook's among them, runs after it.
"""

from __future__ import annotations

import errno
import importlib.machinery
import importlib.util
import json
import os
import socket
import sys
import types

REPORT = "MODELMIRROR_DOCTOR_REPORT"
"""The file that attempts are written to: one JSON object a line, with the keys host and port, or program."""
MIRROR = "MODELMIRROR_DOCTOR_MIRROR"
"""The only place that may be reached: host, a space, port."""

# Programs that would ask somebody and cannot be watched.
_PROGRAMS = frozenset(
    {"aria2c", "curl", "git", "git-lfs", "gsutil", "hf", "huggingface-cli", "ollama", "uv", "wget"}
)
_LOOKS_UP = frozenset({"socket.getaddrinfo", "socket.gethostbyname"})
_SENDS = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
_STARTS = frozenset({"subprocess.Popen", "os.exec", "os.posix_spawn", "os.system"})


class Wall:
    """Judges what an interpreter is about to do: only *host* and *port* are open; *report* is written to."""

    def __init__(self, report: str, host: str, port: int) -> None:
        self._report = report
        self._names = {host, "", "localhost", socket.gethostname()}
        self._open = {(host, port)}
        try:
            found = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
            self._open.update((str(entry[4][0]), port) for entry in found)
        except OSError:
            pass  # It cannot be reached then, and everything else is as closed.

    def watch(self, event: str, arguments: tuple[object, ...]) -> None:
        """Refuse what would leave; as an audit hook it sees everything."""
        if event in _LOOKS_UP:
            self._look_up(_text(arguments[0]), arguments[1:2])
        elif event in _SENDS:
            self._send(arguments[-1])
        elif event in _STARTS:
            self._start(os.path.basename(_first_word(event, arguments)))

    def _look_up(self, name: str, service: tuple[object, ...]) -> None:
        if name in self._names or _is_address(name):
            return  # Nobody is asked for these.
        port = service[0] if service and isinstance(service[0], int) else None
        self._note(host=name, port=port)
        raise socket.gaierror(socket.EAI_NONAME, _sentence(name))

    def _send(self, address: object) -> None:
        if not isinstance(address, tuple) or len(address) < 2:
            return  # A socket of this machine, or one that is connected already.
        name, port = _text(address[0]), address[1]
        if (name, port) not in self._open:
            self._note(host=name, port=port)
            raise ConnectionRefusedError(errno.ECONNREFUSED, _sentence(name))

    def _start(self, program: str) -> None:
        if program in _PROGRAMS:
            self._note(program=program)
            raise PermissionError(errno.EPERM, "modelmirror doctor does not let %s start" % program)

    def _note(self, **fields: object) -> None:
        file = os.open(self._report, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, (json.dumps(fields) + "\n").encode())
        finally:
            os.close(file)


def start() -> None:
    """Build the wall; without the variables that say where, there is none."""
    report, mirror = os.environ.get(REPORT), os.environ.get(MIRROR)
    if report and mirror:
        host, _, port = mirror.rpartition(" ")
        sys.addaudithook(Wall(report, host, int(port)).watch)


def _sentence(name: str) -> str:
    return "modelmirror doctor: %s would have been asked directly" % name


def _text(value: object) -> str:
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).decode("ascii", "replace")
    return value if isinstance(value, str) else ""


def _is_address(name: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, name.partition("%")[0])
        except (OSError, ValueError):
            continue
        return True
    return False


def _first_word(event: str, arguments: tuple[object, ...]) -> str:
    """The program that is about to start."""
    first = arguments[0]
    if event == "subprocess.Popen" and not first:
        first = arguments[1]
    if isinstance(first, (list, tuple)):
        first = first[0] if first else ""
    text = os.fsdecode(first) if isinstance(first, (str, bytes, os.PathLike)) else ""
    return text.split()[0] if event == "os.system" and text.split() else text


def go_on() -> None:
    """Run the next sitecustomize that has not run.

    Another that does the same, as the start-up hook's, leads back here: so those that ran are remembered.
    """
    ran: list[str] = sys.modules[_MARK].__dict__.setdefault("ran", [os.path.realpath(__file__)])
    for entry in sys.path:
        found = importlib.machinery.PathFinder.find_spec("sitecustomize", [entry or os.curdir])
        if found is None or found.loader is None or found.origin is None:
            continue
        if os.path.realpath(found.origin) in ran:
            continue
        ran.append(os.path.realpath(found.origin))
        module = importlib.util.module_from_spec(found)
        sys.modules["sitecustomize"] = module
        found.loader.exec_module(module)
        return


# What there is one of in a process, however often this file is run.
_MARK = "modelmirror_doctor_wall"
if _MARK not in sys.modules:
    sys.modules[_MARK] = types.ModuleType(_MARK)
    start()
go_on()
