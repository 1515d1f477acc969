"""Variables that lead a client past the mirror, or keep it from asking anybody."""

import os
from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from mirror.cli.address import VARIABLE, Address, bare, parse
from mirror.cli.diagnosis.findings import Finding, export
from mirror.cli.pointing import without_proxy
from mirror.errors import ConfigError

# Variables that name a server, what is appended to its base URL there, and which clients read them.
_ENDPOINTS: Final = (
    ("HF_ENDPOINT", "", "Hub clients"),
    ("KAGGLE_API_ENDPOINT", "/-/kaggle/", "kagglehub up to 0.3"),
)
_PUBLIC: Final = frozenset({"huggingface.co", "www.huggingface.co", "hf.co", "hf-mirror.com"})
_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_OFFLINE: Final = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")
_BUNDLES: Final = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
# How long a server that a variable names has to answer, in seconds.
_PATIENCE: Final = 2.0


def check_variables(environment: Mapping[str, str], address: Address) -> Iterator[Finding]:
    """Find what in *environment* keeps clients from the mirror at *address*."""
    yield from _mirror(environment, address)
    yield from _endpoints(environment, address)
    yield from _proxies(environment, address)
    yield from _authorities(environment, address)


def offline_switches(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The variables that keep Hub clients from asking anybody."""
    return tuple(name for name in _OFFLINE if environment.get(name, "").lower() in _TRUE)


def proxies_of(environment: Mapping[str, str], scheme: str) -> dict[str, str]:
    """The proxy variables that are heeded for URLs of *scheme*, with their values."""
    names = (f"{scheme}_proxy", f"{scheme.upper()}_PROXY", "all_proxy", "ALL_PROXY")
    return {name: environment[name] for name in names if environment.get(name)}


def servers_of(environment: Mapping[str, str]) -> frozenset[str]:
    """The hosts that variables lead clients to: endpoints and proxies."""
    values = [environment.get(name, "") for name, _, _ in _ENDPOINTS]
    values += [
        value for scheme in ("http", "https") for value in proxies_of(environment, scheme).values()
    ]
    hosts = (urlsplit(value if "://" in value else f"http://{value}").hostname for value in values)
    return frozenset(host for host in hosts if host)


def passes_proxies(host: str, listed: str) -> bool:
    """Whether NO_PROXY's value *listed* has *host* asked through no proxy."""
    for item in (item.strip().lower().lstrip(".") for item in listed.split(",")):
        name = item.partition(":")[0] if item.count(":") == 1 else item
        if item == "*" or (name and (host.lower() == name or host.lower().endswith(f".{name}"))):
            return True
        try:
            if "/" in item and ip_address(host) in ip_network(item, strict=False):
                return True
        except ValueError:
            continue
    return False


def _mirror(environment: Mapping[str, str], address: Address) -> Iterator[Finding]:
    named = environment.get(VARIABLE, "").rstrip("/")
    if named and named != address.url:
        yield from _another(VARIABLE, named, address.url, address, "the start-up hook")
    for folder in environment.get("PYTHONPATH", "").split(os.pathsep):
        hook = Path(folder) / "modelmirror_hook.py"
        ours = "modelmirror" in folder or folder.rstrip("/").endswith("mirror/hook")
        if ours and not hook.is_file():
            yield Finding(
                kind="no-hook",
                where="PYTHONPATH",
                what=f"PYTHONPATH names {folder}, where the start-up hook is not.",
                mend='eval "$(modelmirror env)"',
                note=True,
            )


def _endpoints(environment: Mapping[str, str], address: Address) -> Iterator[Finding]:
    for name, behind, who in _ENDPOINTS:
        value = environment.get(name, "")
        wanted = address.url + behind
        if not value or value.rstrip("/") == wanted.rstrip("/"):
            if value and behind and value != wanted:
                yield Finding(
                    kind="endpoint",
                    where=name,
                    what=f"{name} has no slash at its end: {who} drops the last part of it.",
                    mend=export(**{name: wanted}),
                )
            continue
        yield from _another(name, value, wanted, address, who)
    for name in ("PIP_FIND_LINKS", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        for value in environment.get(name, "").split():
            if "/-/spacy/" in value and not value.startswith(f"{address.url}/"):
                base, _, rest = value.partition("/-/spacy/")
                whole = environment[name].replace(value, f"{address.url}/-/spacy/{rest}")
                yield from _another(name, base, whole, address, "pip")


def _another(name: str, value: str, wanted: str, address: Address, who: str) -> Iterator[Finding]:
    """*name* leads *who* to another server than the mirror."""
    mend = export(**{name: wanted})
    try:
        other = parse(value.partition("/-/")[0])
    except ConfigError:
        yield Finding(
            kind="endpoint",
            where=name,
            what=f"{name} is {bare(value)!r}, which is no address of a mirror.",
            mend=mend,
        )
        return
    if other.host in _PUBLIC:
        what = f"{name} is {value}: {who} would ask there, past the mirror."
        yield Finding(kind="endpoint", where=name, what=what, mend=mend)
    elif (other.host, other.port, other.path) == (address.host, address.port, address.path):
        return
    elif why := other.silence(_PATIENCE):
        what = f"{name} is left over: {who} would ask {value}, which is no mirror that answers ({why})."
        yield Finding(kind="left-over", where=name, what=what, mend=mend)
    else:
        what = f"{name} names another mirror, {value}: {who} would ask there, not {address.url}."
        yield Finding(kind="another-mirror", where=name, what=what, mend=mend)


def _proxies(environment: Mapping[str, str], address: Address) -> Iterator[Finding]:
    proxies = proxies_of(environment, address.scheme)
    if not proxies:
        return
    lower, upper = environment.get("no_proxy", ""), environment.get("NO_PROXY", "")
    # Python's clients read the small letters where there are both, Go's the capitals.
    heeded = {"no_proxy": lower, "NO_PROXY": upper} if lower and upper else {}
    heeded = heeded or {"NO_PROXY": lower or upper}
    for name, listed in heeded.items():
        if not passes_proxies(address.host, listed):
            proxy = next(iter(proxies))
            yield Finding(
                kind="proxy",
                where=proxy,
                what=f"{proxy} is set, and {name} does not name {address.host}: clients ask the proxy for"
                " what is on the mirror.",
                mend=export(**without_proxy(address.host, environment)),
            )
            return


def _authorities(environment: Mapping[str, str], address: Address) -> Iterator[Finding]:
    named = {name: environment[name] for name in _BUNDLES if environment.get(name)}
    for name, value in named.items():
        path = Path(value)
        if not path.is_file() and not (name != "SSL_CERT_FILE" and path.is_dir()):
            yield Finding(
                kind="authorities",
                where=name,
                what=f"{name} names {value}, which is no file: no client that heeds it can use HTTPS.",
                mend=f"unset {name}",
            )
    if address.scheme != "https" or not named:
        return
    missing = [name for name in _BUNDLES[:2] if name not in named]
    first = next(iter(named.values()))
    everywhere = export(**dict.fromkeys(_BUNDLES[:2], first))
    if missing and not (missing == ["REQUESTS_CA_BUNDLE"] and "CURL_CA_BUNDLE" in named):
        others = "requests and pip" if missing[0] == "REQUESTS_CA_BUNDLE" else "urllib and httpx"
        yield Finding(
            kind="authorities",
            where=missing[0],
            what=f"{' and '.join(named)} is set and {missing[0]} is not: {others} may not trust the mirror.",
            mend=everywhere,
        )
    elif len(set(named.values())) > 1:
        yield Finding(
            kind="authorities",
            where=", ".join(named),
            what=f"{' and '.join(named)} name different files: not all clients may trust the mirror.",
            mend=everywhere,
        )
