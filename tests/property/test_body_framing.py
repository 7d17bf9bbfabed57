"""A body cut in any way is the same body; a head is parsed like by llhttp."""

from itertools import pairwise

import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatekeeper.errors import OriginProtocolError
from gatekeeper.proxy.framing import Body, ChunkedBody, CloseDelimitedBody, LengthBody
from gatekeeper.proxy.response import body_of, parse_response_head

token = st.text("!#$%&'*+-.^_`|~09AZaz", min_size=1, max_size=8)
value = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF), max_size=12).filter(
    lambda text: "\x7f" not in text
)
size_digits = st.sampled_from([b"%x", b"%X", b"%04x"])


@st.composite
def chunked(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A chunked body and the data in it."""
    datas = draw(st.lists(st.binary(min_size=1, max_size=40), max_size=5))
    coded = b""
    for data in datas:
        extension = draw(st.one_of(st.just(b""), value.map(lambda v: b";" + v.encode("latin-1"))))
        coded += draw(size_digits) % len(data) + extension + b"\r\n" + data + b"\r\n"
    trailers = draw(st.lists(st.tuples(token, value), max_size=2))
    coded += b"0\r\n"
    for name, text in trailers:
        coded += f"{name}:{text}\r\n".encode("latin-1")
    return coded + b"\r\n", b"".join(datas)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(places)]


def fed(body: Body, parts: list[bytes]) -> bytes:
    return b"".join(body.take(part) for part in parts)


cuts = st.lists(st.integers(min_value=0, max_value=1 << 16), max_size=12)


@given(chunked(), cuts, st.binary(max_size=20))
def test_chunks_in_any_pieces_are_unchanged(
    coded: tuple[bytes, bytes], where: list[int], surplus: bytes
) -> None:
    chunks, data = coded
    raw, decoded = ChunkedBody(decode=False), ChunkedBody(decode=True)
    assert fed(raw, pieces(chunks + surplus, where)) == chunks
    assert fed(decoded, pieces(chunks + surplus, where)) == data
    assert raw.complete
    assert decoded.complete
    assert raw.surplus == decoded.surplus == bool(surplus)


@given(chunked(), st.integers(min_value=1))
def test_truncated_chunks_are_never_complete(coded: tuple[bytes, bytes], lacking: int) -> None:
    chunks, _ = coded
    body = ChunkedBody(decode=False)
    body.take(chunks[: -(lacking % len(chunks) or 1)])
    assert not body.complete
    with pytest.raises(OriginProtocolError):
        body.end()


@given(st.binary(max_size=60), cuts, st.binary(max_size=20))
def test_length_body_in_any_pieces_is_exact(data: bytes, where: list[int], surplus: bytes) -> None:
    body = LengthBody(len(data))
    assert fed(body, pieces(data + surplus, where)) == data
    assert body.complete
    assert body.surplus == bool(surplus)


@given(st.binary(max_size=60), cuts)
def test_chunked_close_delimited_body_decodes_to_input(data: bytes, where: list[int]) -> None:
    ours = CloseDelimitedBody(chunked=True)
    coded = fed(ours, pieces(data, where)) + ours.end()
    back = ChunkedBody(decode=True)
    assert back.take(coded) == data
    assert back.complete
    assert not back.surplus


nearly_chunks = st.lists(
    st.sampled_from(
        [
            b"0",
            b"1",
            b"a",
            b"\r\n",
            b"\n",
            b"\r",
            b";",
            b"x",
            b" ",
            b":",
            b"\0",
            b"-",
            b"3\r\nabc\r\n",
        ]
    ),
    max_size=12,
).map(b"".join)


@given(st.one_of(st.binary(max_size=60), nearly_chunks), cuts)
@example(b"0\r\n\r\n", [1, 2, 3, 4])
def test_any_bytes_have_same_result_in_any_pieces(data: bytes, where: list[int]) -> None:
    def verdict(parts: list[bytes]) -> bool | None:
        body = ChunkedBody(decode=False)
        try:
            fed(body, parts)
        except OriginProtocolError:
            return None
        return body.complete

    # An error may show only with one more byte, e.g. after "3\r\nabcX".
    whole, cut = verdict([data, b"XX"]), verdict([*pieces(data, where), b"XX"])
    assert whole == cut


class HeadLog:
    """The result of llhttp for a head."""

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []
        self.complete = False

    def on_header(self, name: bytes, text: bytes) -> None:
        self.fields.append((name, text))

    def on_headers_complete(self) -> None:
        self.complete = True


@given(
    st.sampled_from(["200 OK", "404", "304 \xff"]),
    st.lists(st.tuples(token, value), max_size=6),
)
def test_head_is_parsed_like_llhttp(status: str, fields: list[tuple[str, str]]) -> None:
    lines = [f"HTTP/1.1 {status}", *(f"{name}:{text}" for name, text in fields), "", ""]
    head = "\r\n".join(lines).encode("latin-1")
    response = parse_response_head(head)
    assert response is not None
    log = HeadLog()
    parser = httptools.HttpResponseParser(log)
    parser.feed_data(head)
    assert log.complete
    assert parser.get_status_code() == response.status
    assert [(name.lower(), text.strip(b" ")) for name, text in log.fields] == [
        (name.lower(), text.strip(b" "))
        for name, _, text in (line.partition(b":") for line in response.lines.split(b"\r\n")[1:])
    ]


@given(st.binary(max_size=80).map(lambda tail: b"HTTP/1.1 200 OK\r\n" + tail + b"\r\n\r\n"))
def test_any_head_is_parsed_or_protocol_error(head: bytes) -> None:
    try:
        response = parse_response_head(head)
        assert response is not None
        body_of(response, method="GET", http11_client=True)
    except OriginProtocolError:
        return
    assert response.lines.count(b"\n") == response.lines.count(b"\r\n")
