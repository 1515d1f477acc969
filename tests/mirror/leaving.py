"""What a process sends to anybody of its own accord, seen by strace from outside.

A server answers on connections that it accepted; whatever else leaves needs an address, in `connect` or
with the message. That holds for look-ups of names, too, which go to a name server or to a local daemon.
"""

import re
import shutil
import subprocess
import time
from pathlib import Path

_CALLS = "connect,sendto,sendmsg,sendmmsg"
# An address in a call is printed with its family; netlink is a question to the kernel, not a packet.
_ADDRESSED = re.compile(rf"\b({_CALLS.replace(',', '|')})\(.*sa_family=(?!AF_NETLINK)")


class NotTraceableError(Exception):
    """This machine does not trace processes; the message says why."""


def traced(report: Path) -> tuple[str, ...]:
    """Give the command that runs what follows it as the same process, and writes its calls to *report*.

    Raises `NotTraceableError` where that cannot be done.
    """
    tracer = shutil.which("strace")
    if tracer is None:
        raise NotTraceableError("strace is not installed")
    # Of the tracer's own process tree nothing may come between the caller and the traced one (-D).
    command = (tracer, "-D", "-f", "-s", "0", "-e", f"trace={_CALLS}", "-e", "signal=none", "-o")
    done = subprocess.run(
        (*command, "/dev/null", "true"), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise NotTraceableError(f"this system does not let strace trace: {done.stderr.strip()}")
    return (*command, str(report))


def sent(report: Path, pid: int) -> list[str]:
    """List the calls by which the process *pid*, which has ended, reached out to somebody."""
    ended = re.compile(rf"^{pid} +\+\+\+ (exited|killed)", re.MULTILINE)
    deadline = time.monotonic() + 10
    while not ended.search(text := report.read_text()):
        assert time.monotonic() < deadline, f"the trace has no end:\n{text[-2000:]}"
        time.sleep(0.02)
    return [line for line in text.splitlines() if _ADDRESSED.search(line)]
