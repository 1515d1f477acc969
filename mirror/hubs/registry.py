"""Which hubs exist: one line each, in the order in which they are asked."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import BinaryIO, Final

from mirror.hubs import github, hosts, kaggle, ollama, spacy, tfhub, torch, whisper
from mirror.hubs.base import Hub
from mirror.hubs.hosted import Hosted
from mirror.hubs.huggingface import HuggingFace
from mirror.hubs.kaggle import Kaggle
from mirror.hubs.ollama import Ollama
from mirror.hubs.places import Family, Place
from mirror.hubs.repack import with_folders
from mirror.hubs.spacy import Spacy

_HUB: Final = "huggingface.co"


def _apart(*families: Family) -> tuple[Family, ...]:
    """Each of *families*, without the places of those before it."""

    def takes(number: int, place: Place) -> bool:
        return families[number].takes(place) and not any(
            place.host in family.hosts and family.takes(place) for family in families[:number]
        )

    return tuple(
        replace(family, takes=partial(takes, number)) for number, family in enumerate(families)
    )


# GitHub's come last: on its hosts lie the files of other families.
FAMILIES: Final[tuple[Family, ...]] = _apart(
    *whisper.FAMILIES,
    *torch.FAMILIES,
    *tfhub.FAMILIES,
    *kaggle.FAMILIES,
    *ollama.FAMILIES,
    *spacy.FAMILIES,
    *hosts.FAMILIES,
    *github.FAMILIES,
)


# Families whose answers need more than what is the same for all.
_OWN: Final[Mapping[str, type[Hosted]]] = {
    "kaggle": Kaggle,
    "ollama": Ollama,
    "spacy": Spacy,
}


def hubs(*, secret: bytes, tree_limit: int, ref_lifetime: float) -> tuple[Hub, ...]:
    """Make every hub.

    *secret* is the data folder's 32 random bytes; *tree_limit* the most entries kept per snapshot;
    *ref_lifetime* how long, in seconds, a moving name is believed without asking.
    """
    return (
        HuggingFace(secret, tree_limit, ref_lifetime),
        *(_OWN.get(family.name, Hosted)(family, ref_lifetime) for family in FAMILIES),
    )


def open_hubs() -> frozenset[str]:
    """The hubs that no credential goes to: what they serve is for everybody."""
    return frozenset(family.name for family in FAMILIES)


def upstreams(hosts: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Where each hub but the Hub is asked, by its name: base URLs in order.

    *hosts* are those that the operator has asked elsewhere, with the base URL that is asked instead.
    """
    return {
        family.name: tuple(
            hosts.get(host, f"https://{host}") for host in family.hosts[: family.upstreams]
        )
        for family in FAMILIES
    }


def elsewhere(hosts: Mapping[str, str], hub: Sequence[str]) -> dict[str, str]:
    """Which hosts are asked where: the operator's *hosts*, and the Hub's at the first upstream of *hub*."""
    return {_HUB: hub[0], **hosts} if hub and hub[0] != f"https://{_HUB}" else dict(hosts)


def known_hosts() -> tuple[str, ...]:
    """Every host that a hub may lead to."""
    return tuple(
        dict.fromkeys(host for family in FAMILIES for host in (*family.hosts, *family.sources))
    )


def transforms() -> Mapping[str, Callable[[BinaryIO], Iterator[bytes] | None]]:
    """What may be made of a blob before it is served, by name."""
    return {"with-folders": with_folders}
