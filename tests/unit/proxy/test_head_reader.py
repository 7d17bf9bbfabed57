"""Heads are found, counted and given to the parser in the same way, wherever the stream is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.proxy.head_reader import MAX_HEAD_BYTES, HeadReader

HEAD = "GET /schön?größe=~ HTTP/1.1\r\nHost: shop.example\r\nX: ü\r\n\r\n".encode()
SHOWN = b"GET /sch~~n?gr~~~~e=~ HTTP/1.1\r\n" + HEAD.partition(b"\r\n")[2]
TARGET = "/schön?größe=~"


def read(data: bytes, cuts: list[int]) -> tuple[bytes, bytes, str | None]:
    """What the parser receives of a head, the bytes after the head, and the target if it was
    hidden."""
    reader, shown, done = HeadReader(), b"", 0
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        part = data[start:end]
        while part and not bytes(reader.head).endswith(b"\r\n\r\n"):
            piece, size = reader.take(part)
            assert 0 < size <= len(part)
            shown, done, part = shown + piece, done + size, part[size:]
    return shown, data[done:], reader.target


CUTS = st.lists(st.integers(0, len(HEAD) + 6), max_size=6).map(sorted)


@given(CUTS, st.sampled_from([b"", b"GET", b"\r\n"]))
def test_head_is_read_alike_wherever_it_is_cut(cuts: list[int], rest: bytes) -> None:
    data = b"\r\n" + HEAD + rest
    cuts = [cut for cut in cuts if cut <= len(data)]
    assert read(data, cuts) == (SHOWN, rest, TARGET)


@given(st.binary(max_size=200).filter(lambda data: b"\n" not in data and b"\r" not in data))
def test_any_first_line_keeps_its_length_and_its_ascii(line: bytes) -> None:
    reader = HeadReader()
    shown, size = reader.take(b"GET " + line + b"\r\n")
    assert size == len(shown) == len(line) + 6
    assert shown.isascii()
    assert all(
        a == b or (b == ord("~") and a > 127) for a, b in zip(b"GET " + line, shown, strict=False)
    )


METHODS = [
    "FOO",
    "get",
    "M-SEARCH",
    "PURGE",
    "GE",
    "GETS",
    "x",
    "GETGET",
    "!#$%&'*+.^_`|~-",
    "A" * 255,
]


@given(st.sampled_from(METHODS), st.lists(st.integers(0, 60), max_size=5).map(sorted))
def test_unknown_method_has_a_stand_in_wherever_it_is_cut(method: str, cuts: list[int]) -> None:
    rest = " /ü HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    data = b"\r\n" + method.encode() + rest
    reader, shown = HeadReader(), b""
    cuts = [cut for cut in cuts if cut <= len(data)]
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        if end > start:
            piece, size = (
                reader.take(data, start) if end == len(data) else reader.take(data[start:end])
            )
            assert size == end - start
            shown += piece
    assert shown == b"POST /~~ HTTP/1.1\r\nHost: a\r\n\r\n"
    assert (reader.method, reader.target) == (method, "/ü")


@pytest.mark.parametrize(
    "head", [b"GET / HTTP/1.1\r\n", b"CONNECT a:1 HTTP/1.1\r\n", b"TRACE / HTTP/1.1\r\n"]
)
def test_common_method_is_the_parsers(head: bytes) -> None:
    reader = HeadReader()
    assert reader.take(head) == (head, len(head))
    assert reader.method is None


@pytest.mark.parametrize(
    "head", [b"G(T / HTTP/1.1\r\n", b"\x16\x03\x01", b" GET /", b"A" * 256, b"FOO\t/"]
)
def test_what_is_no_method_goes_to_the_parser_as_it_is(head: bytes) -> None:
    reader = HeadReader()
    assert reader.take(head) == (head, len(head))
    assert reader.method is None


def test_method_waits_for_its_end_and_is_forgotten_with_its_head() -> None:
    reader = HeadReader()
    assert reader.take(b"FO") == (b"", 2)
    assert reader.take(b"O / HTTP/1.1\r\n\r\nGET") == (b"POST / HTTP/1.1\r\n\r\n", 16)
    assert reader.method == "FOO"
    reader.reset()
    assert reader.take(b"GET / ") == (b"GET / ", 6)
    assert reader.method is None


def test_target_of_a_plain_head_is_the_parsers() -> None:
    reader = HeadReader()
    plain = b"GET /a HTTP/1.1\r\nX: \xff\r\n\r\n"
    assert reader.take(plain + b"more") == (plain, len(plain))
    assert reader.target is None
    assert reader.has_request_line


def too_long(reader: HeadReader) -> bool:
    """A function, since mypy narrows attributes."""
    return reader.is_too_long


def test_limit_counts_every_byte_and_no_other_head() -> None:
    start = b"GET / HTTP/1.1\r\n"
    most = start + b"a" * (MAX_HEAD_BYTES - len(start) - 4) + b"\r\n\r\n"
    reader = HeadReader()
    reader.take(b"\r\n" * 1000 + most + b"x" * 1000)
    assert not too_long(reader)
    reader.reset()
    reader.take(most[:-4] + b"b\r\n\r\n")
    assert too_long(reader)
    reader.reset()
    for _ in range(MAX_HEAD_BYTES):
        reader.take(b"a")
    assert not too_long(reader)
    reader.take(b"a" * 1_000_000)
    assert too_long(reader)
    assert len(reader.head) <= 2 * MAX_HEAD_BYTES + 1  # for any size of a read
