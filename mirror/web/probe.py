"""The answer to a probe: proof that a client's bytes came from this mirror.

`modelmirror doctor` has each client fetch an address on a real host, with a name in it that nobody has asked
for before. Where such a request arrives here, by whatever way, it is answered with what only a mirror says to
that name; nothing is asked upstream and nothing is kept.
"""

import re
from typing import Final

from mirror.digest import sha256_of

# A repo, a folder or a file of this name is asked for by nobody else.
_PROBE: Final = re.compile(r"modelmirror_probe_([0-9a-f]{32})(?![0-9a-f])")


def name(nonce: str) -> str:
    """What is to stand in the path or the query of a probe; *nonce* is 32 hexadecimal digits, lower case."""
    return f"modelmirror_probe_{nonce}"


def nonce_of(path: str, query: str = "") -> str | None:
    """The nonce of the probe that *path* and *query* ask for, `None` if they are none."""
    for text in (path, query):
        if "modelmirror_probe_" in text and (found := _PROBE.search(text)):
            return found[1]
    return None


def body(nonce: str) -> bytes:
    """What a mirror says to *nonce*: JSON, which some clients expect of the file they probe with."""
    return f'{{"modelmirror_probe": "{nonce}"}}\n'.encode()


def commit(nonce: str) -> str:
    """The commit that a probe of a Hub client is of: it wants one with every file."""
    return sha256_of(nonce.encode()).hex[:40]
