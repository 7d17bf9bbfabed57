"""What is fuzzed. Each target takes any bytes: accepted, or *this* error, and never another.

Rules: pure and fast. A target returns whether the input was accepted, raises AssertionError where
a promise is broken, and lets every unexpected error through.
"""

import re
from collections.abc import Callable
from typing import Final

from gatekeeper.config.types import RoomName
from gatekeeper.errors import OriginProtocolError
from gatekeeper.policy.tokens import Keyring, Pass, Ticket, Tokens
from gatekeeper.proxy.fastpath.plain_head import MAX_PLAIN_BYTES, may_be_plain, parse_plain_head
from gatekeeper.proxy.framing import ChunkedBody
from gatekeeper.proxy.headers import interim_head, response_head
from gatekeeper.proxy.response import body_of, parse_response_head

_LINE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
SECRET: Final = b"a secret of the fuzzer, longer than 32 bytes"
NOW_S: Final = 1_800_000_000.0
TOKENS: Final = Tokens(Keyring([SECRET]), RoomName("default"), cache_size=1)


def plain_head(data: bytes) -> bool:
    """A request's head: plain or None. Lines that go on hold no end of a line."""
    request = parse_plain_head(data)
    if request is None:
        return False
    assert len(data) > MAX_PLAIN_BYTES or may_be_plain(data[: len(data) // 2])
    assert data.endswith(b"\r\n\r\n")
    assert data.count(b"\r\n\r\n") == 1
    lines = [request.target, request.host, *request.fields, request.cookie or b""]
    assert all(_LINE.fullmatch(line) for line in lines)
    names = {line.partition(b":")[0].lower() for line in request.fields}
    assert names.isdisjoint({b"content-length", b"transfer-encoding", b"upgrade", b"host"})
    return True


def answer_head(data: bytes) -> bool:
    """An answer's head, and the framing it announces: read, or OriginProtocolError."""
    try:
        answer = parse_response_head(data)
        if answer is None:
            return False
        if answer.status < 200:
            head = interim_head(answer)
        else:
            body = body_of(answer, method="GET", http11_client=True)
            head = response_head(answer, body, http11_client=True, keep_alive=True, added=())
    except OriginProtocolError:
        return False
    # What the client gets is one head, which says what it said.
    assert head.count(b"\r\n\r\n") == 1
    assert head.endswith(b"\r\n\r\n")
    again = parse_response_head(head)
    assert again is not None
    assert again.status == answer.status
    assert again.size == len(head)
    return True


def chunks(data: bytes) -> bool:
    """Chunks that come at once or byte by byte: the same body, the same end, the same error."""
    whole, pieces = _chunked([data]), _chunked([data[i : i + 1] for i in range(len(data))])
    assert whole == pieces
    if whole is None:
        return False
    relayed, decoded, complete = whole
    assert data.startswith(relayed)
    assert len(decoded) <= len(relayed)
    return complete


def _chunked(pieces: list[bytes]) -> tuple[bytes, bytes, bool] | None:
    """What is relayed, what it decodes to, and whether it ended; None if it is malformed."""
    relay, decode = ChunkedBody(decode=False), ChunkedBody(decode=True)
    try:
        relayed = b"".join([relay.take(piece) for piece in pieces])
        decoded = b"".join([decode.take(piece) for piece in pieces])
    except OriginProtocolError:
        return None
    assert relay.complete == decode.complete
    return relayed, decoded, relay.complete


def token(data: bytes) -> bool:
    """A token: read, or None. One that is read is spelled as it would be minted."""
    raw = data.decode("latin-1")
    read = TOKENS.read(raw, now_s=NOW_S)
    if read is None:
        return False
    assert isinstance(read, Pass | Ticket)
    assert re.fullmatch(r"[A-Za-z0-9_.-]+", raw)
    return True


TARGETS: Final[dict[str, Callable[[bytes], bool]]] = {
    "answer": answer_head,
    "chunks": chunks,
    "plain": plain_head,
    "token": token,
}
