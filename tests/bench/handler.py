"""The bare handler that small requests are measured against: aiohttp, one route, nothing behind it.

It is on uvloop like the mirror, and answers with as many headers as a HEAD of a Hub file has. It looks
nothing up, logs nothing, counts nothing: whatever the mirror does for a request shows as the difference.

Run as ``python -m tests.bench.handler``. It prints its port.
"""

import asyncio
import os
from typing import Final

import uvloop
from aiohttp import web

_HEADERS: Final = {
    "Content-Type": "application/octet-stream",
    "Content-Disposition": "attachment; filename=\"model.bin\"; filename*=UTF-8''model.bin",
    "Content-Length": "1073741824",
    "ETag": '"' + "0" * 64 + '"',
    "X-Linked-ETag": '"' + "0" * 64 + '"',
    "X-Linked-Size": "1073741824",
    "X-Repo-Commit": "0" * 40,
    "Accept-Ranges": "bytes",
    "Access-Control-Allow-Origin": "*",
    "Cache-Status": "bare; hit",
}


async def _answer(request: web.Request) -> web.StreamResponse:
    del request
    return web.Response(headers=_HEADERS)


async def _serve() -> None:
    app = web.Application()
    app.router.add_route("HEAD", "/{owner}/{name}/resolve/{revision}/{path:.+}", _answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    os.write(1, b"%d\n" % runner.addresses[0][1])
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve())
