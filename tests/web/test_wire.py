"""The private parts of aiohttp that the door touches: this fails when an upgrade moves them."""

import ast
import inspect
import textwrap

import aiohttp
import pytest
from aiohttp import http_parser, web, web_protocol
from aiohttp.web_protocol import RequestHandler

from mirror.errors import ConfigError
from mirror.web import wire
from mirror.web.wire import Exchange, Sent


def test_request_handler_has_the_parts_we_use() -> None:
    """The slots and methods that mirror.web.wire reads or overrides are there, with their signatures."""
    slots = {slot for kind in RequestHandler.__mro__ for slot in getattr(kind, "__slots__", ())}
    assert {"_messages", "_current_request", "_force_close", "transport"} <= slots
    assert list(inspect.signature(RequestHandler.handle_error).parameters) == [
        "self",
        "request",
        "status",
        "exc",
        "message",
    ]
    options = inspect.signature(RequestHandler.__init__).parameters
    assert set(wire._LIMITS) <= set(options)
    assert isinstance(inspect.getattr_static(RequestHandler, "writing_paused"), property)


def test_request_handler_has_the_parts_that_the_lane_stands_before() -> None:
    """What mirror.web.connection reads, overrides and sets is there."""
    slots = {slot for kind in RequestHandler.__mro__ for slot in getattr(kind, "__slots__", ())}
    wanted = {"_close", "_upgraded", "_next_keepalive_close_time", "_keepalive_timeout", "_loop"}
    assert wanted <= slots
    assert list(inspect.signature(RequestHandler.data_received).parameters) == ["self", "data"]
    assert list(inspect.signature(RequestHandler.finish_response).parameters) == [
        "self",
        "request",
        "resp",
        "start_time",
    ]
    assert inspect.iscoroutinefunction(RequestHandler.finish_response)
    # One response after the other: the next message is taken once the task of the last has ended.
    start = inspect.getsource(RequestHandler.start)
    assert start.index("self._messages.popleft()") < start.index("await task")
    assert "await self.finish_response(" in inspect.getsource(RequestHandler._handle_request)
    assert "EMPTY_PAYLOAD" in inspect.getsource(web_protocol)
    for name in ("resume_writing", "connection_lost"):
        assert callable(getattr(RequestHandler, name))


def test_request_handler_asks_nothing_more_of_a_request() -> None:
    """All that aiohttp touches on a request is in `Exchange`."""
    used = _touched("request", "_current_request", without="handle_error")
    assert {"_finish", "_cancel", "_task"} <= used <= set(dir(Exchange))


def test_request_handler_asks_nothing_more_of_a_response() -> None:
    """All that aiohttp touches on a response is in `Sent`."""
    used = _touched("resp", without="handle_error")
    assert {"prepare", "write_eof", "keep_alive"} == used <= set(dir(Sent))


def _touched(*names: str, without: str) -> set[str]:
    """List the attributes that `RequestHandler` uses of variables or attributes called *names*.

    The method *without* is left out, for the door overrides it.
    """
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(RequestHandler))).body
    assert isinstance(tree, ast.ClassDef)
    found = set()
    for method in tree.body:
        if getattr(method, "name", "") == without:
            continue
        for node in ast.walk(method):
            if isinstance(node, ast.Attribute):
                owner = node.value
                name = getattr(owner, "id", getattr(owner, "attr", ""))
                if name in names:
                    found.add(node.attr)
    return found


def test_server_calls_its_request_factory_with_five_arguments() -> None:
    """The factory gets message, payload, protocol, writer and task."""
    assert list(inspect.signature(web.Server._make_request).parameters)[1:] == [
        "message",
        "payload",
        "protocol",
        "writer",
        "task",
    ]
    assert "handler_cancellation" in inspect.signature(web.Server.__init__).parameters


def test_payload_and_message_have_the_parts_we_use() -> None:
    """The names that `Exchange` reads of a message and its payload exist."""
    fields = set(dir(http_parser.RawRequestMessage))
    assert {
        "method",
        "path",
        "version",
        "headers",
        "raw_headers",
        "should_close",
        "chunked",
    } <= fields
    for name in ("readany", "is_eof", "set_exception", "total_raw_bytes"):
        assert hasattr(aiohttp.StreamReader, name) or name in inspect.getsource(
            aiohttp.StreamReader
        )


def test_compiled_parser_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the lenient pure-Python parser the door does not open, and says what to install."""
    wire.check_parser()
    monkeypatch.setattr(http_parser, "HttpRequestParser", http_parser.HttpRequestParserPy)
    with pytest.raises(ConfigError, match="wheel"):
        wire.check_parser()
