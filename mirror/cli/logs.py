"""How the server's log is written: lines for people, or one JSON object a line for programs.

Both are redacted, tracebacks too, and in both one record can never look like two: in text every line after
the first is indented, in JSON there is no second line.
"""

import json
import logging
import sys
import threading
from datetime import UTC, datetime
from typing import Final

from mirror.redaction import one_line, redacted

_INDENT: Final = "    "


class TextLog(logging.Formatter):
    """Time, level and sentence; a traceback follows indented."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        sentence = one_line(redacted(record.getMessage()))
        text = f"{_when(record)} {record.levelname} {sentence}"
        trace = _traceback(self, record)
        if trace:
            lines = "\n".join(_INDENT + one_line(line) for line in trace.splitlines())
            text += f"\n{lines}"
        return text


class JsonLog(logging.Formatter):
    """One object a line: ``time``, ``level``, ``event``, ``logger``, ``message``, perhaps ``traceback``."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        row = {
            "time": _when(record),
            "level": record.levelname.lower(),
            "event": "log",
            "logger": record.name,
            "message": redacted(record.getMessage()),
        }
        trace = _traceback(self, record)
        if trace:
            row["traceback"] = trace
        return json.dumps(row)


def set_up(level: str, form: str) -> None:
    """Send every log record of the process to standard error, from *level* on, as *form* says.

    *form* is ``text`` or ``json``. Warnings of Python and errors that end a thread go the same way.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLog() if form == "json" else TextLog())
    logging.basicConfig(level=level.upper(), handlers=[handler])
    logging.captureWarnings(capture=True)
    threading.excepthook = _thread_died


def _thread_died(died: threading.ExceptHookArgs) -> None:
    if died.exc_value is not None:
        logging.getLogger("modelmirror").error(
            "A thread ended by an error.", exc_info=died.exc_value
        )


def _when(record: logging.LogRecord) -> str:
    when = datetime.fromtimestamp(record.created, UTC)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    """The record's traceback and stack, redacted; empty where there is none."""
    parts = []
    if record.exc_info and record.exc_info[0] is not None:
        parts.append(formatter.formatException(record.exc_info))
    if record.stack_info:
        parts.append(formatter.formatStack(record.stack_info))
    # A pattern may span a line of the text, never two.
    return "\n".join(redacted(line) for part in parts for line in part.splitlines())
