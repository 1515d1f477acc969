"""A caller's credential: compared, forwarded and scoped, never printed.

It is the value of an ``Authorization`` header and nothing else. What is remembered about it (accepted
for this repo, refused for that one) hangs on a keyed hash, so a copy of the store gives no token away.
"""

import hmac
from dataclasses import dataclass, field
from hashlib import sha256

# 16 bytes of a keyed hash tell 2**64 credentials apart before two are likely to meet.
FINGERPRINT_BYTES = 16


@dataclass(frozen=True, slots=True)
class Credential:
    """An ``Authorization`` header value as one caller sent it; ``repr`` does not show it."""

    header: str = field(repr=False)

    def fingerprint(self, secret: bytes) -> str:
        """Name this credential under *secret* (32 random bytes of the data folder), in hex."""
        return hmac.new(secret, self.header.encode("utf-8", "surrogateescape"), sha256).hexdigest()[
            : 2 * FINGERPRINT_BYTES
        ]

    def __str__(self) -> str:
        return "<credential>"
