"""Settings read into what they alone decide: who may ask, which hubs there are, whom the mirror may ask.

Beside the composition root, for those who need a part and no whole mirror: the command line on a data
folder at rest, and the check of settings.
"""

from collections.abc import Callable, Sequence

from mirror.cache.gate import Gate
from mirror.cache.owntoken import OwnToken, token_in
from mirror.cache.rules import Rules
from mirror.cache.users import Users
from mirror.clock import Clock, SystemClock
from mirror.config import Settings
from mirror.errors import ConfigError, MirrorError
from mirror.hubs import registry
from mirror.hubs.base import Hub
from mirror.store.layout import Layout
from mirror.upstream.policy import Policy
from mirror.upstream.proxies import Proxies
from mirror.upstream.trust import tls_context
from mirror.web.tls import ServingTls


def hubs_of(settings: Settings, secret: bytes) -> Sequence[Hub]:
    """Every hub; *secret* is the data folder's."""
    return registry.hubs(
        secret=secret,
        tree_limit=settings.huggingface_tree_limit,
        ref_lifetime=settings.huggingface_ref_lifetime,
    )


def examine(settings: Settings) -> list[MirrorError]:
    """What a start would refuse; reads the files that *settings* name, and writes nothing."""
    clock, refused = SystemClock(), list[MirrorError]()
    looks: tuple[Callable[[], object], ...] = (
        lambda: ServingTls.of(settings.tls_cert, settings.tls_key, clock),
        lambda: gate_of(settings, clock),
        lambda: tls_context(settings.upstream_ca),
        lambda: policy_of(settings),
        lambda: proxies_of(settings),
        lambda: metrics_token_of(settings),
        Layout(settings.data).examine,
    )
    for look in looks:
        try:
            look()
        except MirrorError as error:
            refused.append(error)
    return refused


def gate_of(settings: Settings, clock: Clock) -> Gate:
    """The operator's own gate, open where nothing is set."""
    return Gate(
        None if settings.access_users is None else Users(settings.access_users, clock),
        Rules.read(
            settings.access_allow_repos,
            settings.access_deny_repos,
            settings.access_allow_files,
            settings.access_deny_files,
        ),
        OwnToken.read(
            settings.huggingface_token,
            settings.huggingface_token_file,
            settings.huggingface_token_repos,
            users=settings.access_users is not None,
        ),
    )


def metrics_token_of(settings: Settings) -> str:
    """The token without which nobody reads the metrics, ``""`` where none is wanted.

    Raises `ConfigError` for a token without the wish for one, or the other way round: metrics that were
    thought closed would be open.
    """
    file = settings.metrics_token_file
    if (settings.metrics == "token") != (file is not None):
        raise ConfigError(
            "Metrics that want a token go with a file that holds it.",
            hint="Set metrics = token and metrics_token_file, both or neither.",
        )
    return "" if file is None else token_in(file)


def policy_of(settings: Settings) -> Policy:
    """Whom the mirror may ask."""
    hosts = registry.elsewhere(settings.upstream_hosts, settings.huggingface_upstreams)
    return Policy(
        {"huggingface": settings.huggingface_upstreams} | registry.upstreams(hosts),
        hosts,
        settings.upstream_redirect_hosts,
        registry.known_hosts(),
    )


def proxies_of(settings: Settings) -> Proxies:
    """By way of whom."""
    return Proxies(
        settings.upstream_https_proxy, settings.upstream_http_proxy, settings.upstream_no_proxy
    )
