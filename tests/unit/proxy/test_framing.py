"""The end of response bodies, the bytes for the client, and malformed bodies."""

import pytest

from gatekeeper.errors import OriginProtocolError
from gatekeeper.proxy.framing import ChunkedBody, CloseDelimitedBody, LengthBody


def test_length_body_takes_no_byte_beyond_end() -> None:
    body = LengthBody(5)
    assert (body.take(b"abc"), body.complete) == (b"abc", False)
    assert (body.take(b"defg"), body.complete) == (b"de", True)
    assert body.surplus


def test_length_body_with_early_end_is_error() -> None:
    body = LengthBody(5)
    body.take(b"abcd")
    with pytest.raises(OriginProtocolError):
        body.end()


def test_empty_length_body_is_complete_at_start() -> None:
    body = LengthBody(0)
    assert body.complete
    assert not body.surplus
    assert body.take(b"x") == b""
    assert body.surplus


def test_close_delimited_body_is_chunked_for_http11() -> None:
    body = CloseDelimitedBody(chunked=True)
    assert body.take(b"hello, world, hello") == b"13\r\nhello, world, hello\r\n"
    assert body.take(b"") == b""
    assert not body.complete
    assert body.end() == b"0\r\n\r\n"
    assert body.complete


def test_close_delimited_body_is_unchanged_for_http10() -> None:
    body = CloseDelimitedBody(chunked=False)
    assert body.take(b"hello") == b"hello"
    assert body.until_close
    assert body.end() == b""
    assert body.complete


WHOLE = {
    "nothing": (b"0\r\n\r\n", b""),
    "one chunk": (b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
    "digits of both cases": (b"a\r\n0123456789\r\n0B\r\n0123456789x\r\n0\r\n\r\n", None),
    "leading zeros": (b"00003\r\nabc\r\n000\r\n\r\n", b"abc"),
    "an extension": (b'3;name="value"\r\nabc\r\n0;x\r\n\r\n', b"abc"),
    "trailers": (b"0\r\nX: 1\r\nY:\r\n\r\n", b""),
    "data that looks like the end": (b"5\r\n0\r\n\r\n\r\n0\r\n\r\n", b"0\r\n\r\n"),
}


@pytest.mark.parametrize("what", WHOLE)
def test_chunks_are_relayed_unchanged_or_decoded(what: str) -> None:
    chunks, data = WHOLE[what]
    raw, decoded = ChunkedBody(decode=False), ChunkedBody(decode=True)
    assert raw.take(chunks) == chunks
    assert raw.complete
    assert not raw.surplus
    result = decoded.take(chunks)
    assert decoded.complete
    if data is not None:
        assert result == data


def test_bytes_after_last_chunk_are_surplus() -> None:
    body = ChunkedBody(decode=False)
    assert body.take(b"0\r\n\r\nHTTP/1.1 200 OK\r\n") == b"0\r\n\r\n"
    assert body.complete
    assert body.surplus
    assert body.take(b"more") == b""


MALFORMED = {
    "no size": b"\r\n",
    "a sign": b"+3\r\n",
    "C notation": b"0x3\r\n",
    "underscores": b"1_0\r\n",
    "a space before the size": b" 3\r\n",
    "a space after the size": b"3 \r\n",
    "a space before the extension": b"3 ;x\r\n",
    "a tab": b"3\t\r\n",
    "digits that are no ASCII": "\u0663\r\n".encode(),
    "sixteen digits": b"0000000000000003\r\n",
    "bare LF": b"3\n",
    "two CR": b"3\r\r\n",
    "bare CR in an extension": b"3;a\rb\r\n",
    "NUL in an extension": b"3;\0\r\n",
    "a long extension": b"3;" + b"a" * 2000,
    "data longer than its size": b"3\r\nabcd\r\n",
    "data followed by bare LF": b"3\r\nabc\n",
    "data followed by two CR": b"3\r\nabc\r\r\n",
    "data followed by nothing": b"3\r\nabc0\r\n",
    "a trailer without a name": b"0\r\n: x\r\n",
    "a trailer without a colon": b"0\r\nX\r\n",
    "a trailer with whitespace before its colon": b"0\r\nX : 1\r\n",
    "a folded trailer": b"0\r\nX: 1\r\n 2\r\n",
    "a trailer with bare LF": b"0\r\nX: 1\n",
    "an end with bare LF": b"0\r\n\n",
    "endless trailers": b"0\r\n" + b"X: aaaaaaaa\r\n" * 2000,
}


@pytest.mark.parametrize("what", MALFORMED)
@pytest.mark.parametrize("step", [1, 1 << 20])
def test_malformed_chunks_in_any_pieces_are_error(what: str, step: int) -> None:
    chunks = MALFORMED[what]
    pieces = [chunks[start : start + step] for start in range(0, len(chunks), step)]
    with pytest.raises(OriginProtocolError):
        take_all(pieces)


def take_all(pieces: list[bytes]) -> None:
    body = ChunkedBody(decode=False)
    for piece in pieces:
        body.take(piece)


@pytest.mark.parametrize(
    "so_far", [b"", b"3", b"3\r\nab", b"3\r\nabc\r\n", b"0\r\n", b"0\r\nX: 1\r\n"]
)
def test_chunks_with_early_end_are_error(so_far: bytes) -> None:
    body = ChunkedBody(decode=True)
    body.take(so_far)
    with pytest.raises(OriginProtocolError):
        body.end()
