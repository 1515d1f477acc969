"""Leads Python programs to a modelmirror, and checks exported caches: one file, standard library only.

It runs in other people's interpreters, Python 3.8 and newer, so it imports next to nothing until it must.
`start` does nothing unless ``MODELMIRROR_URL`` is set. Then it waits for the libraries below to be imported
and leads what they ask of known hosts to the mirror:

    https://tfhub.dev/google/yamnet/1?tf-hub-format=compressed
 -> MODELMIRROR_URL/-/host/tfhub.dev/google/yamnet/1?tf-hub-format=compressed

What was meant for huggingface.co goes to the mirror's root, where the Hub is. As a script:

    python modelmirror_hook.py check DIR [--verify] [--json]    is an exported cache whole?
    python modelmirror_hook.py self-test [--json]               which libraries are led?
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing costs a few milliseconds at every start
    from types import ModuleType
    from typing import Any, Callable, Iterator

VERSION = "0.1.0"

# ── what is known ───────────────────────────────────────────────────────────────────────────────────

# Everything at these is the Hub's, whatever the method: as with HF_ENDPOINT.
HUB = frozenset(("huggingface.co", "hf-mirror.com"))

_FORMAT = r"\?(?:[^#]*&)?(?:tf-hub|tfjs|lite)-format="
_HASHED = r"/[^?]+/[0-9a-f]{64}/[^/?]+(?:\?|\Z)"
_REPO = r"/[^/?]+/[^/?]+"
# A checkpoint, or what belongs to one, on hosts that hold other things too.
_MODEL = (
    r"[^?]+\.(?:pth|pt|th|pkl|npz|npy|bin|onnx|safetensors|ckpt|h5|tflite|model|vocab|bpe|dict|json|yaml"
    r"|txt|gz|zip|tar|xz)(?:\?|\Z)"
)
_KAGGLE = (
    r"/api/v1/models(?:/[^/?]+){4}/(?:get|files|[0-9]+/files|[0-9]+/download(?:/[^?]+)?)(?:\?|\Z)"
)
_CALLS = "GetModelInstance|ListModelInstanceVersionFiles|DownloadModelInstanceVersion"

# Which paths of the other hosts the mirror serves, with their query; anything else there is left alone.
PATHS = {
    "openaipublic.azureedge.net": _HASHED,
    "openaipublic.blob.core.windows.net": _HASHED
    + r"|/encodings/(?:r50k|p50k|cl100k|o200k)_base\.tiktoken(?:\?|\Z)"
    r"|/gpt-2/encodings/main/(?:vocab\.bpe|encoder\.json)(?:\?|\Z)",
    "download.pytorch.org": r"/(?!whl/|libtorch/)[^?]*[^/?](?:\?|\Z)",
    "tfhub.dev": r"/[^/?]+/[^?]+" + _FORMAT,
    "www.kaggle.com": r"/models/[^/?]+/[^?]+" + _FORMAT + "|" + _KAGGLE,
    "api.kaggle.com": r"/v1/models\.ModelApiService/(?:" + _CALLS + r")(?:\?|\Z)",
    "registry.ollama.ai": r"/v2/[^/?]+/[^/?]+/(?:manifests|blobs)/[^/?]+(?:\?|\Z)",
    "raw.githubusercontent.com": _REPO + r"/[^/?]+/[^?]+",
    "media.githubusercontent.com": r"/media" + _REPO + r"/[^/?]+/[^?]+",
    "codeload.github.com": _REPO + r"/(?:legacy\.)?(?:zip|tar\.gz)/[^?]+",
    # Of pages, only the one by which torch.hub learns what the branch is called: it is answered empty.
    "github.com": _REPO
    + r"/(?:releases/(?:download/[^?]+|latest/download)/[^/?]+|raw/[^/?]+/[^?]+|(?:zip|tar)ball/[^?]+"
    r"|archive/[^?]+\.(?:zip|tar\.gz)|tree/main/)(?:\?|\Z)|"
    + _REPO
    + r"/blob/[^?]+\?(?:[^#]*&)?raw=",
    "api.github.com": r"/(?:repos" + _REPO + r"|repositories/[0-9]+)/(?:branches|tags|releases)"
    r"(?:/(?:latest|tags/[^?]+))?(?:\?(?:(?:per_page|page)=[0-9]{1,9}(?:&|\Z))*)?\Z",
    "storage.googleapis.com": r"/(?:tensorflow/keras-applications|vit_models|big_vision|bit_models)/"
    + _MODEL,
    "conversationhub.blob.core.windows.net": r"/beit-share-public/" + _MODEL,
    "dl.fbaipublicfiles.com": r"/" + _MODEL,
}
# An address that was signed for its caller is a credential, and no mirror's to ask for.
_SIGNED = r"[?&](?:token|access_token|sig|signature|x-amz-signature|x-goog-signature)="
_READ = frozenset(("GET", "HEAD"))


def known(host: str) -> bool:
    """Whether *host* is one that the mirror serves something of."""
    return host in HUB or host in PATHS


def _split(url: str) -> tuple[str, str] | None:
    """Split *url* into its host and its target (path and query); `None` if that is no known host's."""
    scheme, colon, rest = url.partition("://")
    scheme = scheme.lower()
    if not colon or scheme not in ("http", "https"):
        return None
    rest = rest.partition("#")[0]
    end = min(at for at in (rest.find("/"), rest.find("?"), len(rest)) if at >= 0)
    host, _, port = rest[:end].rpartition("@")[2].partition(":")
    host = host.rstrip(".").lower()
    if port not in ("", "443" if scheme == "https" else "80") or not known(host):
        return None
    target = rest[end:]
    return host, target if target[:1] == "/" else "/" + target


def served(host: str, target: str, method: str) -> bool:
    """Whether the mirror serves *target*, a path and query of a known *host*, to *method*."""
    import re  # whoever asks for a URL has imported it

    if host in HUB or target.startswith("/-/"):
        return True
    if method.upper() not in (("POST",) if host == "api.kaggle.com" else _READ):
        return False
    if re.search(_SIGNED, target, re.IGNORECASE):
        return False
    return re.match(PATHS[host], target) is not None


def _address(base: str, host: str, target: str) -> str:
    """Where at the mirror *target* of *host* is.

    A redirect of the mirror's own is relative to it; a client that does not know it was led makes it one of
    *host*. No host has anything else below ``/-/``.
    """
    if host in HUB or target.startswith("/-/"):
        return base + target
    return base + "/-/host/" + host + target


# ── what this process is to do ──────────────────────────────────────────────────────────────────────

# How long, in seconds, the mirror has to answer, and how long it is believed to be up or down after that.
ALIVE_TIMEOUT = 1.0
ALIVE_LIFETIME = 5.0

_TRUE = frozenset(("1", "true", "yes", "on"))
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


class _State:
    """What the environment asks for, and what came of it; one per process."""

    def __init__(self) -> None:
        self.active = False
        self.base = ""
        self.fault = ""
        self.strict = self.fallback = False
        self.direct: frozenset[str] = frozenset()
        self.token = self.report = ""
        self.modules: dict[str, str] = {}
        self.led: dict[str, int] = {}
        self.told: set[tuple[str, str, str]] = set()
        self.up = True
        self.seen_at: float | None = None

    def read(self) -> None:
        """Read the environment; raises `ValueError` for an address that cannot be one."""
        environ = os.environ
        self.strict = _is_true(environ.get("MODELMIRROR_STRICT"))
        self.fallback = _is_true(environ.get("MODELMIRROR_FALLBACK"))
        direct = environ.get("MODELMIRROR_DIRECT", "").lower().replace(",", " ").split()
        self.direct = frozenset(direct)
        self.token = environ.get("MODELMIRROR_TOKEN", "").strip()
        self.report = environ.get("MODELMIRROR_HOOK_REPORT", "")
        base = environ.get("MODELMIRROR_URL", "").strip().rstrip("/")
        scheme, colon, _ = base.partition("://")
        if not base:
            raise ValueError("MODELMIRROR_URL is empty")
        if "@" in base or "?" in base or "#" in base:
            raise ValueError(
                "MODELMIRROR_URL is to be scheme, host, port and at most a path; a token goes into "
                "MODELMIRROR_TOKEN"
            )
        if not colon or scheme.lower() not in ("http", "https") or not _authority(base)[1]:
            raise ValueError("MODELMIRROR_URL is no address like http://mirror:8090: %s" % base)
        self.base = base


_state = _State()


def _is_true(value: str | None) -> bool:
    return (value or "").strip().lower() in _TRUE


def _authority(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of an absolute *url* without userinfo; the host is empty if there is none."""
    scheme, _, rest = url.lower().partition("://")
    authority = rest.partition("/")[0].partition("?")[0]
    if authority.startswith("["):
        host, _, port = authority[1:].partition("]")
        port = port[1:]
    else:
        host, _, port = authority.partition(":")
    if port and not port.isdigit():
        return scheme, "", 0
    return scheme, host, int(port) if port else 443 if scheme == "https" else 80


def _at_mirror(url: str) -> bool:
    """Whether *url* is an address of the mirror."""
    return bool(_state.base) and _authority(url) == _authority(_state.base)


def _say(sentence: str) -> None:
    """Say *sentence* where a person may see it."""
    if sys.stderr is not None:
        sys.stderr.write("modelmirror: %s\n" % sentence)


def _note(event: str, **said: str) -> None:
    """Append one event to the report, each once; a report that cannot be written is no reason to fail."""
    key = (event, said.get("module", ""), said.get("host", ""))
    if not _state.report or key in _state.told:
        return
    _state.told.add(key)
    import json  # only for doctor

    line = json.dumps(dict(said, event=event, pid=os.getpid()), sort_keys=True) + "\n"
    try:
        with open(_state.report, "ab") as report:
            report.write(line.encode())
    except OSError:
        pass


# ── decisions ───────────────────────────────────────────────────────────────────────────────────────


def rewrite(url: str, method: str = "GET") -> str | None:
    """Where a request of *url* is led, `None` if it is left alone; asks and refuses nothing."""
    found = _split(url) if _state.base else None
    if found is None or found[0] in _state.direct or not served(found[0], found[1], method):
        return None
    return _address(_state.base, found[0], found[1])


def _lead(url: str, method: str, module: str) -> str | None:
    """Where a request is led, `None` if it goes where it was meant to.

    Raises `PermissionError` in strict mode for what is known and not led.
    """
    if not _state.active:
        return None
    found = _split(url)
    if found is None or found[0] in _state.direct:
        return None
    host, target = found
    if not _state.base:
        if _state.strict:
            raise _refusal(host, _state.fault)
        return None
    if not served(host, target, method):
        if not _state.strict:
            return None
        what = "%s %s" % (method, target.partition("?")[0])
        raise _refusal(host, "the mirror at %s does not serve %s of it" % (_state.base, what))
    if _state.fallback and not _alive():
        _note("direct", host=host, module=module)
        return None
    _state.led[host] = _state.led.get(host, 0) + 1
    _note("rewritten", host=host, module=module)
    return _address(_state.base, host, target)


def _refusal(host: str, why: str) -> PermissionError:
    """What says that *host* is not asked in strict mode, and *why*."""
    _note("refused", host=host)
    return PermissionError(
        13,
        "MODELMIRROR_STRICT: %s is not asked, because %s; MODELMIRROR_DIRECT=%s lets requests to it go out"
        % (host, why, host),
    )


def _guard(host: object) -> None:
    """Refuse in strict mode what is about to be asked past the mirror."""
    if not _state.active or not _state.strict:
        return
    if isinstance(host, (bytes, bytearray)):
        host = bytes(host).decode("ascii", "replace")
    name = host.rstrip(".").lower() if isinstance(host, str) else ""
    if not known(name) or name in _state.direct or (_state.fallback and not _alive()):
        return
    failed = ["%s (%s)" % pair for pair in sorted(_state.modules.items()) if "failed" in pair[1]]
    why = (
        _state.fault
        or "this program asks it by a way that the start-up hook does not lead to the mirror"
    )
    raise _refusal(name, why + ("; not led: " + ", ".join(failed) if failed else ""))


def _alive() -> bool:
    """Whether the mirror answers; asked at most every `ALIVE_LIFETIME` seconds, and of no other thread."""
    import time

    now = time.monotonic()
    if _state.seen_at is None or now - _state.seen_at >= ALIVE_LIFETIME:
        _state.seen_at = now  # Others go by what was known while this one asks.
        _believe(up=_answers())
    return _state.up


def _believe(*, up: bool) -> None:
    """Keep whether the mirror answers; say when that ends or begins again."""
    import time

    if up != _state.up:
        _say(
            "the mirror at %s answers again; requests are led to it" % _state.base
            if up
            else "the mirror at %s does not answer; requests go to the hubs themselves "
            "(MODELMIRROR_FALLBACK is set)" % _state.base
        )
    _state.up, _state.seen_at = up, time.monotonic()


def _answers() -> bool:
    """Ask the mirror whether it lives."""
    import http.client

    scheme, host, port = _authority(_state.base)
    kind = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
    connection = kind(host, port, timeout=ALIVE_TIMEOUT)
    try:
        path = _state.base.partition("://")[2].partition("/")[2]
        connection.request("GET", "/%s/-/live" % path if path else "/-/live")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _unled(name: str, value: str, led: str) -> bool:
    """Whether the header *name* must not go along with what was led to *led*."""
    name = name.lower()
    if name != "authorization":
        return name in ("host", "cookie", "cookie2", "proxy-authorization")
    # The Hub's own token for the Hub, as HF_ENDPOINT clients send it. From a netrc comes a Basic one.
    at_hub = not led[len(_state.base) :].startswith("/-/")
    return bool(_state.token) or not (at_hub and value[:7].lower() == "bearer ")


def _worded(error: BaseException) -> None:
    """Make *error*, raised because the mirror was not reached, say so; type and attributes stay."""
    inner = getattr(error, "reason", None)
    inner = inner if isinstance(inner, BaseException) else error
    said = str(inner)
    if "the mirror at " in said:
        return
    sentence = (
        "the mirror at %s (MODELMIRROR_URL) cannot be reached: %s. Start it, or mend MODELMIRROR_URL; with "
        "MODELMIRROR_FALLBACK=1 the hubs are asked themselves while it is down"
        % (_state.base, said)
    )
    if isinstance(inner, OSError) and inner.errno is not None:
        inner.strerror = sentence
    else:
        inner.args = (sentence, *inner.args[1:])


def _lost(error: BaseException) -> bool:
    """Whether to go direct after *error*; else it is worded, to be raised."""
    if _state.fallback:
        _believe(up=False)
        return True
    _worded(error)
    return False


# ── libraries ───────────────────────────────────────────────────────────────────────────────────────


def _patch_urllib(module: ModuleType) -> None:
    """``OpenerDirector.open``: what ``urlopen`` and ``urlretrieve`` call, and every redirect."""
    import copy  # urllib has imported it

    name = module.__name__
    opener, request_class, url_error = module.OpenerDirector, module.Request, module.URLError
    original = opener.open

    def open(self: Any, fullurl: Any, data: Any = None, *args: Any, **kwargs: Any) -> Any:  # noqa: A001
        request = fullurl if hasattr(fullurl, "get_method") else None
        if request is None:
            url, method = fullurl, "GET" if data is None else "POST"
        else:
            url, method = request.full_url, request.get_method()
            if data is not None and method == "GET" and not getattr(request, "method", None):
                method = "POST"
        led = _lead(url, method, name) if isinstance(url, str) else None
        if led is None:
            return original(self, fullurl, data, *args, **kwargs)
        if request is None:
            sent = request_class(led, data)
        else:
            sent = copy.copy(request)
            sent.headers, sent.unredirected_hdrs = (
                {key: value for key, value in headers.items() if not _unled(key, value, led)}
                for headers in (request.headers, request.unredirected_hdrs)
            )
            sent.full_url, sent._tunnel_host = led, None
        if _state.token:
            sent.add_header("Authorization", "Bearer " + _state.token)
        try:
            answer = original(self, sent, data, *args, **kwargs)
        except url_error as error:
            if hasattr(error, "code"):  # An HTTPError is an answer.
                if error.url == led:
                    error.url = error.filename = url
                raise
            if not _lost(error):
                raise
            return original(self, fullurl, data, *args, **kwargs)
        if getattr(answer, "url", None) == led:
            answer.url = url
        return answer

    opener.open = open


def _patch_requests(module: ModuleType) -> None:
    """``Session.get_adapter``: what sends each hop, once credentials were added."""
    name = module.__name__
    session = module.Session
    errors = sys.modules[name.rpartition(".")[0] + ".exceptions"]
    original = session.get_adapter

    class Adapter:
        """Sends what the session asks for: to the mirror what is led, by its own adapter what is not."""

        def __init__(self, owner: Any, url: str) -> None:
            self._owner = owner
            self._inner = original(owner, url)

        def __getattr__(self, attribute: str) -> Any:
            return getattr(self._inner, attribute)

        def send(self, request: Any, **kwargs: Any) -> Any:
            led = _lead(request.url, request.method, name)
            if led is None:
                return original(self._owner, request.url).send(request, **kwargs)
            sent = request.copy()
            sent.url = led
            _strip(sent.headers, led)
            try:
                # The proxies in kwargs were chosen for the scheme and host that were meant.
                answer = original(self._owner, led).send(sent, **dict(kwargs, proxies={}))
            except errors.ConnectionError as error:
                if not _lost(error):
                    raise
                return original(self._owner, request.url).send(request, **kwargs)
            answer.url, answer.request, answer.connection = request.url, request, self
            _bring_home(answer.headers)
            return answer

    def get_adapter(self: Any, url: str, *args: Any, **kwargs: Any) -> Any:
        if not _state.active or _split(url) is None:
            return original(self, url, *args, **kwargs)
        return Adapter(self, url)

    session.get_adapter = get_adapter


def _bring_home(headers: Any) -> None:
    """Make a redirect to the mirror one to a path, which its client then asks of the host that it knows.

    So a client that compares hosts, as huggingface_hub does before it sends its token on, sees one host.
    """
    location = headers.get("location") or ""
    path = _state.base.partition("://")[2].partition("/")[2]
    for base in (_state.base, "/" + path if path else ""):
        if base and location.startswith(base + "/"):
            headers["location"] = location[len(base) :]
            return


def _strip(headers: Any, led: str) -> None:
    """Take from *headers* what must not go along to *led*, and add what the mirror wants to see."""
    for key, value in list(headers.items()):
        if _unled(key, value if isinstance(value, str) else value.decode("latin-1"), led):
            headers.pop(key, None)
    if _state.token:
        headers["Authorization"] = "Bearer " + _state.token


def _patch_httpx(module: ModuleType) -> None:
    """``_send_single_request`` of both clients: after credentials were added, and at every redirect.

    It is private. Where it is gone, ``send`` leads what is asked for, though not where that redirects to.
    """
    for client, wrap in ((module.Client, _httpx_send), (module.AsyncClient, _httpx_send_async)):
        place = "_send_single_request" if hasattr(client, "_send_single_request") else "send"
        setattr(client, place, wrap(module, getattr(client, place)))


def _httpx_lead(module: ModuleType, request: Any) -> tuple[Any, Any] | None:
    """Lead *request*, in place; what it was, `None` if it is left alone."""
    led = _lead(str(request.url), request.method, module.__name__)
    if led is None:
        return None
    before = request.url, request.headers.copy()
    request.url = module.URL(led)
    _strip(request.headers, led)
    request.headers["Host"] = request.url.netloc.decode("ascii")
    return before


def _httpx_send(module: ModuleType, original: Any) -> Any:
    def send(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        before = _httpx_lead(module, request)
        if before is None:
            return original(self, request, *args, **kwargs)
        try:
            answer = original(self, request, *args, **kwargs)
        except (module.ConnectError, module.ConnectTimeout) as error:
            if not _lost(error):
                raise
        else:
            _bring_home(answer.headers)
            return answer
        finally:
            request.url, request.headers = before
        return original(self, request, *args, **kwargs)

    return send


def _httpx_send_async(module: ModuleType, original: Any) -> Any:
    async def send(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        await _alive_async()
        before = _httpx_lead(module, request)
        if before is None:
            return await original(self, request, *args, **kwargs)
        try:
            answer = await original(self, request, *args, **kwargs)
        except (module.ConnectError, module.ConnectTimeout) as error:
            if not _lost(error):
                raise
        else:
            _bring_home(answer.headers)
            return answer
        finally:
            request.url, request.headers = before
        return await original(self, request, *args, **kwargs)

    return send


async def _alive_async() -> None:
    """Learn whether the mirror lives without holding up the loop, where that is going to be asked."""
    if not _state.active or not _state.fallback:
        return
    import asyncio

    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:  # trio's
        return
    await loop.run_in_executor(None, _alive)


def _patch_aiohttp(module: ModuleType) -> None:
    """``ClientRequest``, which is made anew for every redirect, and ``ClientSession._request`` around it."""
    from contextvars import ContextVar

    name = module.__name__
    request_class, session = module.ClientRequest, module.ClientSession
    url_class = sys.modules["yarl"].URL
    original_init, original_request = request_class.__init__, session._request
    # The errors of what is led come out of the same call; its redirects are asked for in it.
    under_way: ContextVar[list[str] | None] = ContextVar("under_way", default=None)

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        original_init(self, *args, **kwargs)
        url = str(self.original_url)
        led = _lead(url, self.method, name)
        asked = under_way.get()
        if led is None:
            # To a redirect of the mirror's own, aiohttp adds what a netrc has for its host.
            if asked and _at_mirror(url):
                _strip(self.headers, url)
            return
        if asked is not None:
            asked.append(led)
        self.url = url_class(led, encoded=True)  # The answer bears the other, original_url.
        self.update_host(self.url)
        _strip(self.headers, led)
        self.headers["Host"] = _authority_text(led)
        self.server_hostname = None
        self.update_proxy(None, None, None)

    async def request(self: Any, *args: Any, **kwargs: Any) -> Any:
        await _alive_async()
        asked: list[str] = []
        before = under_way.set(asked)
        try:
            return await original_request(self, *args, **kwargs)
        except module.ClientConnectorError as error:
            if not asked or not _lost(error):
                raise
        finally:
            under_way.reset(before)
        return await original_request(self, *args, **kwargs)

    request_class.__init__ = init
    session._request = request


def _authority_text(url: str) -> str:
    return url.partition("://")[2].partition("/")[0]


def _patch_socket(module: ModuleType) -> None:
    """In strict mode: no known host is looked up."""

    def guarded(original: Any) -> Any:
        def look_up(*args: Any, **kwargs: Any) -> Any:
            _guard(args[0] if args else kwargs.get("host"))
            return original(*args, **kwargs)

        return look_up

    for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex"):
        setattr(module, name, guarded(getattr(module, name)))

    def checked(original: Any) -> Any:
        def connect(self: Any, address: Any) -> Any:
            _guard(address[0] if isinstance(address, tuple) and address else None)
            return original(self, address)

        return connect

    for name in ("connect", "connect_ex"):
        setattr(module.socket, name, checked(getattr(module.socket, name)))


def _patch_http(module: ModuleType) -> None:
    """In strict mode: no proxy is asked for a known host."""
    connection = module.HTTPConnection
    original = connection.set_tunnel

    def set_tunnel(self: Any, host: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.rpartition(":")[0] or host if isinstance(host, str) else host
        _guard(name)
        return original(self, host, *args, **kwargs)

    connection.set_tunnel = set_tunnel


# Each is patched after its import, and not imported for it.
LIBRARIES: dict[str, Callable[[ModuleType], None]] = {
    "urllib.request": _patch_urllib,
    "requests.sessions": _patch_requests,
    "pip._vendor.requests.sessions": _patch_requests,
    "httpx": _patch_httpx,
    "httpx2": _patch_httpx,
    "aiohttp": _patch_aiohttp,
}
GUARDS: dict[str, Callable[[ModuleType], None]] = {
    "socket": _patch_socket,
    "http.client": _patch_http,
}


# ── starting ────────────────────────────────────────────────────────────────────────────────────────


class _Loader:
    """Loads a module as its own loader does, then patches it."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def create_module(self, spec: Any) -> Any:
        """Make the module, as its own loader does."""
        create = getattr(self._inner, "create_module", None)
        return create(spec) if create else None

    def exec_module(self, module: Any) -> None:
        """Run the module, give it its own loader back, and patch it."""
        module.__loader__ = module.__spec__.loader = self._inner
        vars(module).pop(_MARK, None)  # Reloaded, it is as if it had never been patched.
        self._inner.exec_module(module)
        _patch(module.__name__, module)


class _Finder:
    """Finds nothing by itself: it puts a `_Loader` around what others find of the modules in question."""

    def __init__(self) -> None:
        self._asking: set[str] = set()

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Find *name* by the other finders, if it is to be patched."""
        if name not in _state.modules or name in self._asking:
            return None
        self._asking.add(name)
        try:
            for finder in sys.meta_path:
                find = getattr(finder, "find_spec", None)
                spec = find(name, path, target) if find and finder is not self else None
                if spec is not None:
                    if hasattr(spec.loader, "exec_module"):
                        spec.loader = _Loader(spec.loader)
                    return spec
        finally:
            self._asking.discard(name)
        return None


_finder = _Finder()
_MARK = "__modelmirror_hook__"


def _patch(name: str, module: ModuleType) -> None:
    """Patch *module*, once; what goes wrong is said, and refused later in strict mode."""
    if not _state.active or name not in _state.modules:
        return
    try:
        if not hasattr(module, _MARK):
            (GUARDS.get(name) or LIBRARIES[name])(module)
            setattr(module, _MARK, VERSION)
    except Exception as error:  # noqa: BLE001 -- a library that changed must not break its user
        what = "%s: %s" % (type(error).__name__, error)
        _state.modules[name] = "failed: " + what
        _say("requests by %s are not led to the mirror (%s)" % (name, what))
        _note("failed", module=name, error=what)
    else:
        _state.modules[name] = "patched"
        _note("patched", module=name)


def _spare_mirror() -> None:
    """Name the mirror in ``NO_PROXY`` where a proxy is set: none is to stand between."""
    environ = os.environ
    if not any(environ.get(name) or environ.get(name.upper()) for name in _PROXIES):
        return
    host = _authority(_state.base)[1]
    spared = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    names = [name.strip().lower() for name in spared.split(",")]
    if host not in names and "*" not in names:
        spared = spared + "," + host if spared.strip() else host
    environ["no_proxy"] = environ["NO_PROXY"] = spared


def start() -> None:
    """Lead this process's requests to the mirror, as the environment says; raises nothing.

    Done once; `stop` undoes it.
    """
    if _state.active:
        return
    if "MODELMIRROR_URL" not in os.environ:
        return
    vars(_state).update(vars(_State()))
    try:
        _state.read()
        _spare_mirror()
    except Exception as error:  # noqa: BLE001 -- the interpreter starts, whatever happens
        foreseen = isinstance(error, ValueError)
        what = "the start-up hook failed (%s: %s)" % (type(error).__name__, error)
        _state.base, _state.fault = "", str(error) if foreseen else what
        if not (_state.strict or os.environ.get("MODELMIRROR_URL")):
            return
        _say(_state.fault + ": nothing is led to a mirror")
    try:
        _wait(list(LIBRARIES) + (list(GUARDS) if _state.strict else []))
    except Exception as error:  # noqa: BLE001 -- as above
        _say("the start-up hook failed (%s: %s)" % (type(error).__name__, error))


def _wait(names: list[str]) -> None:
    """Wait for the modules *names* to be imported; those that are, are patched now."""
    _state.modules.update((name, "waiting") for name in names)
    _state.active = True
    sys.meta_path.insert(0, _finder)
    for name in names:
        module = sys.modules.get(name)
        if module is not None:
            _patch(name, module)


def stop() -> None:
    """Let every request go where it is meant to: for a process that is a mirror itself."""
    _state.active = False
    if _finder in sys.meta_path:
        sys.meta_path.remove(_finder)


def installed() -> dict[str, Any]:
    """What the hook did in this process, as JSON has it."""
    modules = {
        name: said if said != "waiting" or name not in sys.modules else "unpatched"
        for name, said in _state.modules.items()
    }
    return {
        "version": VERSION,
        "url": _state.base,
        "active": _state.active,
        "fault": _state.fault,
        "strict": _state.strict,
        "fallback": _state.fallback,
        "modules": modules,
        "rewritten": dict(_state.led),
    }


# ── an exported cache ───────────────────────────────────────────────────────────────────────────────

MANIFEST = ".modelmirror.json"
_FORMAT_NAME = "modelmirror-cache"
_FORMAT_VERSION = 1
_READ_AT_ONCE = 1 << 20

WHOLE, BROKEN, USAGE, UNCHECKED = 0, 1, 2, 3


class _UncheckableError(Exception):
    """The folder cannot be checked; the text says why, and what to do."""


class _Check:
    """Compares the folder *root* with its manifest; *verify* reads every byte again.

    *problems* are (path, what, detail); *what* is one of missing, short, long, changed, dead link, other
    link, unreadable.
    """

    def __init__(self, root: str, *, verify: bool, progress: bool) -> None:
        self._root, self._verify, self._progress = root, verify, progress
        self._manifest = _manifest(root)
        self.problems: list[tuple[str, str, str]] = []
        self.files = self.size = self.hashed = self._done = 0
        self._begun = self._shown = _now()

    def run(self) -> dict[str, Any]:
        """Check everything; the report as JSON has it."""
        files, links = self._manifest["files"], self._manifest["links"]
        for path, wanted in sorted(files.items()):
            self._file(path, wanted)
        for path, target in sorted(links.items()):
            self._link(path, target, files)
        if self._shown > self._begun:
            sys.stderr.write("\r\x1b[K")
        bad = {path for path, _, _ in self.problems}
        targets = [
            {
                "target": target.get("target", ""),
                "whole": bad.isdisjoint((*target.get("files", ()), *target.get("links", ()))),
            }
            for target in self._manifest["targets"]
        ]
        return {
            "folder": self._root,
            "whole": not self.problems,
            "files": self.files,
            "links": len(links),
            "bytes": self.size,
            "hashed": self.hashed,
            "targets": targets,
            "problems": [
                {"path": path, "what": what, "detail": detail}
                for path, what, detail in self.problems
            ],
        }

    def _file(self, path: str, wanted: dict[str, Any], at: str | None = None) -> None:
        """Check the file that is at *path*, or *at* another path has its content."""
        import stat

        full = self._full(at or path)
        name = at or path
        self.files += 1
        try:
            found = os.stat(full)
        except (FileNotFoundError, NotADirectoryError):
            self._problem(name, "missing", "%d bytes are to be here" % wanted["size"])
            return
        except OSError as error:
            self._unreadable(name, error)
            return
        if not stat.S_ISREG(found.st_mode):
            self._problem(name, "changed", "this is no file")
        elif found.st_size != wanted["size"]:
            what = "short" if found.st_size < wanted["size"] else "long"
            self._problem(name, what, "it has %d bytes of %d" % (found.st_size, wanted["size"]))
        elif not os.access(full, os.R_OK):
            self._unreadable(name, PermissionError(13, "Permission denied"))
        else:
            self.size += found.st_size
            if self._verify or int(found.st_mtime) != wanted["mtime"]:
                self._hash(name, full, wanted["sha256"])

    def _hash(self, name: str, full: str, wanted: str) -> None:
        """Compare the content of *full* with its digest."""
        import hashlib

        digest = hashlib.sha256()
        self.hashed += 1
        try:
            with open(full, "rb") as file:
                piece = file.read(_READ_AT_ONCE)
                while piece:
                    digest.update(piece)
                    self._tell(name, len(piece))
                    piece = file.read(_READ_AT_ONCE)
        except OSError as error:
            self._unreadable(name, error)
            return
        if digest.hexdigest() != wanted:
            self._problem(
                name, "changed", "its sha256 is %s, not %s" % (digest.hexdigest(), wanted)
            )

    def _link(self, path: str, target: str, files: dict[str, Any]) -> None:
        """Check a link; a copy of what it leads to does as well, where copying followed links."""
        full = self._full(path)
        if os.path.islink(full):
            if os.readlink(full).replace(os.sep, "/") != target:
                self._problem(
                    path, "other link", "it leads to %s, not %s" % (os.readlink(full), target)
                )
            elif not os.path.exists(full):
                self._problem(path, "dead link", "it leads to %s, which is not there" % target)
            return
        import posixpath

        meant = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
        if os.path.isfile(full) and meant in files:
            self._file(meant, files[meant], at=path)
        elif os.path.isdir(full):
            prefix = meant + "/"
            for other, wanted in sorted(files.items()):
                if other.startswith(prefix):
                    self._file(other, wanted, at=path + other[len(meant) :])
        elif not self._beyond(path):
            self._problem(path, "missing", "a link to %s is to be here" % target)

    def _full(self, path: str) -> str:
        return os.path.join(self._root, *path.split("/"))

    def _beyond(self, path: str) -> bool:
        """Whether *path* is in a folder that cannot be entered; that is then a problem."""
        try:
            os.lstat(self._full(path))
        except PermissionError as error:
            self._unreadable(path, error)
            return True
        except OSError:
            pass
        return False

    def _unreadable(self, path: str, error: OSError) -> None:
        """Name the topmost folder, or the file, that this user cannot read, and what mends that."""
        parts = path.split("/")
        for end in range(len(parts)):
            folder = "/".join(parts[:end])
            if not os.access(self._full(folder) if folder else self._root, os.R_OK | os.X_OK):
                path = folder or "."
                break
        if all(known_path != path for known_path, _, _ in self.problems):
            self._problem(
                path, "unreadable", "%s; %s" % (error.strerror or error, self._chown(path))
            )

    def _chown(self, path: str) -> str:
        """The command that makes *path* this user's own."""
        import shlex

        full = os.path.abspath(self._full(path) if path != "." else self._root)
        if not hasattr(os, "getuid"):
            return "let this user read %s" % full
        return "sudo chown -R %d:%d %s" % (os.getuid(), os.getgid(), shlex.quote(full))

    def _problem(self, path: str, what: str, detail: str) -> None:
        self.problems.append((path, what, detail))

    def _tell(self, name: str, size: int) -> None:
        """Say on a terminal what is being read, once it takes more than a second."""
        self._done += size
        now = _now()
        if self._progress and now - self._begun > 1 and now - self._shown > 0.2:
            self._shown = now
            sys.stderr.write("\r\x1b[K%d MB read: %s" % (self._done // 1000000, name))
            sys.stderr.flush()


def _now() -> float:
    import time

    return time.monotonic()


def _manifest(root: str) -> dict[str, Any]:
    """Read the manifest of the cache at *root*; raises `_UncheckableError` where it cannot be believed."""
    import json

    path = os.path.join(root, MANIFEST)
    try:
        with open(path, encoding="utf-8") as file:
            said = json.load(file)
    except FileNotFoundError:
        raise _UncheckableError(
            "%s is not there: %s is no exported cache, or one whose export did not end. Export it again with "
            "modelmirror export --format cache." % (path, root)
        ) from None
    except OSError as error:
        raise _UncheckableError(
            "%s cannot be read: %s." % (path, error.strerror or error)
        ) from None
    except ValueError:
        raise _UncheckableError("%s is no JSON: export the cache again." % path) from None
    if not isinstance(said, dict) or said.get("format") != _FORMAT_NAME:
        raise _UncheckableError("%s is no manifest of an exported cache." % path)
    version = said.get("version")
    if version != _FORMAT_VERSION:
        raise _UncheckableError(
            "%s is of version %s, and this file reads version %d: fetch a newer modelmirror_hook.py from the "
            "mirror's /-/hook/." % (path, version, _FORMAT_VERSION)
        )
    files, links, targets = (said.get(name) or kind() for name, kind in _PARTS)
    try:
        for name, entry in files.items():
            ok = isinstance(entry["size"], int) and isinstance(entry["sha256"], str)
            _belongs(name, ok and isinstance(entry["mtime"], int))
        for name, target in links.items():
            _belongs(name, isinstance(target, str))
        for target in targets:
            _belongs("", isinstance(target, dict))
    except (AttributeError, KeyError, TypeError, ValueError):
        raise _UncheckableError(
            "%s is damaged, or not written by modelmirror: export the cache again." % path
        ) from None
    return {"files": files, "links": links, "targets": targets}


_PARTS: tuple[tuple[str, Callable[[], Any]], ...] = (
    ("files", dict),
    ("links", dict),
    ("targets", list),
)


def _belongs(path: str, fits: bool) -> None:  # noqa: FBT001
    """Raise `ValueError` for a path that leads out of the folder, or an entry that does not fit."""
    leads_out = path.startswith("/") or ".." in path.split("/") or "\\" in path or "\0" in path
    if leads_out or not fits:
        raise ValueError(path)


# ── as a script ─────────────────────────────────────────────────────────────────────────────────────


def _checked(folder: str, *, verify: bool, as_json: bool) -> int:
    """Check *folder* and print what was found; the exit code."""
    import json

    try:
        report = _Check(folder, verify=verify, progress=not as_json and sys.stderr.isatty()).run()
    except _UncheckableError as error:
        if as_json:
            print(json.dumps({"folder": folder, "whole": False, "error": str(error)}))
        else:
            print(str(error), file=sys.stderr)
        return UNCHECKED
    if as_json:
        print(json.dumps(report, indent=1, sort_keys=True))
    else:
        for line in _lines(report):
            print(line)
    kinds = {problem["what"] for problem in report["problems"]}
    if not kinds:
        return WHOLE
    return UNCHECKED if kinds == {"unreadable"} else BROKEN


def _lines(report: dict[str, Any]) -> Iterator[str]:
    """The report, for people."""
    for problem in report["problems"]:
        yield "%(what)s: %(path)s (%(detail)s)" % problem
    for target in report["targets"]:
        if not target["whole"]:
            yield "not whole: %s" % target["target"]
    files, links = _counted(report["files"], "file"), _counted(report["links"], "link")
    count = "%s and %s, %d bytes" % (files, links, report["bytes"])
    how = "%d hashed, the others by size and time" % report["hashed"]
    if report["whole"]:
        yield "%s is whole: %s; %s." % (report["folder"], count, how)
    else:
        number = _counted(len(report["problems"]), "problem")
        yield "%s is not whole: %s among %s; %s." % (report["folder"], number, count, how)


def _counted(number: int, what: str) -> str:
    return "%d %s%s" % (number, what, "" if number == 1 else "s")


def _self_test(*, as_json: bool) -> int:
    """Import every library there is, and tell which of them are led; the exit code."""
    import contextlib
    import importlib
    import json

    hook = sys.modules.get("modelmirror_hook") or sys.modules[__name__]
    hook.start()
    for name in LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    report = hook.installed()
    for name, said in report["modules"].items():
        if said == "waiting":
            report["modules"][name] = "absent"
    if as_json:
        print(json.dumps(report, indent=1, sort_keys=True))
    elif not report["active"]:
        print("MODELMIRROR_URL is not set: nothing is led to a mirror.")
    else:
        print("mirror: %s" % (report["url"] or report["fault"]))
        for name, said in report["modules"].items():
            print("%-30s %s" % (name, said))
    failed = any(said.startswith(("failed", "unpatched")) for said in report["modules"].values())
    return BROKEN if failed or report["fault"] else WHOLE


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; the exit code (0 whole, 1 broken, 2 usage, 3 could not be checked)."""
    import argparse

    parser = argparse.ArgumentParser(
        prog="modelmirror_hook.py", description="The modelmirror start-up hook."
    )
    parser.add_argument("--version", action="version", version=VERSION)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    verbs.required = True
    check = verbs.add_parser("check", help="check an exported cache by its manifest")
    check.add_argument("folder", metavar="DIR")
    check.add_argument("--verify", action="store_true", help="hash every file again")
    check.add_argument("--json", action="store_true", help="print a report for programs")
    test = verbs.add_parser("self-test", help="tell which libraries are led to the mirror")
    test.add_argument("--json", action="store_true", help="print a report for programs")
    asked = parser.parse_args(arguments)
    if asked.verb == "self-test":
        return _self_test(as_json=asked.json)
    if not os.path.isdir(asked.folder):
        check.error("%s is no folder" % asked.folder)
    return _checked(asked.folder, verify=asked.verify, as_json=asked.json)


if __name__ == "__main__":
    sys.exit(main())
