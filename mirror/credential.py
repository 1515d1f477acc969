"""A caller's credential: compared, forwarded and scoped, never printed.

It is the value of an ``Authorization`` header and nothing else. What is remembered about it (accepted
for this repo, refused for that one) hangs on a keyed hash, so a copy of the store gives no token away.
"""

import base64
import binascii
import hmac
from dataclasses import dataclass, field
from hashlib import sha256
from typing import ClassVar

# 16 bytes of a keyed hash tell 2**64 credentials apart before two are likely to meet.
FINGERPRINT_BYTES = 16


@dataclass(frozen=True, slots=True)
class Credential:
    """An ``Authorization`` header value as one caller sent it; ``repr`` does not show it."""

    OURS: ClassVar[str] = "mm_"
    """How the tokens begin that this mirror gives its local users."""

    header: str = field(repr=False)

    @classmethod
    def is_token_of_ours(cls, text: str) -> bool:
        """Whether *text* is a token of a mirror's local user, that no hub should ever see."""
        return text.startswith(cls.OURS)

    @property
    def is_ours(self) -> bool:
        """Whether this is a mirror's own kind of token, bare or in a password's place."""
        scheme, _, value = self.header.partition(" ")
        value = value.strip()
        if scheme.lower() != "basic":
            return self.is_token_of_ours(value)
        try:
            text = base64.b64decode(value).decode("utf-8", "replace")
        except binascii.Error:
            return False
        return self.is_token_of_ours(text.partition(":")[2])

    def fingerprint(self, secret: bytes) -> str:
        """Name this credential under *secret* (32 random bytes of the data folder), in hex."""
        return hmac.new(secret, self.header.encode("utf-8", "surrogateescape"), sha256).hexdigest()[
            : 2 * FINGERPRINT_BYTES
        ]

    def __str__(self) -> str:
        return "<credential>"
