"""Try one client: have it fetch a name that nobody has asked for before, in its own way.

Run as a program, in the Python that the client lies in: ``RESULT list [FILE…]`` writes which clients are
there, ``RESULT NAME NONCE [FILE…]`` tries one. RESULT is the file for the outcome, in JSON. Each FILE is a
Python file with more clients: a list ``CLIENTS`` of (name, module, address, fetch), as below.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import importlib.util
import json
import os
import runpy
import sys
import tempfile
import time
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any


class Probe:
    """What is to be fetched.

    *name* is the name that nobody has asked for, *url* the address with it, on the real host; *folder* is an
    empty one for whatever the client writes. *body* is what only a mirror answers.
    """

    def __init__(self, nonce: str, address: str, folder: str) -> None:
        self.name = "modelmirror_probe_" + nonce
        self.body = ('{"modelmirror_probe": "%s"}\n' % nonce).encode()
        self.sha256 = hashlib.sha256(self.body).hexdigest()
        self.url = address.format(probe=self.name, sha256=self.sha256)
        self.folder = folder


def _module(name: str) -> Any:
    """Import a module of the client's."""
    return importlib.import_module(name)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


# ── libraries that carry the requests of others ──────────────────────────────────────────────────


def _urllib(probe: Probe) -> bytes:
    with _module("urllib.request").urlopen(probe.url) as answer:
        body: bytes = answer.read()
        return body


def _requests(probe: Probe) -> Any:
    answer = _module("requests").get(probe.url)
    answer.raise_for_status()
    return answer.content


def _httpx(probe: Probe) -> Any:
    return _module("httpx").get(probe.url, follow_redirects=True).raise_for_status().content


def _httpx2(probe: Probe) -> Any:
    return _module("httpx2").get(probe.url, follow_redirects=True).raise_for_status().content


def _aiohttp(probe: Probe) -> Any:
    aiohttp = _module("aiohttp")

    async def fetch() -> Any:
        async with aiohttp.ClientSession() as session, session.get(probe.url) as answer:
            answer.raise_for_status()
            return await answer.read()

    return asyncio.run(fetch())


def _pip(probe: Probe) -> Any:
    """As a command of pip's would, with the settings that its command line and its files make."""
    command = _module("pip._internal.commands").create_command("download")
    options, _ = command.parse_args(["--no-cache-dir", "--disable-pip-version-check", probe.url])
    with command.main_context():
        answer = command.get_default_session(options).get(probe.url)
        answer.raise_for_status()
        return answer.content


# ── clients of hubs ──────────────────────────────────────────────────────────────────────────────


def _huggingface_hub(probe: Probe) -> bytes:
    fetch = _module("huggingface_hub").hf_hub_download
    return _read(fetch("modelmirror/" + probe.name, "config.json", cache_dir=probe.folder))


def _transformers(probe: Probe) -> bytes:
    fetch = _module("transformers.utils.hub").cached_file
    return _read(fetch("modelmirror/" + probe.name, "config.json", cache_dir=probe.folder))


def _cnstd(probe: Probe) -> bytes:
    """As cnstd and Pix2Text do: with an endpoint of their own, whatever HF_ENDPOINT says."""
    fetch = _module("huggingface_hub").hf_hub_download
    endpoint = "https://hf-mirror.com"
    repo = "modelmirror/" + probe.name
    return _read(fetch(repo, "config.json", cache_dir=probe.folder, endpoint=endpoint))


def _whisper(probe: Probe) -> Any:
    return _module("whisper")._download(probe.url, probe.folder, in_memory=True)


def _torch(probe: Probe) -> bytes:
    path = os.path.join(probe.folder, "probe")
    _module("torch.hub").download_url_to_file(probe.url, path, progress=False)
    return _read(path)


def _tensorflow_hub(probe: Probe) -> Any:
    request = _module("urllib.request").Request(probe.url)
    with _module("tensorflow_hub.resolver").HttpResolverBase()._call_urlopen(request) as answer:
        return answer.read()


def _kagglehub(probe: Probe) -> Any:
    clients = _module("kagglehub.clients")
    if not hasattr(clients, "build_kaggle_client"):
        # Up to 0.3: an endpoint that KAGGLE_API_ENDPOINT sets, and JSON of it.
        path = "models/modelmirror/%s/other/default/get" % probe.name
        return json.dumps(clients.KaggleApiV1Client().get(path)).encode() + b"\n"
    client = clients.build_kaggle_client().http_client()
    client._init_session()
    url = client._get_request_url("models.ModelApiService", "GetModelInstance?" + probe.name)
    answer = client._session.post(url, json={})
    answer.raise_for_status()
    return answer.content


def _tiktoken(probe: Probe) -> Any:
    return _module("tiktoken.load").read_file(probe.url)


def _nltk(probe: Probe) -> Any:
    """Unless it has a folder of its own: from 3.10 on it refuses servers inside a private network."""
    for folder in filter(os.path.isdir, os.environ.get("NLTK_DATA", "").split(os.pathsep)):
        if os.listdir(folder):
            raise PermissionError("what it has is in NLTK_DATA, %s" % folder)
    with _module("nltk.downloader").urlopen(probe.url) as answer:
        return answer.read()


def _piper(probe: Probe) -> bytes:
    voice = "en_US-%s-low" % probe.name
    _module("piper.download_voices").download_voice(voice, Path(probe.folder))
    return _read(os.path.join(probe.folder, voice + ".onnx"))


_HUB = "https://huggingface.co/modelmirror/{probe}/resolve/main/config.json"
CLIENTS: list[tuple[str, str, str, Callable[[Probe], Any]]] = [
    ("urllib", "urllib", "https://download.pytorch.org/models/{probe}.pth", _urllib),
    (
        "requests",
        "requests",
        "https://github.com/modelmirror/probe/releases/download/v1/{probe}.bin",
        _requests,
    ),
    ("httpx", "httpx", _HUB, _httpx),
    ("httpx2", "httpx2", _HUB, _httpx2),
    ("aiohttp", "aiohttp", _HUB, _aiohttp),
    (
        "pip",
        "pip",
        "https://github.com/explosion/spacy-models/releases/download/v1/{probe}-py3-none-any.whl",
        _pip,
    ),
    ("huggingface_hub", "huggingface_hub", _HUB, _huggingface_hub),
    ("transformers", "transformers", _HUB, _transformers),
    ("cnstd", "cnstd", _HUB, _cnstd),
    (
        "whisper",
        "whisper",
        "https://openaipublic.azureedge.net/main/whisper/models/{sha256}/{probe}.pt",
        _whisper,
    ),
    ("torch.hub", "torch", "https://download.pytorch.org/models/{probe}.pth", _torch),
    (
        "tensorflow_hub",
        "tensorflow_hub",
        "https://tfhub.dev/modelmirror/{probe}/1?tf-hub-format=compressed",
        _tensorflow_hub,
    ),
    (
        "kagglehub",
        "kagglehub",
        "https://api.kaggle.com/v1/models.ModelApiService/GetModelInstance?{probe}",
        _kagglehub,
    ),
    (
        "tiktoken",
        "tiktoken",
        "https://openaipublic.blob.core.windows.net/encodings/cl100k_base.tiktoken?{probe}",
        _tiktoken,
    ),
    (
        "nltk",
        "nltk",
        "https://raw.githubusercontent.com/nltk/nltk_data/gh-pages/packages/corpora/{probe}.zip",
        _nltk,
    ),
    ("piper", "piper", _HUB, _piper),
]
"""Name, the module that must be there, the address on the real host, and how the client fetches it."""

BY_WAY_OF = {
    "datasets": ("huggingface_hub",),
    "diffusers": ("huggingface_hub",),
    "faster_whisper": ("huggingface_hub",),
    "sentence_transformers": ("huggingface_hub",),
    "speechbrain": ("huggingface_hub",),
    "timm": ("huggingface_hub", "torch.hub"),
    "spacy": ("requests", "pip"),
    "ultralytics": ("requests",),
    "keras": ("urllib",),
}
"""Clients, by their modules, that fetch by way of others: they are as well off as those."""

# Where a module's distribution is called otherwise.
_DISTRIBUTIONS = {
    "piper": "piper-tts",
    "whisper": "openai-whisper",
    "faster_whisper": "faster-whisper",
    "sentence_transformers": "sentence-transformers",
}


def main(arguments: Sequence[str]) -> None:
    """List the clients that are here, or try one."""
    result, what = arguments[:2]
    if what == "list":
        outcome = _list(arguments[2:])
    else:
        nonce, files = arguments[2], arguments[3:]
        entry = next(entry for entry in _table(files) if entry[0] == what)
        outcome = _try(entry, nonce)
    with open(result, "w") as file:
        json.dump(outcome, file)


def _table(files: Sequence[str]) -> list[tuple[str, str, str, Callable[[Probe], Any]]]:
    more = [tuple(entry) for file in files for entry in runpy.run_path(file)["CLIENTS"]]
    return more + CLIENTS


def _list(files: Sequence[str]) -> dict[str, Any]:
    there = [
        {
            "name": name,
            "version": _version(module),
            "host": address.partition("//")[2].partition("/")[0],
            "by_way_of": [],
        }
        for name, module, address, _ in _table(files)
        if _is_there(module)
    ]
    there += [
        {"name": module, "version": _version(module), "host": "", "by_way_of": list(others)}
        for module, others in BY_WAY_OF.items()
        if _is_there(module)
    ]
    return {"python": sys.version.split()[0], "executable": sys.executable, "clients": there}


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _version(module: str) -> str:
    from importlib import metadata

    try:
        return str(metadata.version(_DISTRIBUTIONS.get(module, module)))
    except metadata.PackageNotFoundError:
        return ""


def _try(entry: tuple[str, str, str, Callable[[Probe], Any]], nonce: str) -> dict[str, Any]:
    _, module, address, fetch = entry
    begun = time.monotonic()
    outcome: dict[str, Any] = {"through": False, "error": "", "kind": "", "imported": True}
    with tempfile.TemporaryDirectory() as folder:
        probe = Probe(nonce, address, folder)
        outcome["url"] = probe.url
        try:
            importlib.import_module(module)
        except BaseException as error:  # noqa: BLE001 -- some end the interpreter at import
            outcome.update(_told(error), imported=False)
        else:
            try:
                got = bytes(fetch(probe))
            except BaseException as error:  # noqa: BLE001 -- whatever it is, it is the outcome
                outcome.update(_told(error))
            else:
                outcome["through"] = got == probe.body
                if got != probe.body:
                    outcome["error"] = "it got %d other bytes" % len(got)
    hook = sys.modules.get("modelmirror_hook")
    outcome["hook"] = hook.installed() if hook is not None else None
    outcome["seconds"] = round(time.monotonic() - begun, 3)
    return outcome


# What says that nobody was to be asked, however deep it lies.
_REFUSALS = frozenset(("OfflineModeIsEnabled", "PermissionError"))


def _told(error: BaseException) -> dict[str, str]:
    """The error and its class, or that of a refusal which it came of."""
    chain: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in chain:
        chain.append(at)
        at = at.__cause__ or at.__context__
    error = next((each for each in chain if type(each).__name__ in _REFUSALS), error)
    text = " ".join(str(error).split())
    return {"error": text[:400] or type(error).__name__, "kind": type(error).__name__}


if __name__ == "__main__":
    main(sys.argv[1:])
