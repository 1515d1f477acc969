"""Settings: read once, checked once, never looked up again.

Each setting is one row of `SETTINGS`: its key, its reader, its default and one sentence. Flags beat the
environment, the environment beats the file, the file beats the default; where a value came from is kept
beside it, so `modelmirror config show` can tell. Below the wiring nothing sees a `Settings`.
"""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from mirror.errors import ConfigError
from mirror.patterns import RepoPattern
from mirror.units import parse_size, parse_span


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting, checked. Sizes are bytes, spans seconds, URLs without a trailing slash."""

    data: Path
    host: str
    port: int
    tls_cert: Path | None
    tls_key: Path | None
    public_url: str | None
    trusted_proxies: tuple[str, ...]
    offline: bool
    quota: int | None
    min_free: int
    strict: bool
    metrics: str
    metrics_token_file: Path | None
    drain: float
    log_level: str
    log_format: str
    huggingface_upstreams: tuple[str, ...]
    huggingface_ref_lifetime: float
    huggingface_tree_limit: int
    huggingface_token: str
    huggingface_token_file: Path | None
    huggingface_token_repos: Mapping[RepoPattern, frozenset[str]]
    upstream_hosts: Mapping[str, str]
    upstream_redirect_hosts: tuple[str, ...]
    upstream_connections: int
    upstream_ca: Path | None
    upstream_https_proxy: str
    upstream_http_proxy: str
    upstream_no_proxy: tuple[str, ...]
    audience_lifetime: float
    audience_grace: float
    access_users: Path | None
    access_allow_repos: tuple[RepoPattern, ...]
    access_deny_repos: tuple[RepoPattern, ...]
    access_allow_files: tuple[str, ...]
    access_deny_files: tuple[str, ...]
    limits_connections: int
    limits_connections_per_address: int
    limits_prepared: int
    bundle_signers: Path | None
    bundle_unsigned: bool
    scrub_period: float | None
    sweep_partials: float
    sweep_quarantine: float


class Setting(NamedTuple):
    """One row of the table: *field* of `Settings`, the key in the file, the reader, the default as text.

    *hide* makes of a value what may be shown to whoever looks at the screen.
    """

    field: str
    key: str
    read: Callable[[str], Any]
    default: str
    help: str
    variable: str = ""
    hide: Callable[[str], str] = str

    @property
    def environment(self) -> str:
        """The environment variable that sets it."""
        return self.variable or "MODELMIRROR_" + self.key.replace(".", "_").upper()


def _boolean(text: str) -> bool:
    if text.lower() in {"1", "true", "yes", "on"}:
        return True
    if text.lower() in {"0", "false", "no", "off", ""}:
        return False
    msg = f"{text!r} is neither true nor false"
    raise ValueError(msg)


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        msg = f"{text!r} is not a base URL; write it like https://huggingface.co"
        raise ValueError(msg)
    if parts.username or parts.password:
        msg = "a base URL must not carry a password"
        raise ValueError(msg)
    return text.rstrip("/")


def _optional_path(text: str) -> Path | None:
    return Path(text).expanduser() if text else None


def _optional_url(text: str) -> str | None:
    return _url(text) if text else None


def _without_password(url: str) -> str:
    """*url* without the user and password in it."""
    before, at, host = url.rpartition("@")
    scheme = before.partition("://")[0] + "://" if "://" in before else ""
    return f"{scheme}…@{host}" if at else url


def _list(text: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in text.split(",") if item.strip())


def _urls(text: str) -> tuple[str, ...]:
    urls = tuple(_url(item) for item in _list(text))
    if not urls:
        msg = "at least one base URL is needed"
        raise ValueError(msg)
    return urls


def _pairs(text: str) -> dict[str, str]:
    pairs = {}
    for item in _list(text):
        host, separator, url = item.partition("=")
        if not separator or not host:
            msg = f"{item!r} is not a pair; write it like cdn.example.org=http://10.0.0.5:8000/cdn"
            raise ValueError(msg)
        pairs[host.strip().lower()] = _url(url.strip())
    return pairs


def _patterns(text: str) -> tuple[RepoPattern, ...]:
    return tuple(RepoPattern.parse(item) for item in _list(text))


def _readers(text: str) -> dict[RepoPattern, frozenset[str]]:
    listed = {}
    for item in _list(text):
        pattern, separator, names = item.partition("=")
        readers = frozenset(name.strip() for name in names.split("+") if name.strip())
        if not separator or not readers:
            msg = f"{item!r} does not say who may read; write it like acme/*=everyone or acme/*=alice+bob"
            raise ValueError(msg)
        listed[RepoPattern.parse(pattern.strip())] = readers
    return listed


def _token(text: str) -> str:
    if not text.isascii() or not text.isprintable() or " " in text:
        msg = "it holds characters that no token has"
        raise ValueError(msg)
    return text


def _hidden(text: str) -> str:
    return "…" if text else ""


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        msg = f"{text!r} is not a port; use 0 to 65535 (0 picks a free one)"
        raise ValueError(msg)
    return int(text)


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        msg = f"{text!r} is not a whole number above 0"
        raise ValueError(msg)
    return int(text)


def _count(text: str) -> int:
    return 0 if text == "0" else _positive(text)


def _optional_size(text: str) -> int | None:
    return parse_size(text) if text else None


def _span_or_off(text: str) -> float | None:
    if text.lower() in {"off", "false"}:
        return None
    span = parse_span(text)
    if span <= 0:
        msg = f"{text!r} is no time at all; write off for never"
        raise ValueError(msg)
    return span


def _one_of(*choices: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in choices:
            msg = f"{text!r} is none of {', '.join(choices)}"
            raise ValueError(msg)
        return text

    return read


SETTINGS: Final = (
    Setting("data", "data", Path, "", "The data folder: blobs, records, index."),
    Setting("host", "host", str, "127.0.0.1", "The address to listen on."),
    Setting("port", "port", _port, "8090", "The port to listen on; 0 picks a free one."),
    Setting("tls_cert", "tls.cert", _optional_path, "", "A PEM file with the certificate (and its chain) to serve HTTPS with."),
    Setting("tls_key", "tls.key", _optional_path, "", "The PEM file with its key."),
    Setting("public_url", "public_url", _optional_url, "", "The base of every URL the mirror hands out; by default the scheme and Host of each request."),
    Setting("trusted_proxies", "trusted_proxies", _list, "", "Addresses or networks of front proxies whose X-Forwarded-Proto, -Host and -For are believed."),
    Setting("offline", "offline", _boolean, "false", "Never ask upstream; answer from what is here and say what is not."),
    Setting("quota", "quota", _optional_size, "", "The most the store may hold; empty for no limit but the disk's."),
    Setting("min_free", "min_free", parse_size, "1GiB", "Room on the disk that the store leaves alone."),
    Setting("strict", "strict", _boolean, "false", "Send no byte of a cold blob, of ranges too, before its digest matched."),
    Setting("metrics", "metrics", _one_of("on", "off", "token"), "on", "Whether /-/metrics answers: to all, to nobody, or to a token."),
    Setting("metrics_token_file", "metrics_token_file", _optional_path, "", "A file that holds the token that metrics = token wants."),
    Setting("drain", "drain", parse_span, "30s", "How long a stop waits for running downloads."),
    Setting("log_level", "log_level", _one_of("debug", "info", "warning", "error"), "info", "What is logged on standard error."),
    Setting("log_format", "log_format", _one_of("text", "json"), "text", "How it is logged: lines for people, or one JSON object a line."),
    Setting("huggingface_upstreams", "huggingface.upstreams", _urls, "https://huggingface.co", "Base URLs of the Hub, asked in order."),
    Setting("huggingface_ref_lifetime", "huggingface.ref_lifetime", parse_span, "60s", "How long a branch is believed without asking."),
    Setting("huggingface_tree_limit", "huggingface.tree_limit", _positive, "500000", "Repos with more entries than this are asked path by path."),
    Setting("huggingface_token", "huggingface.token", _token, "", "A token of the mirror's own, used for the repos of token_repos alone.", "", _hidden),
    Setting("huggingface_token_file", "huggingface.token_file", _optional_path, "", "A file that holds that token."),
    Setting("huggingface_token_repos", "huggingface.token_repos", _readers, "", "pattern=readers pairs: which repos it is for, and who may read them: everyone, or users with a plus between."),
    Setting("upstream_hosts", "upstream.hosts", _pairs, "", "host=base-url pairs: where an allow-listed host is really asked."),
    Setting("upstream_redirect_hosts", "upstream.redirect_hosts", _list, "", "host[:port] patterns that upstream redirects may lead to, beyond the built-in ones.", "MODELMIRROR_REDIRECT_HOSTS"),
    Setting("upstream_connections", "upstream.connections", _positive, "16", "Most blobs fetched from upstream at once."),
    Setting("upstream_ca", "upstream.ca", _optional_path, "", "A PEM file with certificate authorities to trust upstream, beside the system's."),
    Setting("upstream_https_proxy", "upstream.https_proxy", str, "", "The forward proxy that https upstreams are asked through.", "HTTPS_PROXY", _without_password),
    Setting("upstream_http_proxy", "upstream.http_proxy", str, "", "The forward proxy that http upstreams are asked through.", "HTTP_PROXY", _without_password),
    Setting("upstream_no_proxy", "upstream.no_proxy", _list, "", "Hosts, domains and networks that are asked without a proxy.", "NO_PROXY"),
    Setting("audience_lifetime", "audience.lifetime", parse_span, "300s", "How long a credential that upstream accepted for a repo is believed."),
    Setting("audience_grace", "audience.grace", parse_span, "7d", "The same while upstream cannot be asked."),
    Setting("access_users", "access.users", _optional_path, "", "A file of local users; with it callers say to this mirror who they are."),
    Setting("access_allow_repos", "access.allow_repos", _patterns, "", "Patterns of the repos that are served; empty for all."),
    Setting("access_deny_repos", "access.deny_repos", _patterns, "", "Patterns of repos that are not."),
    Setting("access_allow_files", "access.allow_files", _list, "", "Patterns of the files that are served, or safetensors-only; empty for all."),
    Setting("access_deny_files", "access.deny_files", _list, "", "Patterns of files that are not."),
    Setting("limits_connections", "limits.connections", _positive, "4096", "Most connections of clients at once."),
    Setting("limits_connections_per_address", "limits.connections_per_address", _count, "0", "Most of them from one address; 0 for no such limit."),
    Setting("limits_prepared", "limits.prepared", parse_size, "16MiB", "Memory for answers that are kept to be given again at once; 0 keeps none."),
    Setting("bundle_signers", "bundle.signers", _optional_path, "", "A file of allowed signers: whose bundles are imported."),
    Setting("bundle_unsigned", "bundle.unsigned", _boolean, "false", "Import bundles that nobody has to have signed, too."),
    Setting("scrub_period", "scrub.period", _span_or_off, "7d", "How long reading everything that is stored again may take; off for never."),
    Setting("sweep_partials", "sweep.partials", parse_span, "7d", "How long a half download waits for somebody to go on with it."),
    Setting("sweep_quarantine", "sweep.quarantine", parse_span, "30d", "How long a blob that was set aside is kept."),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings with, for each field, the text it was read from and where that came from."""

    settings: Settings
    texts: Mapping[str, str]
    origins: Mapping[str, str]


def load(
    flags: Mapping[str, str], environment: Mapping[str, str], file: Path | None, *, data: Path
) -> Loaded:
    """Fold flags, environment, file and defaults into `Settings`.

    *flags* and the result's maps are keyed by `Settings` field; *file* is a TOML file or `None`; *data*
    is the data folder when nothing names one. Raises `ConfigError` naming the setting and its source.
    """
    table = _read_file(file) if file is not None else {}
    values: dict[str, Any] = {}
    texts: dict[str, str] = {}
    origins: dict[str, str] = {}
    for setting in SETTINGS:
        if setting.field in flags:
            text, origin = flags[setting.field], "flag"
        elif setting.environment in environment:
            text, origin = environment[setting.environment], setting.environment
        elif setting.key in table:
            text, origin = table.pop(setting.key), str(file)
        else:
            text, origin = str(data) if setting.field == "data" else setting.default, "default"
        table.pop(setting.key, None)
        try:
            values[setting.field] = setting.read(text)
        except ValueError as error:
            msg = f"The setting {setting.key} (from {origin}) cannot be used: {error}."
            raise ConfigError(msg) from error
        texts[setting.field], origins[setting.field] = text, origin
    if table:
        unknown = ", ".join(sorted(table))
        raise ConfigError(
            f"{file} has settings that do not exist: {unknown}.",
            hint="config/modelmirror.toml lists every setting.",
        )
    return Loaded(Settings(**values), texts, origins)


def _read_file(file: Path) -> dict[str, str]:
    try:
        tree = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        msg = f"The settings file {file} cannot be read: {error.strerror}."
        raise ConfigError(msg) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        msg = f"The settings file {file} is not TOML: {error}."
        raise ConfigError(msg) from error
    return dict(_flatten("", tree))


# Settings that are a table in the file: pairs, whose keys are not ours.
_TABLES: Final = frozenset({"upstream.hosts", "huggingface.token_repos"})


def _flatten(prefix: str, tree: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in tree.items():
        name = prefix + key
        if name in _TABLES and isinstance(value, dict):
            pairs = (
                (k, "+".join(map(str, v)) if isinstance(v, list) else v) for k, v in value.items()
            )
            rows.append((name, ",".join(f"{key}={what}" for key, what in pairs)))
        elif isinstance(value, dict):
            rows.extend(_flatten(name + ".", value))
        elif isinstance(value, bool):
            rows.append((name, "true" if value else "false"))
        elif isinstance(value, list):
            rows.append((name, ",".join(str(item) for item in value)))
        else:
            rows.append((name, str(value)))
    return rows
