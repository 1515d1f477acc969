"""Signed, expiring URLs and tokens, as the CDN and the Xet content store demand them."""

import hashlib
import hmac
import secrets
import time
from urllib.parse import parse_qsl, urlencode


class Signer:
    """Signs paths and queries with a key of its own; a renewed key voids all it has signed."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def renew(self) -> None:
        """Change the key: every URL and token signed so far is refused from now on."""
        self._key = secrets.token_bytes(32)

    def url(self, path: str, query: dict[str, str], lifetime: float) -> str:
        """Return ``path`` with ``query``, an expiry ``lifetime`` seconds ahead and a signature."""
        signed = {**query, "Expires": str(int(time.time() + lifetime)), "Key-Pair-Id": "K1"}
        return f"{path}?{urlencode({**signed, 'Signature': self._sign(path, signed)})}"

    def valid(self, path: str, query: str) -> bool:
        """Tell whether ``query`` was signed for ``path``, is untampered, and has not expired."""
        given = dict(parse_qsl(query, keep_blank_values=True))
        signature = given.pop("Signature", "")
        if not hmac.compare_digest(signature.encode(), self._sign(path, given).encode()):
            return False
        return time.time() < int(given["Expires"])

    def token(self, subject: str, expires: int) -> str:
        """Return a bearer token for ``subject``, valid until ``expires`` (epoch seconds)."""
        return f"xet_{expires}_{self._sign(subject, {'Expires': str(expires)})}"

    def token_valid(self, token: str, subject: str) -> bool:
        """Tell whether ``token`` was issued for ``subject`` and has not expired."""
        prefix, _, rest = token.partition("_")
        expires, _, _ = rest.partition("_")
        if prefix != "xet" or not expires.isdecimal() or time.time() >= int(expires):
            return False
        return hmac.compare_digest(
            token.encode("utf-8", "replace"), self.token(subject, int(expires)).encode()
        )

    def _sign(self, path: str, query: dict[str, str]) -> str:
        text = path + "\n" + urlencode(sorted(query.items()))
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()
