"""Tokens of the mirror's own: short strings that say who may have what until when.

A token is readable and signed, not secret; nothing needs to be kept to check one, so they survive a
restart. Each purpose has its own signature, so a link to one chunk of a file is never a token for more.
"""

import base64
import binascii
import hmac
import json
from dataclasses import dataclass
from typing import Final

from mirror.hubs.huggingface.grammar import HUB, is_commit
from mirror.names import Repo

# 128 bits of a keyed hash: nobody guesses 2**127 of them within a token's life.
_SIGNATURE_BYTES: Final = 16
MAX_TOKEN: Final = 2048


@dataclass(frozen=True, slots=True)
class Pass:
    """What a token says: *caller* (a fingerprint, empty: anonymous) may read *repo* at *commit*.

    *expires* is wall time in whole seconds; *content* is what else the purpose needs, in its own words.
    """

    repo: Repo
    commit: str
    caller: str
    expires: int
    content: str = ""


class Seal:
    """Signs and checks passes with a key made from *secret* (the data folder's 32 random bytes)."""

    def __init__(self, secret: bytes) -> None:
        self._key = hmac.digest(secret, b"modelmirror huggingface passes", "sha256")

    def sign(self, purpose: str, granted: Pass) -> str:
        """Write *granted* as a URL-safe token that is good for *purpose* alone."""
        fields = [
            granted.repo.name,
            granted.commit,
            granted.caller,
            granted.expires,
            granted.content,
        ]
        payload = json.dumps(fields, separators=(",", ":")).encode()
        return f"{_text(payload)}.{_text(self._signature(purpose, payload))}"

    def read(self, purpose: str, token: str) -> Pass | None:
        """Read a token back; `None` when it was not signed here for *purpose*.

        Whether it has expired is for the reader to say: that takes a clock.
        """
        first, _, second = token[:MAX_TOKEN].partition(".")
        payload, signature = _bytes(first), _bytes(second)
        if not hmac.compare_digest(signature, self._signature(purpose, payload)):
            return None
        name, commit, caller, expires, content = json.loads(payload)
        if commit and not is_commit(commit):
            return None
        return Pass(Repo(HUB, name), commit, caller, expires, content)

    def _signature(self, purpose: str, payload: bytes) -> bytes:
        whole = hmac.digest(self._key, purpose.encode() + b"\0" + payload, "sha256")
        return whole[:_SIGNATURE_BYTES]


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""
