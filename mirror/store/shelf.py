"""Open blobs within reach: a bounded number of files, each opened once for all of its readers.

An open, a look-up and a close per request cost more than the sendfile of a small file. A file in use is
never closed under its readers, whatever happens to its name: deleting a blob takes it off the shelf,
and its descriptor lives until the last of them is done. What is known about checked pieces is kept for
many more blobs than are open; it is a byte per MiB.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from mirror.digest import Digest
from mirror.store.stored import Checks, Identity, OpenFile

OPEN: Final = 256
REMEMBERED: Final = 16_384


class Shelf:
    """At most *capacity* files that nobody reads stay open; *remembered* blobs keep their marks.

    Safe to use from several threads.
    """

    def __init__(self, capacity: int = OPEN, remembered: int = REMEMBERED) -> None:
        self._capacity = capacity
        self._remembered = remembered
        self._files: OrderedDict[Digest, OpenFile] = OrderedDict()
        self._checks: OrderedDict[Digest, Checks] = OrderedDict()
        self._lock = threading.Lock()

    def known(self, digest: Digest, identity: Identity) -> bool:
        """Whether this very file has been seen before."""
        checks = self._checks.get(digest)
        return checks is not None and checks.identity == identity

    def remember(self, digest: Digest, identity: Identity, marks: bytes | None = None) -> None:
        """Note a file, and which of its pieces were checked: none, unless *marks* says otherwise."""
        with self._lock:
            self._note(digest, Checks(identity, marks))

    def take(
        self, digest: Digest, identity: Identity, make: Callable[[Checks], OpenFile]
    ) -> OpenFile:
        """Lend the open file of a blob, made by *make* if it is not on the shelf; see `give_back`."""
        with self._lock:
            checks = self._checks.get(digest)
            if checks is None or checks.identity != identity:
                checks = Checks(identity)
            file = self._files.get(digest)
            if file is None or file.checks is not checks:
                self._drop(digest)
                file = self._files[digest] = make(checks)
            self._note(digest, checks)
            self._files.move_to_end(digest)
            file.readers += 1
            self._shrink()
            return file

    def give_back(self, file: OpenFile) -> None:
        """End one reader's use of *file*."""
        with self._lock:
            file.readers -= 1
            if not file.readers and self._files.get(file.digest) is not file:
                os.close(file.fd)
            else:
                self._shrink()

    def in_use(self, digest: Digest) -> bool:
        """Whether somebody is reading the blob now."""
        file = self._files.get(digest)
        return file is not None and file.readers > 0

    def checked(self) -> list[tuple[Digest, Checks]]:
        """The remembered blobs of which a piece is marked as checked."""
        with self._lock:
            known = list(self._checks.items())
        return [(digest, checks) for digest, checks in known if checks.marks.find(1) >= 0]

    def forget(self, digest: Digest) -> None:
        """Take a blob off: its name means nothing any more."""
        with self._lock:
            self._drop(digest)
            self._checks.pop(digest, None)

    def close(self) -> None:
        """Take everything off."""
        with self._lock:
            for digest in list(self._files):
                self._drop(digest)

    def _note(self, digest: Digest, checks: Checks) -> None:
        self._checks[digest] = checks
        self._checks.move_to_end(digest)
        while len(self._checks) > self._remembered:
            self._checks.popitem(last=False)

    def _drop(self, digest: Digest) -> None:
        file = self._files.pop(digest, None)
        if file is not None and not file.readers:
            os.close(file.fd)

    def _shrink(self) -> None:
        """Close the files that were idle longest; those in use do not count."""
        excess = len(self._files) - self._capacity
        if excess <= 0:
            return
        for digest in [name for name, file in self._files.items() if not file.readers][:excess]:
            self._drop(digest)
