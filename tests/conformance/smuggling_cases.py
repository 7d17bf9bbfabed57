"""Published ways to make two servers parse one byte stream differently.

Sources: PortSwigger's HTTP Desync Attacks (2019) and its list of obfuscations, Browser-Powered
Desync (2022), HTTP/1.1 must die (2025), Funky Chunks (2025), http-garden, and the CVEs of proxies
and servers of the years between. Every case contains a request for `/smuggled` that only a lenient
parser finds.

Rules: a REJECTED case must cause an error that ends the connection, with nothing at the origin. An
ACCEPTED case must be one request for gate and origin, with the hidden part as its body.
"""

from tests.conformance.gate_pair import COOKIE, visitor_request

HIDDEN = b"GET /smuggled HTTP/1.1\r\nHost: shop.example\r\n" + COOKIE + b"\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked"
LAST_CHUNK = b"0\r\n\r\n"


def post(*fields: bytes, body: bytes) -> bytes:
    return visitor_request(b"POST /first", *fields, body=body)


def length(body: bytes = HIDDEN) -> bytes:
    return b"Content-Length: %d" % len(body)


def obfuscated(coding: bytes) -> bytes:
    """TE.TE: with the coding the body is empty, without it the body contains `HIDDEN`."""
    body = LAST_CHUNK + HIDDEN
    return post(length(body), coding, body=body)


def coded(coding: bytes) -> bytes:
    """The same without a length: without the coding the body is empty."""
    return post(coding, body=LAST_CHUNK + HIDDEN)


def chunks(body: bytes) -> bytes:
    return post(CHUNKED, body=body)


_CODINGS = {
    "plain": CHUNKED,
    "x before": b"Transfer-Encoding: xchunked",
    "x after": b"Transfer-Encoding: chunkedx",
    "cut short": b"Transfer-Encoding: chunke",
    "space before the colon": b"Transfer-Encoding : chunked",
    "tab before the colon": b"Transfer-Encoding\t: chunked",
    "a line break before the colon": b"Transfer-Encoding\r\n: chunked",
    "space before the name": b" Transfer-Encoding: chunked",
    "folded value": b"Transfer-Encoding:\r\n chunked",
    "folded with a tab": b"Transfer-Encoding:\r\n\tchunked",
    "folded name": b"Transfer-\r\n Encoding: chunked",
    "vertical tab": b"Transfer-Encoding: \x0bchunked",
    "form feed": b"Transfer-Encoding: \x0cchunked",
    "vertical tab after": b"Transfer-Encoding: chunked\x0b",
    "NUL before": b"Transfer-Encoding: \0chunked",
    "NUL after": b"Transfer-Encoding: chunked\0",
    "NUL in the name": b"Transfer-Encoding\0: chunked",
    "no-break space": b"Transfer-Encoding:\xa0chunked",
    "a byte beyond ASCII": b"Transfer-Encoding: \xffchunked",
    "next line": b"Transfer-Encoding: \x85chunked",
    "backspace": b"Transfer-Encoding: chunkedX\b",
    "quoted": b'Transfer-Encoding: "chunked"',
    "apostrophes": b"Transfer-Encoding: 'chunked'",
    "brackets": b"Transfer-Encoding: [chunked]",
    "a parameter": b"Transfer-Encoding: chunked;q=1",
    "a semicolon": b"Transfer-Encoding: chunked;",
    "a comma before": b"Transfer-Encoding: ,chunked",
    "a comma after": b"Transfer-Encoding: chunked,",
    "identity before": b"Transfer-Encoding: identity, chunked",
    "identity after": b"Transfer-Encoding: chunked, identity",
    "gzip before": b"Transfer-Encoding: gzip, chunked",
    "another after": b"Transfer-Encoding: chunked, cow",
    "twice in one": b"Transfer-Encoding: chunked, chunked",
    "twice": CHUNKED + b"\r\n" + CHUNKED,
    "then another": CHUNKED + b"\r\nTransfer-Encoding: cow",
    "after another": b"Transfer-Encoding: cow\r\n" + CHUNKED,
    "after identity": b"Transfer-Encoding: identity\r\n" + CHUNKED,
    "then an empty one": CHUNKED + b"\r\nTransfer-Encoding:",
    "an empty one": b"Transfer-Encoding:",
    "identity": b"Transfer-Encoding: identity",
    "another spelling twice": CHUNKED + b"\r\ntransfer-ENCODING: identity",
    "bare LF before": b"X: a\nTransfer-Encoding: chunked",
    "bare CR before": b"X: a\rTransfer-Encoding: chunked",
    "CR LF CR before": b"X: a\r\n\rTransfer-Encoding: chunked",
    "CR CR LF before": b"X: a\r\r\nTransfer-Encoding: chunked",
    "LF CR before": b"X: a\n\rTransfer-Encoding: chunked",
    "a soft hyphen in the name": b"Transfer\xadEncoding: chunked",
    "a space in the name": b"Transfer Encoding: chunked",
    "a colon more": b"Transfer-Encoding:: chunked",
    "an equals sign": b"Transfer-Encoding= chunked",
    "no colon": b"Transfer-Encoding chunked",
    "a long s": "Tran\u017ffer-Encoding: chunked".encode(),
    "a kelvin sign": "Transfer-Encoding: chun\u212aed".encode(),
}

_CHUNKS = {
    "a size in C notation": b"0x5\r\nhello\r\n",
    "an underscore": b"0_5\r\nhello\r\n",
    "a plus": b"+5\r\nhello\r\n",
    "a minus": b"-5\r\nhello\r\n",
    "minus zero": b"-0\r\n\r\n",
    "space before": b" 5\r\nhello\r\n",
    "tab before": b"\t5\r\nhello\r\n",
    "tab after": b"5\t\r\nhello\r\n",
    "vertical tab after": b"5\x0b\r\nhello\r\n",
    "space inside": b"0 5\r\nhello\r\n",
    "no digits": b"\r\nhello\r\n",
    "only an extension": b";a=b\r\nhello\r\n",
    "letters": b"xyz\r\nhello\r\n",
    "a digit beyond ASCII": "\uff15\r\nhello\r\n".encode(),
    "NUL": b"5\0\r\nhello\r\n",
    "a decimal point": b"5.0\r\nhello\r\n",
    "2^64 + 5": b"10000000000000005\r\nhello\r\n",
    "bare LF after the size": b"5\nhello\r\n",
    "bare CR after the size": b"5\rhello\r\n",
    "CR CR LF after the size": b"5\r\r\nhello\r\n",
    "bare LF in an extension": b"5;a\nb\r\nhello\r\n",
    "bare CR in an extension": b"5;a\rb\r\nhello\r\n",
    "NUL in an extension": b"5;a\0\r\nhello\r\n",
    "bare LF ends an extension": b"2;\nxx\r\n4c\r\n",
    "a line break in a quoted extension": b'5;a="\r\n"\r\nhello\r\n',
    "LF after the data": b"5\r\nhello\n",
    "CR after the data": b"5\r\nhello\r",
    "nothing after the data": b"5\r\nhello",
    "two bytes after the data": b"5\r\nhelloXX",
    "LF CR after the data": b"5\r\nhello\n\r",
    "an empty line more after the data": b"5\r\nhello\r\n\r\n",
    "more data than its size": b"5\r\nhello!!\r\n",
    "less data than its size": b"5\r\nhell\r\n",
    # Funky Chunks. TERM: one parser reads it as the end of the line, the other as part of the
    # extension. SPILL: a parser that skips the end of a chunk's data unread takes further bytes for
    # data.
    "TERM.EXT": b"1;\n1\r\nX\r\n5a\r\n",
    "TERM.EXT, bare CR": b"1;\r1\r\nX\r\n5a\r\n",
    "TERM.EXT, CR and another": b"1;\rX1\r\nX\r\n5a\r\n",
    "EXT.TERM": b"2;\nxx\r\n5a\r\n",
    "EXT.TERM, bare CR": b"2;\rxx\r\n5a\r\n",
    "TERM.SPILL": b"5\r\nhello\n5a\r\n",
    "TERM.SPILL, bare CR": b"5\r\nhello\r5a\r\n",
    "SPILL.TERM": b"5\r\nhelloX\n5a\r\n",
    "SPILL.TERM, any two bytes": b"5\r\nhelloAA5a\r\n",
    "ONE.TWO": b"2\r\nxx\r5a\r\n",
    "ZERO.TWO": b"2\r\nxx5a\r\n",
}

REJECTED = {
    "CL.TE": post(length(b"6"), CHUNKED, body=LAST_CHUNK + b"G"),
    "TE.CL": post(CHUNKED, b"Content-Length: 4", body=b"5c\r\n" + HIDDEN + b"\r\n" + LAST_CHUNK),
    **{f"TE.TE, {name}": obfuscated(coding) for name, coding in _CODINGS.items()},
    **{
        f"a coding alone, {name}": coded(coding)
        for name, coding in _CODINGS.items()
        if name != "plain"
    },
    **{f"chunk, {name}": chunks(chunk + LAST_CHUNK + HIDDEN) for name, chunk in _CHUNKS.items()},
    "chunk, a trailer without a colon": chunks(b"0\r\nGET /smuggled HTTP/1.1\r\n\r\n"),
    "chunk, a folded trailer": chunks(b"0\r\nT: 1\r\n 2\r\n\r\n" + HIDDEN),
    "chunk, bare LF after a trailer": chunks(b"0\r\nT: 1\n\r\n" + HIDDEN),
    "chunk, NUL in a trailer": chunks(b"0\r\nT: \0\r\n\r\n" + HIDDEN),
    "chunk, a length in the trailers": chunks(b"0\r\n" + length() + b"\r\n\r\n" + HIDDEN),
    "chunk, a Host in the trailers": chunks(b"0\r\nHost: evil.example\r\n\r\n" + HIDDEN),
    "chunk, bare LF at the end": chunks(b"0\r\n\n" + HIDDEN),
    "chunk, bare LF twice at the end": chunks(b"0\n\n" + HIDDEN),
    "two lengths": post(b"Content-Length: 0", length(), body=HIDDEN),
    "two equal lengths": post(length(), length(), body=HIDDEN),
    "a list of lengths": post(length() + b", 0", body=HIDDEN),
    "a list of equal lengths": post(b"Content-Length: 0, 0", body=HIDDEN),
    "a plus": post(b"Content-Length: +0", body=HIDDEN),
    "a minus": post(b"Content-Length: -1", body=HIDDEN),
    "minus zero": post(b"Content-Length: -0", body=HIDDEN),
    "C notation": post(b"Content-Length: 0x0", body=HIDDEN),
    "an underscore": post(b"Content-Length: 0_0", body=HIDDEN),
    "a decimal point": post(b"Content-Length: 0.0", body=HIDDEN),
    "an exponent": post(b"Content-Length: 0e1", body=HIDDEN),
    "space inside": post(b"Content-Length: 0 0", body=HIDDEN),
    "a letter after": post(b"Content-Length: 0a", body=HIDDEN),
    "no digits": post(b"Content-Length:", body=HIDDEN),
    "quotes": post(b'Content-Length: "0"', body=HIDDEN),
    "digits beyond ASCII": post("Content-Length: \u0660".encode(), body=HIDDEN),
    "2^64": post(b"Content-Length: 18446744073709551616", body=HIDDEN),
    "space before the length's colon": post(b"Content-Length : 0", body=HIDDEN),
    "a folded length": post(b"Content-Length:\r\n 0", body=HIDDEN),
    "NUL after a length": post(b"Content-Length: 0\0", body=HIDDEN),
    "vertical tab before a length": post(b"Content-Length: \x0b0", body=HIDDEN),
    "bare LF before a length": post(b"X: a\n" + length(), body=HIDDEN),
    "bare CR before a length": post(b"X: a\r" + length(), body=HIDDEN),
    "a folded field": visitor_request(b"GET /first", b"X: a\r\n b: c"),
    "a folded first field": b"GET /first HTTP/1.1\r\n Host: shop.example\r\n"
    + COOKIE
    + b"\r\n\r\n",
    "bare LF ends the head": visitor_request(b"GET /first")[:-2] + b"\n" + HIDDEN,
    "bare LF throughout": visitor_request(b"GET /first").replace(b"\r\n", b"\n") + HIDDEN,
    "bare CR throughout": visitor_request(b"GET /first").replace(b"\r\n", b"\r") + HIDDEN,
    "bare LF after the request line": visitor_request(b"GET /first").replace(b"\r\n", b"\n", 1),
    "CR CR LF after the request line": visitor_request(b"GET /first").replace(
        b"\r\n", b"\r\r\n", 1
    ),
    "NUL in a value": visitor_request(b"GET /first", b"X: a\0b"),
    "NUL in a name": visitor_request(b"GET /first", b"X\0Y: a"),
    "odd bytes in a name": visitor_request(b"GET /first", b"X\xe4: a"),
    "a bracket in a name": visitor_request(b"GET /first", b"X[: a"),
    "an at sign in a name": visitor_request(b"GET /first", b"@X: a"),
    "a quote in a name": visitor_request(b"GET /first", b'"X": a'),
    "no name": visitor_request(b"GET /first", b": a"),
    "no colon": visitor_request(b"GET /first", b"GET /smuggled HTTP/1.1"),
    "Host twice": visitor_request(b"GET /first", b"Host: evil.example"),
    "Host with space before its colon": visitor_request(b"GET /first").replace(b"Host:", b"Host :"),
    "two hosts in one": visitor_request(b"GET /first").replace(
        b"shop.example", b"shop.example, evil.example"
    ),
    "Host with a path": visitor_request(b"GET /first").replace(
        b"shop.example", b"shop.example/smuggled"
    ),
    "Host with a user": visitor_request(b"GET /first").replace(
        b"shop.example", b"evil@shop.example"
    ),
    "no Host": visitor_request(b"GET /first").replace(b"Host: shop.example\r\n", b""),
    "absolute-form at another host": visitor_request(b"GET http://evil.example/smuggled"),
    "absolute-form at another port": visitor_request(b"GET http://shop.example:81/smuggled"),
    "absolute-form at the port of TLS": visitor_request(b"GET http://shop.example:443/smuggled"),
    "absolute-form at two ports": visitor_request(b"GET http://shop.example:80:80/smuggled"),
    "absolute-form with a user": visitor_request(b"GET http://shop.example@evil.example/smuggled"),
    "absolute-form without a host": visitor_request(b"GET http:///smuggled"),
    "absolute-form of another scheme": visitor_request(b"GET gopher://shop.example/smuggled"),
    "a target without a slash": visitor_request(b"GET smuggled"),
    "a target with a space": visitor_request(b"GET /first /smuggled"),
    "a target with a tab": visitor_request(b"GET /first\t/smuggled"),
    "a target with a fragment": visitor_request(b"GET /first#/smuggled"),
    "a target with NUL": visitor_request(b"GET /first\0/smuggled"),
    "a target with a byte beyond ASCII and a space": visitor_request(b"GET /first\xff /smuggled"),
    "a target with a byte beyond ASCII and LF": visitor_request(b"GET /first\xff\n/smuggled"),
    "CONNECT": visitor_request(b"CONNECT shop.example:443"),
    "a space before the method": b" " + visitor_request(b"GET /first"),
    "a tab in the request line": visitor_request(b"GET\t/first"),
    "a space after the version": visitor_request(b"GET /first HTTP/1.1 "),
    "HTTP/0.9": b"GET /first\r\n\r\n" + HIDDEN,
    "HTTP/0.9 by its number": visitor_request(b"GET /first HTTP/0.9"),
    "HTTP/1.2": visitor_request(b"GET /first HTTP/1.2"),
    "HTTP/1.10": visitor_request(b"GET /first HTTP/1.10"),
    "HTTP/01.1": visitor_request(b"GET /first HTTP/01.1"),
    "HTTP/2": visitor_request(b"GET /first HTTP/2"),
    "lower-case http": visitor_request(b"GET /first http/1.1"),
    "another protocol": visitor_request(b"GET /first ICY/1.1"),
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a start of TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64,
    "garbage": b"\xff\xfe\x00\r\n\r\n" + HIDDEN,
    "chunked in HTTP/1.0": visitor_request(
        b"POST /first HTTP/1.0", CHUNKED, body=LAST_CHUNK + HIDDEN
    ),
    "an obfuscated expectation": post(b"Expect: y 100-continue", length(), body=HIDDEN),
    "an expectation folded": post(b"Expect:\r\n 100-continue", length(), body=HIDDEN),
    "an expectation with a line break before": post(
        b"Expect: \n100-continue", length(), body=HIDDEN
    ),
    "an expectation with a tab before the colon": post(
        b"Expect\t: 100-continue", length(), body=HIDDEN
    ),
    "an expectation and another": post(
        b"Expect: 100-continue", b"Expect: y", length(), body=HIDDEN
    ),
    "two equal expectations": post(
        b"Expect: 100-continue", b"Expect: 100-continue", length(), body=HIDDEN
    ),
    "a list of expectations": post(b"Expect: 100-continue, 100-continue", length(), body=HIDDEN),
    "an empty expectation": post(b"Expect:", length(), body=HIDDEN),
    "TRACE with a body": visitor_request(b"TRACE /first", length(), body=HIDDEN),
}

ACCEPTED = {
    "CL.0": post(length(), body=HIDDEN),
    "TE.0": chunks(b"%x\r\n%b\r\n" % (len(HIDDEN), HIDDEN) + LAST_CHUNK),
    "TE.0 by OPTIONS": visitor_request(
        b"OPTIONS /first", CHUNKED, body=b"%x\r\n%b\r\n" % (len(HIDDEN), HIDDEN) + LAST_CHUNK
    ),
    "TE.0 by GET": visitor_request(
        b"GET /first", CHUNKED, body=b"%x\r\n%b\r\n" % (len(HIDDEN), HIDDEN) + LAST_CHUNK
    ),
    "0.CL by an expectation": visitor_request(
        b"GET /first", b"Expect: 100-continue", length(), body=HIDDEN
    ),
    "an expectation without a body": visitor_request(b"GET /first", b"Expect: 100-continue"),
    "HTTP/1.0 that keeps its connection": visitor_request(
        b"POST /first HTTP/1.0", b"Connection: keep-alive", length(), body=HIDDEN
    ),
    "an upgrade with a body": post(
        b"Connection: Upgrade", b"Upgrade: websocket", length(), body=HIDDEN
    ),
    "GET with a body": visitor_request(b"GET /first", length(), body=HIDDEN),
    "HEAD with a body": visitor_request(b"HEAD /first", length(), body=HIDDEN),
    "OPTIONS with a body": visitor_request(b"OPTIONS /first", length(), body=HIDDEN),
    "DELETE with a body": visitor_request(b"DELETE /first", length(), body=HIDDEN),
    "a length with zeros before it": post(b"Content-Length: 000%d" % len(HIDDEN), body=HIDDEN),
    "a length with space around it": post(length().replace(b": ", b":\t ") + b" \t", body=HIDDEN),
    "a length that Connection names with others": post(
        b"Connection: keep-alive, content-length", length(), body=HIDDEN
    ),
    "a length that Connection names": post(b"Connection: Content-Length", length(), body=HIDDEN),
    "a coding that Connection names": post(
        b"Connection: Transfer-Encoding",
        CHUNKED,
        body=b"%x\r\n%b\r\n" % (len(HIDDEN), HIDDEN) + LAST_CHUNK,
    ),
    "a Host that Connection names": visitor_request(b"GET /first", b"Connection: Host"),
    "fields of ours that Connection names": visitor_request(
        b"GET /first", b"Connection: X-Gatekeeper-Visitor, X-Forwarded-For"
    ),
    "TE in capitals": post(b"TRANSFER-ENCODING: CHUNKED", body=LAST_CHUNK),
    "TE after a tab": post(b"Transfer-Encoding:\tchunked ", body=LAST_CHUNK),
    "a length with an underscore": visitor_request(
        b"GET /first", b"Content_Length: %d" % len(HIDDEN)
    ),
    "a coding with an underscore": visitor_request(b"GET /first", b"Transfer_Encoding: chunked"),
    "a length by another name": visitor_request(b"GET /first", b"X-Content-Length: 100"),
    "CR LF in what a cookie may hold": visitor_request(b"GET /first", b"X: %0d%0aGET /smuggled"),
    "chunks in capitals and with zeros": chunks(
        b"0000000%X\r\n%b\r\n" % (len(HIDDEN), HIDDEN) + LAST_CHUNK
    ),
    "chunk extensions": chunks(b'%x;a="b;c";d\r\n%b\r\n0;last\r\n\r\n' % (len(HIDDEN), HIDDEN)),
    "trailers": chunks(b"0\r\nX-Trailer: GET /smuggled HTTP/1.1\r\n\r\n"),
    "trailers that would be fields": chunks(
        b"0\r\nX-Queue-Token: x\r\nX-Forwarded-For: 1.2.3.4\r\nCookie: a=smuggled\r\n\r\n"
    ),
    "an upgrade to HTTP/2": visitor_request(
        b"GET /first",
        b"Connection: Upgrade, HTTP2-Settings",
        b"Upgrade: h2c",
        b"HTTP2-Settings: AAMA",
    ),
    "an upgrade to WebSocket that is refused": visitor_request(
        b"GET /first", b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 777"
    ),
    "two spaces in the request line": visitor_request(b"GET  /first"),
    "empty lines before": b"\r\n\r\n" + visitor_request(b"GET /first"),
    "absolute-form": visitor_request(b"GET http://shop.example/first"),
    "a target that looks absolute": visitor_request(b"GET /http://evil.example/"),
    "two slashes": visitor_request(b"GET //evil.example/first"),
    "dot segments": visitor_request(b"GET /first/..;/../%2e%2e/"),
    "a method override": visitor_request(b"GET /first", b"X-HTTP-Method-Override: POST"),
}
