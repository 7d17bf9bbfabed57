"""Response heads, and the body framing that they announce."""

import pytest

from gatekeeper.errors import OriginProtocolError
from gatekeeper.proxy.framing import ChunkedBody, CloseDelimitedBody, LengthBody
from gatekeeper.proxy.response import MAX_HEAD_BYTES, ResponseHead, body_of, parse_response_head


def head(*fields: str, status: str = "200 OK", version: str = "1.1") -> bytes:
    return "\r\n".join([f"HTTP/{version} {status}", *fields, "", ""]).encode("latin-1")


def parse_head(head: bytes) -> ResponseHead:
    response = parse_response_head(head)
    assert response is not None
    assert response.size == len(head)
    return response


def test_fields_are_kept_unchanged_and_in_order() -> None:
    response = parse_head(head("b:1", "A:  2 ", "b: \xff", "Connection: x", "X: 1", "c:\t"))
    assert response.lines == b"\r\nb:1\r\nA:  2 \r\nb: \xff\r\nc:\t"


@pytest.mark.parametrize("name", ["Te", "TRAILER", "keep-alive", "Proxy-Connection", "upgrade"])
def test_control_fields_are_removed_at_any_position(name: str) -> None:
    for fields in (
        [f"{name}: x", "A: 1"],
        ["A: 1", f"{name}:"],
        [f"{name}: x", f"{name}:", "A: 1"],
    ):
        assert parse_head(head(*fields)).lines == b"\r\nA: 1"
    lookalikes = [f"x-{name}: 1", f"{name}x: 1", f"A: {name}: 1"]
    assert parse_head(head(*lookalikes)).lines == "".join(
        "\r\n" + line for line in lookalikes
    ).encode("ascii")


OWN = frozenset({"gatekeeper", "gatekeeper-vip"})


@pytest.mark.parametrize(
    "field",
    [
        "Set-Cookie: gatekeeper=x; Path=/",
        "SET-COOKIE:gatekeeper-vip=; Max-Age=0",
        "set-cookie: \t gatekeeper\t =x",
        "Set-Cookie: gatekeeper",
        "X-Queue-Token: x",
        "x-queue-token:",
        "X-Gatekeeper-State: admitted",
    ],
)
@pytest.mark.parametrize("status", ["200 OK", "103 Early Hints", "101 Switching Protocols"])
def test_origin_sets_no_field_of_the_gate(field: str, status: str) -> None:
    """Such a field would replace or delete the visitor's token, or mark the response as one of the
    gate."""
    for fields in ([field], [field, "A: 1", field], ["Set-Cookie: a=gatekeeper=x", field]):
        response = parse_response_head(head(*fields, status=status), OWN)
        assert response is not None
        kept = "".join(f"\r\n{each}" for each in fields if each != field)
        assert response.lines == kept.encode()


@pytest.mark.parametrize(
    "field",
    [
        "Set-Cookie: session=gatekeeper=x",
        "Set-Cookie: gatekeeper-another=x",
        "Set-Cookie: GATEKEEPER=x",
        "Set-Cookie: =gatekeeper=x",
        "Set-Cookie: xgatekeeper=x",
        "Set-Cookie2: gatekeeper=x",
        "X-Set-Cookie: gatekeeper=x",
        "gatekeeper: x",
        "X-Queue-Token-Of: x",
        "X-Gatekeeper-Stated: x",
    ],
)
def test_similar_fields_of_the_origin_are_kept(field: str) -> None:
    response = parse_response_head(head("A: 1", field), OWN)
    assert response is not None
    assert response.lines == f"\r\nA: 1\r\n{field}".encode()


def test_head_is_parsed_only_when_complete() -> None:
    whole = head("Content-Length: 2")
    response = parse_response_head(whole + b"ok")
    assert response is not None
    assert response.size == len(whole)
    assert all(parse_response_head(whole[:size]) is None for size in range(len(whole)))


def test_too_many_control_fields_are_error() -> None:
    parse_head(head(*["Keep-Alive: x"] * 999))
    with pytest.raises(OriginProtocolError, match="too many"):
        parse_response_head(head(*["Keep-Alive: x"] * 1000))


def test_head_beyond_limit_is_error() -> None:
    frame = len(head("X: "))
    assert parse_head(head("X: " + "a" * (MAX_HEAD_BYTES - frame))).size == MAX_HEAD_BYTES
    too_long = head("X: " + "a" * (MAX_HEAD_BYTES - frame + 1))
    for data in (too_long, too_long[:MAX_HEAD_BYTES]):
        with pytest.raises(OriginProtocolError, match="too long"):
            parse_response_head(data)


def test_status_reason_and_command_are_parsed() -> None:
    response = parse_head(head("gatekeeper-command:  revoke ", status="404 Not  Found "))
    assert (response.status, response.reason) == (404, b"Not  Found ")
    assert response.command == "revoke"
    assert parse_head(head()).command is None


@pytest.mark.parametrize(
    ("field", "command"),
    [
        ("Cf-Waiting-Room-Command: revoke", "revoke"),
        ("cf-waiting-room-command:revoke", "revoke"),
        ("Cf-Waiting-Room-Command: Revoke", "revoke"),
        ("Cf-Waiting-Room-Commands: revoke", None),
        ("X-Cf-Waiting-Room-Command: revoke", None),
        ("Cf-Waiting-Room: revoke", None),
        ("X: a cf-waiting-room-command: revoke", None),
    ],
)
def test_command_of_cloudflare_is_read_and_removed(field: str, command: str | None) -> None:
    response = parse_head(head(field))
    assert response.command == command
    assert (field.encode() in response.lines) == (command is None)


def test_reason_is_optional() -> None:
    assert parse_head(head(status="200")).reason == parse_head(head(status="200 ")).reason == b""


@pytest.mark.parametrize(
    ("version", "connection", "persistent"),
    [
        ("1.1", "", True),
        ("1.1", "keep-alive", True),
        ("1.1", "close", False),
        ("1.1", "x ,CLOSE", False),
        ("1.1", "closed", True),
        ("1.0", "", False),
        ("1.0", "keep-alive", False),
    ],
)
def test_persistence_follows_version_and_connection(
    version: str, connection: str, *, persistent: bool
) -> None:
    response = parse_head(head(f"Connection: {connection}", version=version))
    assert response.persistent is persistent


@pytest.mark.parametrize(
    ("fields", "method", "status", "kind"),
    [
        (("Content-Length: 5",), "GET", "200", LengthBody),
        (("content-length:  005 ",), "GET", "200", LengthBody),
        (("Transfer-Encoding: CHUNKED",), "GET", "200", ChunkedBody),
        (("Transfer-Encoding: , chunked",), "GET", "200", ChunkedBody),
        (("Transfer-Encoding: identity",), "GET", "200", CloseDelimitedBody),
        ((), "GET", "200", CloseDelimitedBody),
        ((), "POST", "500", CloseDelimitedBody),
    ],
)
def test_framing_follows_rfc_9112(
    fields: tuple[str, ...], method: str, status: str, kind: type
) -> None:
    response = parse_head(head(*fields, status=status))
    body = body_of(response, method=method, http11_client=True)
    assert isinstance(body, kind)
    assert not body.complete


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
@pytest.mark.parametrize("field", ["Content-Length: 5", "Transfer-Encoding: chunked", "X: y"])
def test_head_204_and_304_have_no_body(method: str, status: int, field: str) -> None:
    response = parse_head(head(field, status=str(status)))
    assert body_of(response, method=method, http11_client=True).complete


@pytest.mark.parametrize("http11", [True, False])
def test_http10_client_receives_close_delimited_body(*, http11: bool) -> None:
    for fields in (["Transfer-Encoding: chunked"], []):
        body = body_of(parse_head(head(*fields)), method="GET", http11_client=http11)
        assert body.chunked is http11
        assert body.until_close is not http11


@pytest.mark.parametrize(
    "fields",
    [
        ("Content-Length: 5", "Content-Length: 5"),
        ("Content-Length: 5, 5",),
        ("Content-Length: -5",),
        ("Content-Length: 5 5",),
        ("Content-Length: 0x5",),
        ("Content-Length:",),
        ("Content-Length: 9999999999999999999",),
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Content-Length: 5"),
        ("Content-Length: 5", "Transfer-Encoding: identity"),
        ("Transfer-Encoding: gzip",),
        ("Transfer-Encoding: gzip, chunked",),
        ("Transfer-Encoding: chunked, chunked",),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked;x",),
        ("Transfer-Encoding: xchunked",),
    ],
)
def test_ambiguous_framing_is_error(fields: tuple[str, ...]) -> None:
    with pytest.raises(OriginProtocolError):
        body_of(parse_head(head(*fields)), method="GET", http11_client=True)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_invalid_length_is_error_without_body(method: str) -> None:
    with pytest.raises(OriginProtocolError):
        body_of(parse_head(head("Content-Length: x")), method=method, http11_client=True)


def test_http10_transfer_coding_is_error() -> None:
    response = parse_head(head("Transfer-Encoding: chunked", version="1.0"))
    with pytest.raises(OriginProtocolError):
        body_of(response, method="GET", http11_client=True)


@pytest.mark.parametrize(
    "malformed",
    [
        b"\r\n\r\n",
        b"HTTP/1.1 200 OK\nX: a\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"http/1.1 200 OK\r\n\r\n",
        b"HTTP/1.2 200 OK\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"HTTP/1.1 600 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 200OK\r\n\r\n",
        b"HTTP/1.1 200 O\0K\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX : x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n X: a\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\x7f\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\xff: a\r\n\r\n",
    ],
)
def test_malformed_head_is_error(malformed: bytes) -> None:
    with pytest.raises(OriginProtocolError):
        parse_response_head(malformed)
