"""The variables that point clients at a mirror.

Each is one that clients are known to heed (their sources, and runs of them); what has no variable of its own
is led here by the start-up hook, which PYTHONPATH loads and MODELMIRROR_URL switches on.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mirror.cli.address import VARIABLE, Address

# The start-up hook's folder where a container has it mounted.
MOUNTED_HOOK: Final = "/modelmirror/hook"
_NO_PROXY: Final = ("NO_PROXY", "no_proxy")


def pointing(
    address: Address,
    environment: Mapping[str, str],
    *,
    hook: Path | str | None,
    strict: bool = False,
    fallback: bool = False,
) -> dict[str, str]:
    """What is to be set so that clients use the mirror at *address*.

    *environment* is what is set already: lists of it are gone on with, and what is in them is not put there
    twice. *hook* is the folder of the start-up hook, ``""`` where others load it, `None` to go without;
    *strict* has it refuse what does not come here, *fallback* go direct while the mirror is down. What
    knows the mirror's address alone would fail then, and is left out.
    """
    url = address.url
    settings = {} if fallback else {"HF_ENDPOINT": url}
    settings[VARIABLE] = url
    if hook:
        settings["PYTHONPATH"] = _first(str(hook), environment.get("PYTHONPATH", ""), os.pathsep)
    if hook is None:
        # kagglehub up to 0.3 alone heeds it, and would send Kaggle's credential along: the hook does not.
        settings["KAGGLE_API_ENDPOINT"] = f"{url}/-/kaggle/"
    if strict:
        settings["MODELMIRROR_STRICT"] = "1"
    if fallback:
        settings["MODELMIRROR_FALLBACK"] = "1"
    if not fallback:
        links = environment.get("PIP_FIND_LINKS", "")
        settings["PIP_FIND_LINKS"] = _last(f"{url}/-/spacy/files/", links, " ")
        if address.scheme == "http" and not address.loopback:
            # pip passes over plain HTTP of another machine that is not named here.
            trusted = environment.get("PIP_TRUSTED_HOST", "")
            settings["PIP_TRUSTED_HOST"] = _last(address.netloc, trusted, " ")
    return settings | without_proxy(address.host, environment)


def without_proxy(host: str, environment: Mapping[str, str]) -> dict[str, str]:
    """What is to be set so that *host* is asked through no proxy.

    Some clients read one of the two variables, some the other, and where both are set the small letters win.
    """
    upper, lower = (environment.get(name, "") for name in _NO_PROXY)
    merged = lower
    for item in upper.split(","):
        merged = _last(item.strip(), merged, ",")
    merged = _last(host, merged, ",")
    return dict.fromkeys(_NO_PROXY, merged)


def _first(item: str, items: str, mark: str) -> str:
    others = [other for other in items.split(mark) if other and other != item]
    return mark.join([item, *others])


def _last(item: str, items: str, mark: str) -> str:
    there = [other for other in items.split(mark) if other.strip()]
    return mark.join(there if not item or item in map(str.strip, there) else [*there, item])
