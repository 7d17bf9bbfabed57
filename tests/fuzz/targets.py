"""Fuzz targets. Each takes any bytes: accepted, or rejected with exactly the specified error.

Rules: pure and fast. A target returns whether the input was accepted, raises AssertionError if a
promise is broken, and does not catch unexpected errors.
"""

import re
from collections.abc import Callable
from typing import Final

from gatekeeper.config.types import RoomName
from gatekeeper.errors import OriginProtocolError
from gatekeeper.policy.tokens import Keyring, Pass, Ticket, Tokens
from gatekeeper.proxy.framing import ChunkedBody
from gatekeeper.proxy.headers import interim_head, response_head
from gatekeeper.proxy.plain_head import MAX_PLAIN_BYTES, may_be_plain, parse_plain_head
from gatekeeper.proxy.response import body_of, parse_response_head

_LINE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
SECRET: Final = b"a secret of the fuzzer, longer than 32 bytes"
NOW_S: Final = 1_800_000_000.0
TOKENS: Final = Tokens(Keyring([SECRET]), RoomName("default"), cache_size=1)


def plain_head(data: bytes) -> bool:
    """A request head: plain or None. Forwarded lines contain no line end."""
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


def response_head_target(data: bytes) -> bool:
    """A response head and the framing it announces: parsed, or OriginProtocolError."""
    try:
        response = parse_response_head(data)
        if response is None:
            return False
        if response.status < 200:
            head = interim_head(response)
        else:
            body = body_of(response, method="GET", http11_client=True)
            head = response_head(response, body, http11_client=True, keep_alive=True, added=None)
    except OriginProtocolError:
        return False
    # The client receives one head with the same status.
    assert head.count(b"\r\n\r\n") == 1
    assert head.endswith(b"\r\n\r\n")
    again = parse_response_head(head)
    assert again is not None
    assert again.status == response.status
    assert again.size == len(head)
    return True


def chunks(data: bytes) -> bool:
    """Chunks at once or byte by byte: the same body, the same end, the same error."""
    whole, pieces = _chunked([data]), _chunked([data[i : i + 1] for i in range(len(data))])
    assert whole == pieces
    if whole is None:
        return False
    relayed, decoded, complete = whole
    assert data.startswith(relayed)
    assert len(decoded) <= len(relayed)
    return complete


def _chunked(pieces: list[bytes]) -> tuple[bytes, bytes, bool] | None:
    """The relayed bytes, the decoded bytes, and whether the body ended; None if malformed."""
    relay, decode = ChunkedBody(decode=False), ChunkedBody(decode=True)
    try:
        relayed = b"".join([relay.take(piece) for piece in pieces])
        decoded = b"".join([decode.take(piece) for piece in pieces])
    except OriginProtocolError:
        return None
    assert relay.complete == decode.complete
    return relayed, decoded, relay.complete


def token(data: bytes) -> bool:
    """A token: read, or None. A valid token has exactly one encoding."""
    raw = data.decode("latin-1")
    read = TOKENS.read(raw, now_s=NOW_S)
    if read is None:
        return False
    assert isinstance(read, Pass | Ticket)
    assert read.read_until_s > NOW_S  # a pass may have expired, and not ended
    assert re.fullmatch(r"[A-Za-z0-9_.-]+", raw)
    return True


TARGETS: Final[dict[str, Callable[[bytes], bool]]] = {
    "response": response_head_target,
    "chunks": chunks,
    "plain": plain_head,
    "token": token,
}
