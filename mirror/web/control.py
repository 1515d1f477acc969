"""The operator's door: orders over a socket in the data folder, which its owner alone can open.

HTTP with one request per connection, ``POST /<order>`` with JSON arguments and a JSON reply: never over
TCP, so that no page and no neighbour can reach it.
"""

import asyncio
import json
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from mirror.errors import MirrorError, QuestionError
from mirror.upkeep.orders import Orders
from mirror.upkeep.reach import short

CarryOut = Callable[[str, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]

_LOG: Final = logging.getLogger("modelmirror")
# An order may list every file of many projects by digest, some 75 bytes each.
_LARGEST: Final = 32 << 20
_BAD_ORDER: Final = 400
_FAILED: Final = 500


class Control:
    """Listens at *path* and hands orders to *carry_out*."""

    def __init__(self, path: Path, carry_out: CarryOut) -> None:
        self._path = path
        self._carry_out = carry_out
        application = web.Application(client_max_size=_LARGEST)
        application.router.add_post("/{order}", self._take)
        self._runner = web.AppRunner(application, access_log=None, handle_signals=False)

    async def start(self) -> None:
        """Listen; what a crash left at the path goes, for whoever holds the store's lock owns it.

        Raises `OSError` where the file system has no sockets.
        """
        await self._runner.setup()
        with short(self._path) as path:
            self._path.unlink(missing_ok=True)
            # Made unreachable before it is made: between bind and chmod anybody might connect.
            mask = os.umask(0o177)
            try:
                await web.UnixSite(self._runner, path).start()
            finally:
                os.umask(mask)

    async def stop(self) -> None:
        """Listen no longer, once running orders have ended."""
        await self._runner.cleanup()
        self._path.unlink(missing_ok=True)

    async def _take(self, request: web.Request) -> web.Response:
        try:
            arguments = _arguments(await request.read())
            reply = await self._carry_out(request.match_info["order"], arguments)
        except (ValueError, RecursionError) as error:
            return _reply({"error": f"The order cannot be read: {error}."}, _BAD_ORDER)
        except QuestionError as error:
            return _reply({"error": error.message, "hint": error.hint}, _BAD_ORDER)
        except MirrorError as error:
            return _reply({"error": error.message, "hint": error.hint}, _FAILED)
        return _reply(reply, 200)


async def listen(stack: AsyncExitStack, path: Path, orders: Orders) -> None:
    """Take *orders* at *path* until *stack* ends; a folder that has no sockets is served all the same."""
    control = Control(path, lambda name, said: asyncio.to_thread(orders.carry_out, name, said))
    stack.push_async_callback(control.stop)
    try:
        await control.start()
    except OSError as error:
        _LOG.warning(
            "No orders are taken: %s cannot be listened on (%s). Stop the server to give some.",
            path,
            error,
        )


def _arguments(body: bytes) -> Mapping[str, Any]:
    arguments = json.loads(body or b"{}")
    if not isinstance(arguments, dict):
        raise QuestionError("The arguments of an order are one JSON object.")
    return arguments


def _reply(form: Mapping[str, Any], status: int) -> web.Response:
    return web.Response(
        status=status, body=json.dumps(form).encode(), content_type="application/json"
    )
