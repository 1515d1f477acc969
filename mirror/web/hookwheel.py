"""The start-up hook as a wheel: one module, and the two files by which an interpreter starts it.

A ``.pth`` line runs at every start, also with ``-I`` (``Lib/site.py``). From Python 3.15 on a ``.start`` file
of the same name is read instead, and from 3.18 on no other is (PEP 829). The archive is made of stored
entries with fixed times, so that the same hook makes the same bytes anywhere.
"""

import base64
import io
import zipfile
from collections.abc import Mapping
from hashlib import sha256
from typing import Final

from mirror import __version__
from mirror.hook import FOLDER

NAME: Final = f"modelmirror_hook-{__version__}-py3-none-any.whl"

_INFO: Final = f"modelmirror_hook-{__version__}.dist-info"
# It loads nothing where nothing asks for it; `os` is loaded before any such line.
_PTH: Final = (
    'import os; "MODELMIRROR_URL" in os.environ and __import__("modelmirror_hook").start()\n'
)
_START: Final = "modelmirror_hook:start\n"
_METADATA: Final = f"""\
Metadata-Version: 2.1
Name: modelmirror-hook
Version: {__version__}
Summary: Leads Python programs to a modelmirror, where MODELMIRROR_URL says which
License: Apache-2.0
Requires-Python: >=3.8
"""
_WHEEL: Final = f"""\
Wheel-Version: 1.0
Generator: modelmirror ({__version__})
Root-Is-Purelib: true
Tag: py3-none-any
"""
# The first moment that a zip archive can name.
_TIME: Final = (1980, 1, 1, 0, 0, 0)
_MODE: Final = 0o100644


def build() -> bytes:
    """The wheel; its name is `NAME`."""
    files = {
        "modelmirror_hook.py": (FOLDER / "modelmirror_hook.py").read_bytes(),
        "modelmirror_hook.pth": _PTH.encode(),
        "modelmirror_hook.start": _START.encode(),
        f"{_INFO}/METADATA": _METADATA.encode(),
        f"{_INFO}/WHEEL": _WHEEL.encode(),
    }
    record = f"{_INFO}/RECORD"
    return _archive({**files, record: _record(files, record)})


def _record(files: Mapping[str, bytes], own: str) -> bytes:
    """What the wheel holds, with the digest of each; of itself it says nothing."""
    lines = []
    for name, content in files.items():
        digest = base64.urlsafe_b64encode(sha256(content).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(content)}")
    return "\n".join([*lines, f"{own},,", ""]).encode()


def _archive(files: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, _TIME)
            entry.create_system, entry.external_attr = (
                3,
                _MODE << 16,
            )  # as on Unix, wherever it is made
            archive.writestr(entry, content)
    return packed.getvalue()
