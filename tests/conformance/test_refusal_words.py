"""Every malformed request is refused with the gate's own text."""

import asyncio
import json
import logging
import re

import pytest

from gatekeeper.proxy.head_reader import MAX_HEAD_BYTES
from tests.conformance.gate_pair import COOKIE, Stage, StageOpener
from tests.integration.proxy.forwarding import OK, Message, get, responding
from tests.integration.proxy.test_malformed_requests import REFUSED

_ACCEPT_HTML = "Accept: text/html,application/xhtml+xml\r\nAccept-Language: de\r\n"
_FIELDS = [f"X-{number}: {'a' * 1000}" for number in range(100)]
MALFORMED = {
    **REFUSED,
    "a head that is too large": get("/", *_FIELDS),
    "a head without an end": b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * (MAX_HEAD_BYTES // 6),
    "a request line without an end": b"GET /" + b"a" * (MAX_HEAD_BYTES + 1),
    "an expectation": get("/", "Expect: miracles"),
    "bytes that are no HTTP": bytes(range(128, 256)) * 8 + b"\r\n\r\n",
    "zeros": bytes(100),
    "a quote and a backslash in a method": b"G'\\E\"T / HTTP/1.1\r\n\r\n",
    "markup in a target": b"GET /<script>alert(1)</script>\x01 HTTP/1.1\r\n\r\n",
    "a response": b"HTTP/1.1 200 OK\r\n\r\n",
}
_IN_GERMAN = {
    400: "Die Anfrage ist fehlerhaft.",
    414: "Die Adresse der Anfrage ist zu lang.",
    431: "Die Kopfzeilen der Anfrage sind zu groß.",
}
_STATUSES = {400, 414, 417, 431}
# Texts of a library or of Python, and texts that would repeat the client's bytes.
_FORBIDDEN = re.compile(
    rb"aiohttp|python|traceback|b'|b\"|bytearray|0x[0-9a-f]{6}|<class|llhttp|cython|error:|"
    rb"<script>alert|invalid header|Bad status line|line too long|expected",
    re.IGNORECASE,
)


def with_html(request: bytes) -> bytes:
    """The same request by a browser: Accept is after the first field, or after the request line."""
    line, end, rest = request.partition(b"\r\n")
    return line + end + _ACCEPT_HTML.encode() + rest if end else request


async def refusal(stage: Stage, request: bytes) -> Message:
    wire = await stage.connect()
    wire.send(request)
    message = await wire.message()
    assert await wire.rest() == b""
    wire.close()
    return message


async def test_every_malformed_head_is_refused_in_own_words(stage: Stage) -> None:
    names = list(MALFORMED)
    refused = await asyncio.gather(*(refusal(stage, MALFORMED[name]) for name in names))
    for name, message in zip(names, refused, strict=True):
        what = f"{name}: {message.head!r} {message.body!r}"
        assert message.head.startswith(b"HTTP/1.1 "), what
        assert message.status in _STATUSES, what
        assert message.one("Connection") == b"close", what
        assert message.one("Server") == b"gatekeeper", what
        assert message.one("Cache-Control") == b"no-store", what
        assert message.one("Content-Type") == b"application/json", what
        assert list(json.loads(message.body)) == ["error"], what
        assert _FORBIDDEN.search(message.head + message.body) is None, what
    assert stage.origin.requests == []


async def test_refused_browser_receives_a_page_of_the_gate(stage: Stage) -> None:
    names = [
        "NUL in a value",
        "a field without a colon",
        "a field that is too long",
        "a head that is too large",
        "a head without an end",
        "too many fields",
        "two hosts in one",
        "a line that is too long",
        "HTTP/2.0",
        "HTTP/0.9",
    ]
    requests = [with_html(MALFORMED[name]) for name in names]
    refused = await asyncio.gather(*(refusal(stage, request) for request in requests))
    unseen = set()
    for name, message in zip(names, refused, strict=True):
        what = f"{name}: {message.head!r} {message.body[:200]!r}"
        assert message.head.startswith(b"HTTP/1.1 "), what
        assert message.status in _STATUSES, what
        assert _FORBIDDEN.search(message.head + message.body) is None, what
        if message.one("Content-Type") == b"text/html; charset=utf-8":
            assert b"<!doctype html>" in message.body.lower(), what
            assert message.one("Content-Language") == b"de", what
            assert _IN_GERMAN[message.status] in message.body.decode(), what
        else:
            unseen.add(name)
    # The parser refuses these at their first line, before it has read Accept.
    assert unseen <= {"a line that is too long"}


_CHUNKED = "Transfer-Encoding: chunked"
# With a pass, since other tests may have used up the room's rate.
_FORM = get("/", COOKIE.decode(), _CHUNKED, method="POST")
BAD_CHUNKS = {
    "with its head": [_FORM + b"nonsense\r\nhello"],
    "after a chunk, with its head": [_FORM + b"2\r\nok\r\nzz\r\n"],
    "without an end, with its head": [_FORM + b"2\r\nokXX0\r\n\r\n"],
    "later": [_FORM, b"nonsense\r\nhello"],
    "after a chunk, later": [_FORM, b"2\r\nok\r\n", b"zz\r\n"],
}


@pytest.mark.parametrize("what", BAD_CHUNKS)
async def test_malformed_chunk_is_refused_in_own_words(what: str, stage: Stage) -> None:
    """At once when it arrives, as a page or as JSON; the origin receives no complete request."""
    first, *others = BAD_CHUNKS[what]
    for request, media_type in (
        (first, b"application/json"),
        (with_html(first), b"text/html; charset=utf-8"),
    ):
        wire = await stage.connect()
        for piece in (request, *others):
            wire.send(piece)
            await asyncio.sleep(0.02)
        message = await wire.message()
        assert message.first_line == b"HTTP/1.1 400 Bad Request"
        assert message.one("Content-Type") == media_type
        assert message.one("Connection") == b"close"
        reason = _IN_GERMAN[400] if media_type.startswith(b"text/html") else "malformed"
        assert reason in message.body.decode()
        assert _FORBIDDEN.search(message.head + message.body) is None
        assert await wire.rest() == b""
        wire.close()
    assert all(not request.body.endswith(b"0\r\n\r\n") for request in stage.origin.requests)


async def test_chunk_that_is_malformed_after_the_response_is_no_error(
    log_records: list[logging.LogRecord], open_stage: StageOpener
) -> None:
    """An endpoint does not read the body, and what the client sends afterwards is not logged."""
    async with open_stage(responding(OK)) as stage:
        wire = await stage.connect()
        wire.send(get("/.gatekeeper/enqueue", _CHUNKED, method="POST"))
        assert (await wire.message()).status == 201
        wire.send(b"2\r\nok\r\nzz\r\n")
        await wire.gone()
        wire.close()
    assert not any("Unhandled exception" in each.getMessage() for each in log_records)


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_own_responses_are_http_1_1(version: bytes, stage: Stage) -> None:
    """To an HTTP/1.0 client too (RFC 9110 section 2.5)."""
    for target in (b"/.gatekeeper/health", b"/.gatekeeper/none", b"/"):
        head = b"GET %b HTTP/%b\r\nHost: shop.example\r\nCookie: a=b" % (target, version)
        wire = await stage.connect()
        for _ in range(2):
            wire.send(head + b"\r\nConnection: keep-alive\r\nX-Y: z\r\n\r\n")
            response = await wire.message()
            assert response.head.startswith(b"HTTP/1.1 ")
            if response.one("Server") != b"gatekeeper":
                continue  # the status of the origin
            kept = response.one("Connection")
            assert kept == (b"keep-alive" if version == b"1.0" else None)


@pytest.mark.parametrize("spelling", [b"Host:", b"host: ", b"HOST:\t"])
async def test_empty_host_is_an_unknown_host(spelling: bytes, open_stage: StageOpener) -> None:
    """It is valid (RFC 9112 section 3.2) and belongs to no room: 421 if every room names hosts. A
    missing Host is 400 in HTTP/1.1."""
    empty = b"GET / HTTP/1.1\r\n" + spelling + b"\r\n\r\n"
    missing = b"GET / HTTP/1.1\r\nX: y\r\n\r\n"
    async with open_stage(responding(OK)) as stage:
        for request, statuses in ((empty, {200, 503}), (missing, {400})):
            wire = await stage.connect()
            wire.send(request)
            assert (await wire.message()).status in statuses
    async with open_stage(responding(OK), room='host = "shop.example"') as stage:
        for request, status in ((empty, 421), (missing, 400)):
            wire = await stage.connect()
            wire.send(request)
            assert (await wire.message()).status == status
        assert stage.origin.requests == []
