"""The server's log: what it holds, in text and as JSON, and what it must not."""

import json
import logging
import subprocess
import sys

import pytest

from mirror.cli.logs import JsonLog, TextLog

CANARY = "Canary0123456789abcdef"


def _record(message: str, *, trace: bool) -> logging.LogRecord:
    record = logging.LogRecord("mirror.web", logging.ERROR, __file__, 1, message, (), None)
    if trace:
        try:
            _fail()
        except ValueError:
            record.exc_info = sys.exc_info()
    return record


def _fail() -> None:
    msg = f"no\n2026-01-01T00:00:00.000Z INFO forged\nAuthorization: Bearer {CANARY}\x1b[2J"
    raise ValueError(msg)


def test_text_cannot_be_forged() -> None:
    """A record is one line; those of its traceback are indented, so none begins like a record."""
    lines = TextLog().format(_record(f"a\nb hf_{CANARY}", trace=True)).split("\n")
    assert lines[0].endswith(" ERROR a\\u000ab hf_…")
    assert len(lines) > 4
    assert all(line.startswith("    ") for line in lines[1:])
    assert "ValueError" in "".join(lines)
    assert CANARY not in "".join(lines)
    assert "\x1b" not in "".join(lines)


def test_json_is_one_object_a_line() -> None:
    """Whatever a record holds, it is one line that a program can read, without the secret in it."""
    text = JsonLog().format(_record(f"a\nb Bearer {CANARY}", trace=True))
    assert "\n" not in text
    assert CANARY not in text
    row = json.loads(text)
    assert row["message"] == "a\nb Bearer …"
    assert (row["level"], row["event"], row["logger"]) == ("error", "log", "mirror.web")
    assert row["traceback"].startswith("Traceback")
    assert "traceback" not in json.loads(JsonLog().format(_record("a", trace=False)))


@pytest.mark.parametrize("form", ["text", "json"])
def test_every_way_to_standard_error_is_redacted(form: str) -> None:
    """Loggers of libraries, warnings, and errors that end a thread go out in the same form."""
    script = f"""
import logging, threading, warnings
from mirror.cli.logs import set_up
set_up("info", {form!r})
logging.getLogger("aiohttp.server").warning("saw Bearer {CANARY}")
warnings.warn("hf_{CANARY}")
def fail(): raise RuntimeError("https://u:{CANARY}@h/")
thread = threading.Thread(target=fail); thread.start(); thread.join()
logging.getLogger("x").debug("not wanted")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert CANARY not in done.stderr
    assert done.stderr.replace("\\u2026", "…").count("…") >= 3
    assert "not wanted" not in done.stderr
    if form == "json":
        rows = [json.loads(line) for line in done.stderr.splitlines()]
        assert [row["logger"] for row in rows] == ["aiohttp.server", "py.warnings", "modelmirror"]
