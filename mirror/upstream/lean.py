"""Importing this imports aiohttp, without the certificate authorities that it reads for itself.

aiohttp makes two TLS contexts when it is imported (``aiohttp/connector.py``, ``_make_ssl_context``), and
each reads all authorities of the system: together 50 ms and 5 MiB, for contexts that nothing of ours uses,
since every connection has the one of `mirror.upstream.trust`. What would use them by mistake finds no
authority to trust, and is refused.
"""

import ssl
from typing import Final

_READ: Final = "set_default_verify_paths"

setattr(ssl.SSLContext, _READ, lambda _context: None)
try:
    import aiohttp.connector  # noqa: F401 -- for what it does once
finally:
    # The real one is inherited (`_ssl._SSLContext`), so what hides it only has to go.
    delattr(ssl.SSLContext, _READ)
