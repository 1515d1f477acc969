"""What a trial means, in a sentence, and the line that mends it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from mirror.cli.address import VARIABLE, Address
from mirror.cli.diagnosis.findings import export
from mirror.cli.diagnosis.trials import WRONG, Trial, Verdict
from mirror.cli.diagnosis.variables import offline_switches, proxies_of
from mirror.cli.pointing import pointing, without_proxy

# Clients that heed HF_ENDPOINT, hook or not.
_HUB_CLIENTS: Final = frozenset({"huggingface_hub", "transformers"})
_EXPORT: Final = "modelmirror export --format cache DIR"


def sentence(trial: Trial, environment: Mapping[str, str]) -> str:
    """What became of the client's probe, for people."""
    whom = " and ".join(_whom(asked, environment) for asked in trial.asked)
    whom = whom or " and ".join(trial.programs)
    match trial.verdict:
        case Verdict.THROUGH:
            besides = f"; it would have asked {whom} besides" if whom else ""
            return f"its bytes came through the mirror{besides}"
        case Verdict.LEAKS if trial.programs and not trial.asked:
            return f"it starts {whom}, which goes its own way"
        case Verdict.LEAKS:
            return f"it would have asked {whom}, past the mirror"
        case Verdict.REFUSED:
            switches = offline_switches(environment)
            if trial.client.name in _HUB_CLIENTS and switches:
                return f"it asks nobody: {' and '.join(switches)}"
            return f"it asks nobody: {trial.error}"
        case Verdict.FAILS | Verdict.SLOW:
            return trial.error
        case Verdict.UNKNOWN:
            return f"it could not be tried: {trial.error}"
        case Verdict.BY_WAY:
            return f"as {' and '.join(trial.client.by_way_of)}"


def mend(
    trial: Trial,
    environment: Mapping[str, str],
    address: Address,
    hook: Path,
    proxies: Sequence[str],
) -> str:
    """The line that mends it, ``""`` where nothing is to be mended or none is known.

    *hook* is the folder of the start-up hook; *proxies* are those of the environment, as ``host:port``.
    """
    name = trial.client.name
    if name == "nltk" and trial.verdict in WRONG:
        # It refuses servers inside a private network by design (3.10 and newer).
        return f"{_EXPORT} nltk:PACKAGE && export NLTK_DATA=DIR/nltk_data"
    if trial.verdict is Verdict.REFUSED:
        switches = offline_switches(environment)
        return f"unset {' '.join(switches)}" if name in _HUB_CLIENTS and switches else ""
    if trial.verdict not in (Verdict.LEAKS, Verdict.FAILS):
        return ""
    if set(trial.asked) & set(proxies):
        return export(**without_proxy(address.host, environment))
    wanted = pointing(address, environment, hook=hook)
    if name in _HUB_CLIENTS and environment.get("HF_ENDPOINT", "").rstrip("/") != address.url:
        return export(HF_ENDPOINT=address.url)
    if environment.get(VARIABLE, "").rstrip("/") != address.url:
        names = (VARIABLE, "PYTHONPATH") if trial.hook is None else (VARIABLE,)
        return export(**{each: wanted[each] for each in names})
    if trial.hook is None:
        return export(PYTHONPATH=wanted["PYTHONPATH"])
    return f"{_EXPORT} TARGET" if trial.verdict is Verdict.LEAKS else ""


def addresses_of(proxies: Mapping[str, str]) -> list[str]:
    """Each proxy as ``host:port``."""
    found = []
    for value in proxies.values():
        rest = value.partition("://")[2] or value
        found.append(rest.rpartition("@")[2].partition("/")[0])
    return found


def proxies(environment: Mapping[str, str]) -> list[str]:
    """The proxies of *environment*, as ``host:port``."""
    both = proxies_of(environment, "http") | proxies_of(environment, "https")
    return list(dict.fromkeys(addresses_of(both)))


def _whom(asked: str, environment: Mapping[str, str]) -> str:
    if asked in proxies(environment):
        return f"the proxy {asked}"
    return asked.removesuffix(":443").removesuffix(":80")
