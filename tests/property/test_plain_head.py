"""Plain requests are parsed like by aiohttp, and forwarded in the same way on both paths."""

import asyncio
from functools import cache
from unittest.mock import Mock

from aiohttp.http_parser import HttpRequestParser, RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web import BaseRequest, RequestHandler
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from gatekeeper.policy.facts import Client
from gatekeeper.proxy import SERVER_OPTIONS, ForwardContext, check_request
from gatekeeper.proxy.headers import plain_head, request_head
from gatekeeper.proxy.plain_head import PlainRequest, may_be_plain, parse_plain_head
from tests.profiles import examples
from tests.property.heads import mutated_heads, plain_heads

_LIMITS = ("max_line_size", "max_field_size", "max_headers")


@cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


def _parsed(data: bytes) -> RawRequestMessage:
    """The one request that aiohttp's parser reads in `data`, with the gate's limits."""
    limits = {name: SERVER_OPTIONS[name] for name in _LIMITS}
    parser = HttpRequestParser(Mock(spec=RequestHandler), _loop(), 2**16, **limits)
    messages, upgraded, tail = parser.feed_data(data)
    assert (len(messages), upgraded, tail) == (1, False, b"")
    message, payload = messages[0]
    assert payload is EMPTY_PAYLOAD
    assert isinstance(message, RawRequestMessage)
    return message


def _agree(head: bytes, request: PlainRequest) -> None:
    message = _parsed(head)
    assert message.method == request.method
    assert message.path.encode() == request.target
    assert message.should_close is not request.keep_alive
    assert not message.chunked
    assert not message.upgrade
    lines = head.split(b"\r\n")[1:-2]
    assert [b"%b: %b" % field for field in message.raw_headers] == lines
    assert message.headers["Host"].encode() == request.host


@given(plain_heads())
def test_plain_request_is_parsed_like_aiohttp(head: bytes) -> None:
    request = parse_plain_head(head)
    event(f"plain: {request is not None}")
    assume(request is not None)
    assert request is not None
    _agree(head, request)


@settings(max_examples=examples(400))
@given(mutated_heads())
def test_nearly_plain_request_is_parsed_alike_or_not_plain(head: bytes) -> None:
    request = parse_plain_head(head)
    event(f"plain: {request is not None}")
    if request is not None:
        _agree(head, request)


@given(st.one_of(plain_heads(), mutated_heads()), st.data())
def test_beginning_of_plain_head_may_be_plain(head: bytes, data: st.DataObject) -> None:
    if parse_plain_head(head) is not None:
        assert may_be_plain(head[: data.draw(st.integers(0, len(head) - 1))])


@given(plain_heads(), st.booleans(), st.sampled_from(["", "A" * 22]))
def test_both_paths_send_origin_same_bytes(head: bytes, preserve_host: bool, visitor: str) -> None:
    plain = parse_plain_head(head)
    assume(plain is not None)
    assert plain is not None
    context = ForwardContext(
        room="default" if visitor else "",
        visitor=visitor,
        client=Client("192.0.2.1", "https", plain.host.decode()),
        strip_cookies=frozenset({"gatekeeper", "__Host-gatekeeper"}),
    )
    request = BaseRequest(_parsed(head), EMPTY_PAYLOAD, Mock(), Mock(), Mock(), _loop())
    check_request(request)
    assert plain_head(
        plain, context, origin_host=b"origin:9000", preserve_host=preserve_host
    ) == request_head(request, context, origin_host=b"origin:9000", preserve_host=preserve_host)
