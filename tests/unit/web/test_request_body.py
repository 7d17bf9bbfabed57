"""The short bodies of requests for the gate's own endpoints: which are read, and which are not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp.web import BaseRequest, RequestPayloadError

from gatekeeper.errors import BadRequest
from gatekeeper.web import request_body
from gatekeeper.web.request_body import MAX_BODY_BYTES, fields_of, read_body


def request_of(parts: Sequence[bytes], *, ends: bool = True) -> BaseRequest:
    """A request whose body arrives in these parts, or never ends."""

    async def iter_any() -> AsyncIterator[bytes]:
        for part in parts:
            yield part
        if not ends:
            await asyncio.Event().wait()

    return cast(BaseRequest, SimpleNamespace(content=SimpleNamespace(iter_any=iter_any)))


async def test_body_is_read_up_to_its_limit() -> None:
    assert await read_body(request_of([b"a", b"bc"])) == b"abc"
    whole = b"x" * MAX_BODY_BYTES
    assert await read_body(request_of([whole])) == whole
    with pytest.raises(BadRequest) as refused:
        await read_body(request_of([whole, b"x"], ends=False))
    assert refused.value.status == 413


async def test_body_that_never_ends_is_408(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_body, "_TIMEOUT_S", 0.01)
    with pytest.raises(BadRequest) as refused:
        await read_body(request_of([b"a"], ends=False))
    assert refused.value.status == 408


async def test_body_of_malformed_chunks_is_400() -> None:
    async def iter_any() -> AsyncIterator[bytes]:
        yield b"a"
        raise RequestPayloadError("the body is malformed")

    request = cast(BaseRequest, SimpleNamespace(content=SimpleNamespace(iter_any=iter_any)))
    with pytest.raises(BadRequest) as refused:
        await read_body(request)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (b'{"payload": "abc"}', "application/json", {"payload": "abc"}),
        (b'{"payload": "abc"}', "Application/JSON; charset=utf-8", {"payload": "abc"}),
        (b'{"payload": 7, "more": null, "altcha": "x"}', "application/json", {"altcha": "x"}),
        (b"{}", "application/json", {}),
        (b"altcha=a%2Bb&x=1", "application/x-www-form-urlencoded", {"altcha": "a+b", "x": "1"}),
        (b"a=1&a=1&b=", "application/x-www-form-urlencoded", {"a": "1"}),
        (b"", "application/x-www-form-urlencoded", {}),
        (b" abc\n", "text/plain", {"": "abc"}),
    ],
)
def test_fields_of_each_type(body: bytes, content_type: str, expected: dict[str, Any]) -> None:
    assert fields_of(body, content_type) == expected


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b'"payload"', "application/json", 400),
        (b"", "application/json", 400),
        (b"[" * 10_000, "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"\xff", "text/plain", 400),
        (b"a=1&" * 100, "application/x-www-form-urlencoded", 400),
        (b"invitation=a&x=1&invitation=b", "application/x-www-form-urlencoded", 400),
        (b"abc", "", 415),
        (b"abc", "application/xml", 415),
        (b"abc", "multipart/form-data; boundary=x", 415),
        (b"{}", "application/json, text/plain", 415),
        (b"{}", "text/json", 415),
    ],
)
def test_other_bodies_are_refused(body: bytes, content_type: str, status: int) -> None:
    with pytest.raises(BadRequest) as refused:
        fields_of(body, content_type)
    assert refused.value.status == status
