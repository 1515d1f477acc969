"""What the sending side remembers of its bundles: who it is, how far each series is, what receivers have.

Who it is and the serials are notes in the journal, for a serial must never be given twice. What a receiver
has is a file of its own, as long as the list of its blobs.
"""

import hashlib
import secrets
from collections.abc import Iterable
from typing import Final

from mirror.bundle.bundlemanifest import Member, read_has, write_has
from mirror.index.arrears import Arrears
from mirror.index.lines import Note
from mirror.store import durable
from mirror.store.layout import Layout

SENDER: Final = "bundle-sender"
SENT: Final = "bundle-sent"


class Sent:
    """The memory of one data folder; one thread at a time may use it."""

    def __init__(self, layout: Layout, arrears: Arrears) -> None:
        self._layout = layout
        self._arrears = arrears

    def sender(self) -> str:
        """Who this store is to receivers: 32 hexadecimal digits, made on the first call."""
        for value in self._arrears.notes(SENDER).values():
            if isinstance(value.get("id"), str):
                return str(value["id"])
        new = secrets.token_hex(16)
        self._arrears.append([Note(SENDER, "self", {"id": new})])
        return new

    def next_serial(self, name: str) -> int:
        """The next serial of the series *name*; it is on the disk before it is given."""
        value = self._arrears.notes(SENT).get(name, {}).get("serial", 0)
        serial = (value if isinstance(value, int) else 0) + 1
        self._arrears.append([Note(SENT, name, {"serial": serial})])
        return serial

    def has(self, name: str) -> frozenset[str] | None:
        """The blobs that the receiver *name* was sent, by their sha256; `None` where nothing is known."""
        try:
            data = self._layout.sent_to(_stem(name)).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise durable.disk_error(error, "What was sent cannot be read") from error
        return read_has(data)

    def remember(self, name: str, blobs: Iterable[Member]) -> None:
        """Note that *name* has *blobs* now, all of them."""
        path = self._layout.sent_to(_stem(name))
        path.parent.mkdir(mode=durable.FOLDER_MODE, exist_ok=True)
        durable.write(self._layout.temporary(), path, write_has(blobs))


def _stem(name: str) -> str:
    # A name is the operator's word and may differ from another by case alone.
    return hashlib.sha256(name.encode()).hexdigest()
