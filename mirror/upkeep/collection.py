"""Collecting what nobody needs: half downloads, what was set aside, blobs that nothing names.

A blob is named by the files of a commit, by an address that it came from, by a document that tells its
digest, or by a pin. One that is not can come of a removal that a kill interrupted, or of a download that
ended after its repo was removed. What is younger than an hour stays: its name may be on its way.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from mirror.digest import SHA256, SOURCE, Digest
from mirror.store import durable
from mirror.store.blobs import Blob
from mirror.store.partials import Leftover
from mirror.upkeep import inspection
from mirror.upkeep.desk import Desk
from mirror.upkeep.saying import Order, flag, number

# Seconds: names are written within some milliseconds of their blobs, downloads are gone on with in minutes.
YOUNG: Final = 3600.0

_HEX: Final = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


class Collection:
    """Collects at *desk*."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def orders(self) -> Mapping[str, Order]:
        """``gc``."""
        return {"gc": self._gc}

    def _gc(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Collect, or with ``dry_run`` say what would be; ``older`` is in seconds."""
        dry, desk = flag(arguments, "dry_run"), self._desk
        before = desk.clock.wall() - number(arguments, "older", YOUNG)
        partials = [each for each in desk.partials.leftovers() if each.modified < before]
        blobs = list(self._unnamed(before))
        aside = desk.store.quarantined()
        sums = [path for path in inspection.orphans(desk.layout) if _changed(path) < before]
        lines = desk.index.journal.redundant()
        freed = {
            "partials": sum(each.held for each in partials),
            "blobs": sum(blob.size for blob in blobs),
            "quarantine": aside,
        }
        if not dry:
            freed = {
                "partials": self._discard(partials),
                "blobs": self._remove(blobs),
                "quarantine": desk.store.empty_quarantine(),
            }
            for path in sums:
                durable.remove(path)
            desk.index.journal.compact(1)
        return {
            "dry_run": dry,
            "partials": {"count": len(partials), "bytes": freed["partials"]},
            "blobs": {"count": len(blobs), "bytes": freed["blobs"]},
            "quarantine": {"bytes": freed["quarantine"]},
            "sums": {"count": len(sums)},
            "journal": {"lines": lines},
            "freed": sum(freed.values()),
        }

    def _unnamed(self, before: float) -> Iterator[Blob]:
        """The blobs that nothing names, older than the time *before*."""
        store, catalog = self._desk.store, self._desk.index.catalog
        named: set[Digest] | None = None
        for blob in store.walk():
            if not blob.size or _changed(self._desk.layout.blob(blob.digest)) >= before:
                continue
            if catalog.holders(blob.digest) or self._is_first_word(blob.digest):
                continue
            if named is None:
                named = self._named_otherwise()
            if blob.digest not in named and not store.in_use(blob.digest):
                yield blob

    def _is_first_word(self, digest: Digest) -> bool:
        names = self._desk.index.catalog.names_of(digest)
        return any(name.algorithm == SOURCE for name in names)

    def _named_otherwise(self) -> set[Digest]:
        """What pins, addresses and documents name."""
        named = set(self._desk.pins.digests())
        for address in self._desk.book.every():
            named.update(address.blobs)
        for reply in self._desk.book.replies():
            for text in (reply.key.encode("utf-8", "replace"), reply.response.body):
                named.update(Digest(SHA256, found.decode()) for found in _HEX.findall(text))
        return named

    def _discard(self, partials: list[Leftover]) -> int:
        return sum(self._desk.partials.discard(each.expected) for each in partials)

    def _remove(self, blobs: list[Blob]) -> int:
        """Delete those that nobody reads by now; the index forgets them first, as in an eviction."""
        freed, catalog = 0, self._desk.index.catalog
        for blob in blobs:
            catalog.dropped([blob.digest]).result()
            given = self._desk.store.evict(blob.digest)
            if given is None:
                catalog.stored([(blob.digest, blob.size)]).result()
            else:
                freed += given
        return freed


def _changed(path: Path) -> float:
    """When a file got its name or its bytes; one that is gone was changed just now."""
    try:
        return path.lstat().st_ctime
    except OSError:
        return float("inf")
