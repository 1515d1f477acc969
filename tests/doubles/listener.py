"""What stands on a wire: it takes connections, each in a thread, and cuts them all when its context ends."""

import contextlib
import socket
import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Listener(ABC):
    """Listens on *port*, any free one by default, from its beginning; takes connections in its context."""

    def __init__(self, port: int = 0) -> None:
        self._door = socket.create_server(("127.0.0.1", port), backlog=64)
        self.port: int = self._door.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        cut(self._door)
        self._door.close()
        for one in self._sockets:
            cut(one)
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()
        for one in self._sockets:
            one.close()

    @abstractmethod
    def _serve(self, client: socket.socket) -> None:
        """See to one connection, until it ends."""

    def _connect(self, address: tuple[str, int]) -> socket.socket:
        """Connect to a server, until the context ends."""
        server = socket.create_connection(address, 10)
        server.settimeout(None)
        self._sockets.append(server)
        return server

    def _start(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._door.accept()
            except OSError:
                return
            self._sockets.append(client)
            self._start(self._serve, client)


def cut(one: socket.socket) -> None:
    """End a connection both ways."""
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
