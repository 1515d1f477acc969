"""What all three hosts of the origin share: repos, tokens, addresses and lifetimes."""

from dataclasses import dataclass, field

from tests.origin.repos import Shelf
from tests.origin.signing import Signer


@dataclass(slots=True)
class World:
    """The state of the origin; tests change it between requests."""

    shelf: Shelf
    signer: Signer = field(default_factory=Signer)
    tokens: dict[str, str] = field(default_factory=dict)
    hub_url: str = ""
    cdn_url: str = ""
    cas_url: str = ""
    page_size: int = 1000
    expanded_page_size: int = 50
    signed_url_lifetime: float = 3600
    xet_token_lifetime: float = 900
