"""The load notices an answer that is not what was asked for, and counts what is."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from tests.bench.load import WrongAnswerError, get, heads


@contextmanager
def _server(answer: bytes) -> Iterator[tuple[str, int]]:
    """A server that sends *answer* to each of up to 16 requests on each connection, then closes it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    wire, _ = listener.accept()
                except OSError:
                    return
                with wire, suppress(ConnectionError):
                    for _ in range(16):
                        if not wire.recv(65536):
                            break
                        wire.sendall(answer)
                        if b"Connection: close" in answer:
                            break

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[:2]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def test_get_counts_the_whole_body() -> None:
    """Every byte of the body counts, those that came with the head included, and no byte of the head."""
    with (
        _server(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello") as address,
        ExitStack() as stack,
    ):
        told = get(stack, address, "/x", 5, clients=1, ranges=False)

    assert told["bytes"] == 5
    assert 0 < told["first"][0] <= told["total"][0] <= told["seconds"]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhel",
    ],
    ids=["status", "length", "short"],
)
def test_get_refuses_another_answer(answer: bytes) -> None:
    """A wrong status, a wrong length or a body that ends early is an error and no figure."""
    with _server(answer) as address, ExitStack() as stack, pytest.raises(WrongAnswerError):
        get(stack, address, "/x", 5, clients=1, ranges=False)


def test_heads_counts_each_answer_once() -> None:
    """Answers are counted until the time is up, at least one per connection."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
    with _server(answer) as address, ExitStack() as stack:
        told = heads(stack, address, "/x", clients=1, seconds=0.0001)

    assert 1 <= told["count"] <= 16
    assert 0 < told["median"] <= told["p99"]


def test_heads_refuses_an_error() -> None:
    """A refusal is quick to give and must not look like speed."""
    with (
        _server(b"HTTP/1.1 503 Busy\r\n\r\n") as address,
        ExitStack() as stack,
        pytest.raises(WrongAnswerError),
    ):
        heads(stack, address, "/x", clients=1, seconds=5)
