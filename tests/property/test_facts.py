"""Facts: both adapters read the same facts from the same head, also with repeated fields."""

import asyncio
from collections.abc import Callable, Sequence
from functools import cache
from ipaddress import ip_network
from unittest.mock import Mock

from aiohttp.http_exceptions import BadHttpMessage
from aiohttp.http_parser import HttpRequestParser, RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web import BaseRequest, RequestHandler
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from gatekeeper.config.schema import RoomConfig
from gatekeeper.policy.facts import RequestFacts
from gatekeeper.policy.fetch_metadata import creates_place, is_event_stream
from gatekeeper.proxy import SERVER_OPTIONS
from gatekeeper.proxy.client_address import Network
from gatekeeper.proxy.plain_head import parse_plain_head
from gatekeeper.web.cors import Cors
from gatekeeper.web.facts_reader import FactsReader
from tests.profiles import examples
from tests.property.heads import plain_heads

PEER = "192.0.2.1"
NETWORKS = (ip_network("192.0.2.0/24"),)
CORS = Cors([RoomConfig.model_validate({"cors_origins": ["https://a.example"]})])

# Every field that facts read, with values of different meaning.
READ = {
    "X-Queue-Ticket": ["a.b.c", "d.e.f", "a.b.c, d.e.f", ","],
    "X-Queue-Token": ["a.b.c", "d.e.f"],
    "Sec-Fetch-Mode": ["navigate", "cors", "navigate, cors", "no-cors"],
    "Sec-Fetch-Dest": ["document", "empty", "image"],
    "Sec-Fetch-Site": ["same-origin", "cross-site"],
    "Sec-Purpose": ["prefetch", "prefetch;prerender"],
    "Purpose": ["prefetch", "other"],
    "X-Purpose": ["preview"],
    "X-Moz": ["prefetch"],
    "Accept": ["text/html", "application/json", "text/event-stream", "*/*;q=0.1"],
    "Accept-Encoding": ["gzip", "br", "gzip;q=0"],
    "Accept-Language": ["de", "en;q=0.5"],
    "Origin": ["https://a.example", "https://b.example", "null"],
    "Access-Control-Request-Method": ["PUT"],
    "If-None-Match": ['W/"a"', "*"],
    "HX-Request": ["true", "false"],
    "Cookie": ["a=1", "gatekeeper=x.y.z; b=2"],
    "X-Forwarded-For": ["203.0.113.9", "203.0.113.9, 198.51.100.1", "unknown"],
    "X-Forwarded-Proto": ["https", "http", "ftp"],
    "X-Forwarded-Host": ["b.example", "c.example"],
    "User-Agent": ["A/1", "B/2"],
    "Upgrade": ["websocket", "h2c"],
    "Stripe-Signature": ["t=1", "t=2", "\xe9"],
}
_SPELLED: st.SearchStrategy[Callable[[str], str]] = st.sampled_from(
    [str.lower, str.upper, str.title, str.swapcase]
)


@st.composite
def heads_with_repeated_fields(draw: st.DrawFn) -> bytes:
    """GETs and HEADs with up to three lines of each field."""
    lines = []
    for name in draw(st.lists(st.sampled_from(sorted(READ)), max_size=10)):
        value = draw(st.sampled_from(READ[name]))
        lines.append(f"{draw(_SPELLED)(name)}: {value}")
    lines.insert(draw(st.integers(0, len(lines))), "Host: shop.example")
    method = draw(st.sampled_from(["GET", "HEAD"]))
    return "\r\n".join([f"{method} /a?b=%20 HTTP/1.1", *lines, "", ""]).encode("latin-1")


@cache
def loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


def parsed(head: bytes) -> BaseRequest:
    """The request as aiohttp's parser reads it."""
    limits = {name: SERVER_OPTIONS[name] for name in ("max_line_size", "max_field_size")}
    parser = HttpRequestParser(Mock(spec=RequestHandler), loop(), 2**16, **limits)
    [(message, _)], _, _ = parser.feed_data(head)
    assert isinstance(message, RawRequestMessage)
    protocol = Mock()
    protocol.peername = (PEER, 40000)
    return BaseRequest(message, EMPTY_PAYLOAD, protocol, Mock(), Mock(), loop())


def comparable(facts: RequestFacts) -> dict[str, object]:
    """Everything that facts decide, and every value of every field."""
    return {
        "client": facts.client,
        "request line": (facts.method, facts.target),
        "negotiation": (facts.accept, facts.accept_encoding, facts.accept_language),
        "tokens": (facts.cookies, facts.queue_tokens, facts.page_tickets),
        "flags": (facts.has_body, facts.is_htmx, facts.accepts_html, facts.accepts_gzip),
        "fields": {name: list(facts.fields(name)) for name in READ if name != "Cookie"},
        "creates place": creates_place(facts),
        "event stream": is_event_stream(facts),
        "cors": CORS.headers(facts, None),
    }


@settings(max_examples=examples(400))
@given(st.one_of(heads_with_repeated_fields(), plain_heads()), st.booleans())
def test_both_adapters_read_the_same_facts(head: bytes, is_trusted: bool) -> None:
    plain = parse_plain_head(head)
    event(f"plain: {plain is not None}")
    assume(plain is not None)
    assert plain is not None
    trusted: Sequence[Network] = NETWORKS if is_trusted else ()
    reader = FactsReader(trusted=trusted, tls=False)
    fast, full = reader.of_plain_head(head, plain, PEER), reader.of_request(parsed(head))
    assert comparable(fast) == comparable(full)


@given(heads_with_repeated_fields())
def test_only_the_full_path_reads_a_websocket_handshake(head: bytes) -> None:
    """A handshake is never plain, and with `Upgrade: websocket` it creates no place."""
    if b"\r\nupgrade:" in head.lower():
        assert parse_plain_head(head) is None
    try:
        request = parsed(head)
    except BadHttpMessage:  # a repeated field
        return
    full = FactsReader(trusted=(), tls=False).of_request(request)
    if "websocket" in full.fields("Upgrade"):
        assert not creates_place(full)


def test_field_with_an_underscore_is_read_on_the_full_path_alone() -> None:
    head = b"GET / HTTP/1.1\r\nHost: a\r\nX_Evil: 1\r\nX-Evil: 2\r\nx_eVIL: 3\r\n\r\n"
    assert parse_plain_head(head) is None
    full = FactsReader(trusted=(), tls=False).of_request(parsed(head))
    assert (full.fields("X-Evil"), full.underscored("X-Evil")) == (["2"], ["1", "3"])


@given(heads_with_repeated_fields())
def test_head_with_a_token_of_an_app_is_not_plain(head: bytes) -> None:
    """Only one adapter reads these heads, so the two cannot disagree."""
    names = [line.partition(b":")[0].lower() for line in head.split(b"\r\n")]
    if (
        b"x-queue-token" in names
        or names.count(b"x-queue-ticket") > 1
        or names.count(b"cookie") > 1
    ):
        assert parse_plain_head(head) is None
