"""A door before the mirror for what is no read: the tests' own configuration goes straight to their server.

The mirror passes no PUT. So requests below /config/ and /state/ are handed, connection and all, to the
origin, and every other to the mirror. Nothing is read but the first line.
"""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from socket import SHUT_RDWR, SHUT_WR, create_connection, socket

_Address = tuple[str, int]


@contextmanager
def front(mirror: _Address, origin: _Address) -> Iterator[str]:
    """Listen on a free port for as long as the block lasts; give the URL."""

    class Handler(socketserver.StreamRequestHandler):
        request: socket
        rbufsize = 0

        def handle(self) -> None:
            line = self.rfile.readline()
            own = line.partition(b" ")[2].startswith((b"/config/", b"/state/"))
            with create_connection(origin if own else mirror) as there, suppress(OSError):
                there.sendall(line)
                up = threading.Thread(target=_pipe, args=(self.request, there, SHUT_WR))
                up.start()
                _pipe(there, self.request, SHUT_RDWR)
                up.join()

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 128

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def _pipe(source: socket, sink: socket, ending: int) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(ending)
