"""What a program asks, by each library that the hook leads: run as a script in an interpreter of its own.

Standard input has a list of ``[client, method, url, headers]``; standard output gets one outcome each, as
JSON: ``status``, ``body`` and ``url``, or ``error`` (class names) and ``text``. Runs on Python 3.8.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
import tempfile
from collections.abc import Callable
from typing import Any, Dict

Outcome = Dict[str, Any]


def _urllib(method: str, url: str, headers: dict[str, str]) -> Outcome:
    import urllib.request

    data = b"{}" if method == "POST" else None
    request = urllib.request.Request(url, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return {"status": answer.status, "body": answer.read().decode(), "url": answer.geturl()}


def _retrieve(method: str, url: str, headers: dict[str, str]) -> Outcome:
    from urllib.request import urlretrieve

    del method, headers
    with tempfile.TemporaryDirectory() as folder:
        path, _ = urlretrieve(url, os.path.join(folder, "file"))
        with open(path, encoding="utf-8") as file:
            return {"status": 200, "body": file.read(), "url": ""}


def _requests(name: str) -> Callable[..., Outcome]:
    def ask(method: str, url: str, headers: dict[str, str]) -> Outcome:
        requests = importlib.import_module(name)
        answer = requests.request(
            method,
            url,
            headers=headers,
            timeout=10,
            allow_redirects=True,
            data="{}" if method == "POST" else None,
        )
        return {"status": answer.status_code, "body": answer.text, "url": answer.url}

    return ask


def _httpx(name: str) -> Callable[..., Outcome]:
    def ask(method: str, url: str, headers: dict[str, str]) -> Outcome:
        httpx = importlib.import_module(name)
        with httpx.Client(follow_redirects=True, timeout=10) as client:
            answer = client.request(
                method, url, headers=headers, content="{}" if method == "POST" else None
            )
            return {"status": answer.status_code, "body": answer.text, "url": str(answer.url)}

    return ask


def _httpx_async(name: str) -> Callable[..., Outcome]:
    def ask(method: str, url: str, headers: dict[str, str]) -> Outcome:
        httpx = importlib.import_module(name)

        async def run() -> Outcome:
            async with httpx.AsyncClient(follow_redirects=True, timeout=10) as client:
                answer = await client.request(method, url, headers=headers)
                return {"status": answer.status_code, "body": answer.text, "url": str(answer.url)}

        return asyncio.run(run())

    return ask


def _aiohttp(method: str, url: str, headers: dict[str, str]) -> Outcome:
    import aiohttp

    async def run() -> Outcome:
        timeout = aiohttp.ClientTimeout(total=10)
        async with aiohttp.ClientSession(trust_env=True, timeout=timeout) as session:
            data = "{}" if method == "POST" else None
            async with session.request(method, url, headers=headers, data=data) as answer:
                body = await answer.text()
                return {"status": answer.status, "body": body, "url": str(answer.url)}

    return asyncio.run(run())


CLIENTS: dict[str, Callable[..., Outcome]] = {
    "urllib": _urllib,
    "urlretrieve": _retrieve,
    "requests": _requests("requests"),
    "pip": _requests("pip._vendor.requests"),
    "httpx": _httpx("httpx"),
    "httpx async": _httpx_async("httpx"),
    "httpx2": _httpx("httpx2"),
    "httpx2 async": _httpx_async("httpx2"),
    "aiohttp": _aiohttp,
}


def _outcome(client: str, method: str, url: str, headers: dict[str, str]) -> Outcome:
    try:
        return CLIENTS[client](method, url, headers)
    except Exception as error:  # noqa: BLE001 -- it is an outcome
        return {"error": [kind.__name__ for kind in type(error).__mro__], "text": str(error)}


def main() -> None:
    """Ask everything in turn."""
    json.dump([_outcome(*question) for question in json.load(sys.stdin)], sys.stdout)


if __name__ == "__main__":
    main()
