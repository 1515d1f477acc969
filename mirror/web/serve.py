"""The running server: listen, serve, drain, stop."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from mirror.cache.keeper import Keeper
from mirror.cache.shelf import Shelf
from mirror.clock import Clock, SystemClock
from mirror.events import Event, Observer
from mirror.web.accesslog import AccessLog
from mirror.web.app import App
from mirror.web.heads import Heads
from mirror.web.hook import HookPages
from mirror.web.lane import Lane
from mirror.web.listener import Listener
from mirror.web.operations import Operations
from mirror.web.plaintext import PlainTokens
from mirror.web.pump import Pumps
from mirror.web.recalled import MOST, Recalled
from mirror.web.sending import Sender
from mirror.web.targets import Targets
from mirror.web.tls import HANDSHAKE, ServingTls
from mirror.web.wire import check_parser

# Each costs 7 KiB and a descriptor; 4096 leave room for the store's under the usual limit of 65536.
MAX_CONNECTIONS: Final = 4096
# Connections the kernel holds while the loop is busy: a cold start of a cluster comes all at once.
_BACKLOG: Final = 1024
_STATIC: Final = ("home.css", "home.js")
_STATIC_FOLDER: Final = Path(__file__).parent / "static"


def _ignore(_event: Event) -> None:
    """Observe nothing."""


class Door:
    """The HTTP server.

    *shelf* shows what is stored; *host* and *port* (0 picks a free one) are where it listens, if not on
    *listener*, which somebody else opened; with *tls* by HTTPS alone. *public_url* and *trusted_proxies* say
    which base URL it hands out; with *strict* no byte of a cold blob leaves before its digest matched;
    *metrics* renders the metrics, `None` closes them, and with *metrics_token* nobody else reads them;
    *observe* gets a `Served` per request; *drain* is how long `stop` waits for running responses, *stall*
    how long a client may take nothing, both in seconds; *access* gets the access log in batches of whole
    lines, `None` for none, with *access_json* as JSON; *connections* is the most that are open at once,
    *per_address* the most from one address that is no trusted proxy, 0 for no such limit; *prepared* is how
    many bytes of memory answers may take that are kept to be given again, 0 to keep none.
    """

    def __init__(  # noqa: PLR0913 -- every setting of the door, by keyword
        self,
        keeper: Keeper,
        *,
        host: str,
        port: int,
        listener: socket.socket | None = None,
        shelf: Shelf | None = None,
        tls: ServingTls | None = None,
        public_url: str | None = None,
        trusted_proxies: Sequence[str] = (),
        strict: bool = False,
        metrics: Callable[[], bytes] | None = None,
        metrics_token: str = "",
        observe: Observer = _ignore,
        drain: float = 30.0,
        stall: float = 60.0,
        access: Callable[[str], object] | None = None,
        access_json: bool = False,
        connections: int = MAX_CONNECTIONS,
        per_address: int = 0,
        prepared: int = 0,
        clock: Clock | None = None,
    ) -> None:
        self._keeper = keeper
        self._shelf = shelf
        self._host = host
        self._port = port
        self._socket = listener
        self._tls = tls
        self._targets = Targets(public_url, trusted_proxies)
        self._strict = strict
        self._metrics = metrics
        self._metrics_token = metrics_token
        self._observe = observe
        self._drain = drain
        self._stall = stall
        self._write_access = access
        self._access_json = access_json
        self._connections = connections
        self._per_address = per_address
        self._prepared = prepared
        self._clock = clock if clock is not None else SystemClock()
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        """Listen, and return the URL: ``http(s)://HOST:PORT`` with the real port.

        Raises `ConfigError` where aiohttp lacks its C parser, `OSError` where the address is taken.
        """
        check_parser()
        loop = asyncio.get_running_loop()
        self._operations = Operations(
            self._keeper,
            shelf=self._shelf,
            clock=self._clock,
            metrics=self._metrics,
            metrics_token=self._metrics_token,
            static={name: (_STATIC_FOLDER / name).read_bytes() for name in _STATIC},
            hook=HookPages(),
        )
        heads = Heads(self._clock)
        self._pumps = Pumps(loop, stall=self._stall)
        self._access = AccessLog(self._write_access, self._clock, loop, as_json=self._access_json)
        self._lane = Lane(
            self._keeper,
            room=self._prepared,
            clock=self._clock,
            heads=heads,
            access=self._access,
            observe=self._observe,
            pumps=self._pumps,
            tokens=PlainTokens(),
            stall=self._stall,
            loop=loop,
        )
        self._recalled = Recalled(self._keeper, self._clock, most=MOST if self._prepared else 0)
        self._app = App(
            self._keeper,
            targets=self._targets,
            sender=Sender(
                self._keeper,
                self._pumps,
                heads,
                strict=self._strict,
                stall=self._stall,
                lane=self._lane,
            ),
            operations=self._operations,
            heads=heads,
            access=self._access,
            observe=self._observe,
            lane=self._lane,
            recalled=self._recalled,
        )
        self._listener = Listener(
            self._app.handle,
            self._app.refuse_unparsed,
            limit=self._connections,
            full=self._app.full(),
            per_address=self._per_address,
            full_for_one=self._app.full(of_one=True),
            exempt=self._targets.trusts,
            lane=self._lane if self._prepared else None,
        )
        self._server = await self._listen(loop)
        name, port, *_ = self._server.sockets[0].getsockname()
        host = self._host if self._socket is None else name
        host = f"[{host}]" if ":" in host else host
        return f"{'http' if self._tls is None else 'https'}://{host}:{port}"

    async def _listen(self, loop: asyncio.AbstractEventLoop) -> asyncio.Server:
        context = None if self._tls is None else self._tls.context
        patience = None if self._tls is None else HANDSHAKE
        if self._socket is None:
            return await loop.create_server(
                self._listener,
                self._host,
                self._port,
                backlog=_BACKLOG,
                reuse_address=True,
                ssl=context,
                ssl_handshake_timeout=patience,
            )
        return await loop.create_server(
            self._listener,
            sock=self._socket,
            backlog=_BACKLOG,
            ssl=context,
            ssl_handshake_timeout=patience,
        )

    async def stop(self) -> None:
        """Stop accepting, let running responses end for up to *drain* seconds, cut the rest."""
        if self._server is None:
            return
        self._operations.stopping = True
        self._server.close()
        self._listener.retire()
        idle, _ = await asyncio.gather(
            self._app.until_idle(self._drain), self._lane.until_sent(self._drain)
        )
        if not idle:
            self.hurry()
        await self._listener.shutdown(timeout=1.0)
        await self._app.until_idle(1.0)
        self._lane.close()
        self._recalled.close()
        self._access.flush()
        self._operations.close()
        self._server = None

    def hurry(self) -> None:
        """Cut the responses that run now; a stop under way then ends at once."""
        if self._server is None:
            return
        self._pumps.cut_all()
        self._lane.cut()
        for exchange in list(self._app.running):
            exchange.cut()
