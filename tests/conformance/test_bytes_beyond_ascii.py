"""Bytes beyond ASCII in a target: they reach the origin, and rooms and rules match them."""

import asyncio

import pytest

from tests.conformance.gate_pair import COOKIE, Stage, StageOpener, received, visitor_request
from tests.conformance.request_cases import OK
from tests.integration.proxy.forwarding import responding


@pytest.mark.parametrize(
    "target",
    ["/schön".encode(), "/日本?größe=ü".encode(), b"/\xff\xe9", b"/%C3\xa9", b"/~\xc3\xa9~?~"],
)
@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_bytes_beyond_ascii_in_a_target_pass_unchanged(
    target: bytes, method: bytes, stage: Stage
) -> None:
    """In one piece, byte by byte, and in absolute-form."""
    for line in (target, b"http://shop.example" + target):
        wire = await stage.connect()
        request = visitor_request(method + b" " + line)
        for cut in (len(request), 1):
            for at in range(0, len(request), cut):
                wire.send(request[at : at + cut])
                if cut == 1:
                    await asyncio.sleep(0)
            assert await received(wire, len(OK)) == OK
            wanted = method + b" " + target + b" HTTP/1.1"
            assert stage.origin.requests[-1].first_line == wanted
    assert len(stage.origin.requests) == 4
    assert COOKIE not in stage.origin.requests[-1].head


ROOM_AND_RULES = """path = ["/kasse/", "/k%C3%A4sse/"]
rate = "0"
[[rule]]
name = "free"
action = "bypass"
path = "/frei/**"
"""


@pytest.mark.parametrize(
    ("target", "waits"),
    [
        ("/kässe/".encode(), True),
        (b"/k%C3%A4sse/", True),
        (b"/k\xc3%a4sse/", True),
        (b"/k%C3\xa4sse/", True),
        ("/kasse/ä".encode(), True),
        ("/ä/../kasse/".encode(), True),
        ("/ä/%2e%2e/KASSE/".encode(), True),
        (b"/\xff/..;/kasse/", True),
        ("/frei/ä/../../kasse/".encode(), True),
        ("/kasser/ä".encode(), False),
        ("/kässer/".encode(), False),
        ("/frei/kässe/".encode(), False),
        (b"/k\xe4sse/", False),  # Latin-1: another path for an origin that reads UTF-8
    ],
)
async def test_raw_utf_8_is_in_the_room_of_its_reading(
    target: bytes, waits: bool, open_stage: StageOpener
) -> None:
    """For every encoding of the path, and for no other path."""
    async with open_stage(responding(OK), room=ROOM_AND_RULES) as stage:
        for method in (b"GET", b"POST"):
            wire = await stage.connect()
            wire.send(method + b" " + target + b" HTTP/1.1\r\nHost: shop.example\r\n\r\n")
            assert (await wire.message()).status == (503 if waits else 200)
        assert len(stage.origin.requests) == (0 if waits else 2)
