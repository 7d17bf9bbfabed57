"""Plain requests on both paths: the same bytes to the origin and to the client."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, assume, event, example, given, settings
from hypothesis import strategies as st

from gatekeeper.proxy.plain_head import parse_plain_head
from tests.conformance.case_runner import ScriptedOrigin
from tests.conformance.gate_pair import Stage, cookie_of, running_stage, send_in_pieces
from tests.conformance.request_cases import Case, OriginStep
from tests.profiles import examples
from tests.property.heads import names, plain_heads, values

_COOKIE = f"a=1; {cookie_of()}; b=2"
_PLAIN_HEAD = f"GET / HTTP/1.1\r\nHost: shop.example\r\nCookie: {_COOKIE}\r\n\r\n".encode()

_BODILESS = {"204 No Content", "304 Not Modified"}
statuses = st.sampled_from(["200 OK", "200 ", *sorted(_BODILESS), "404", "599 \xe4"])
fields = st.lists(
    st.one_of(
        st.tuples(names, values),
        st.sampled_from(
            [
                ("Set-Cookie", "a=1"),
                ("Connection", "close"),
                ("Connection", "X-Hop"),
                ("X-Hop", "1"),
                ("Keep-Alive", "timeout=5"),
                ("Trailer", "T"),
            ]
        ),
    ),
    max_size=6,
)


@dataclass(frozen=True)
class Response:
    """A generated response: interim heads and the final head, and the body it announces."""

    head: bytes
    body: bytes
    bodiless: bool  # because of its status


@st.composite
def responses(draw: st.DrawFn) -> Response:
    status = draw(statuses)
    lines = [f"HTTP/1.1 {status}"] + [f"{n}: {v}" for n, v in draw(fields)]
    body = draw(st.binary(max_size=40))
    if draw(st.booleans()):
        lines.append(f"Content-Length: {len(body)}")
    else:
        lines.append("Transfer-Encoding: chunked")
        body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + b"0\r\nT: 1\r\n\r\n"
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * draw(st.integers(0, 2))
    head = interim + "\r\n".join([*lines, "", ""]).encode("latin-1")
    return Response(head, body, status in _BODILESS)


class GatePair:
    """A gate with the fast path and one without; not a dataclass, which Hypothesis would print."""

    def __init__(
        self, fast_path: Stage, aiohttp: Stage, parts: tuple[ScriptedOrigin, ScriptedOrigin]
    ) -> None:
        self.stages = (fast_path, aiohttp)
        self.parts = parts


@pytest.fixture
async def gates(store_url: str) -> AsyncIterator[GatePair]:
    parts = (ScriptedOrigin(), ScriptedOrigin())
    async with (
        running_stage(parts[0].script_of, store_url=store_url, fast_path=True) as fast_path,
        running_stage(parts[1].script_of, store_url=store_url, fast_path=False) as aiohttp,
    ):
        yield GatePair(fast_path, aiohttp, parts)


@settings(max_examples=examples(200), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    head=plain_heads(cookie=_COOKIE),
    response=responses(),
    cuts=st.sets(st.integers(1, 500), max_size=4),
)
@example(
    head=_PLAIN_HEAD,
    response=Response(b"HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n", b"HTTP/1.1 ", True),
    cuts=set(),
)
async def test_both_paths_forward_and_respond_alike(
    gates: GatePair, head: bytes, response: Response, cuts: set[int]
) -> None:
    plain = parse_plain_head(head)
    assume(plain is not None and _COOKIE.encode() in head)
    if plain is not None and plain.keep_alive:
        head = head[:-2].replace(b"Connection: keep-alive\r\n", b"") + b"Connection: close\r\n\r\n"
    assert parse_plain_head(head) is not None
    # No body after HEAD, 204 and 304: a late one would belong to no request.
    bodiless = head.startswith(b"HEAD") or response.bodiless
    said = response.head if bodiless else response.head + response.body
    event(f"bodiless: {bodiless}")
    case = Case(head, b"", (OriginStep(said), OriginStep(said)), b"")
    # The fast path recalls the fields of the first request for another target.
    again = head.replace(b" /", b" /again", 1)
    results = []
    for stage, part in zip(gates.stages, gates.parts, strict=True):
        part.begin(case)
        back = b""
        for request in (head, again):
            wire = await stage.connect()
            await send_in_pieces(wire, request, tuple(cuts))
            back += await wire.rest()
            wire.close()
        results.append((part.received, back))
    (fast_path, fast_path_response), (aiohttp, aiohttp_response) = results
    assert fast_path == aiohttp
    assert fast_path.count(b" HTTP/1.1\r\nHost: ") == 2
    assert fast_path_response == aiohttp_response != b""
