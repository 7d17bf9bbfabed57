"""Strategies for heads of plain and nearly plain requests."""

from hypothesis import strategies as st

_TOKEN = "!#$%&'*+-.^`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_VALUE = st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f")

names = st.one_of(
    st.text(_TOKEN, min_size=1, max_size=12),
    # Names that a parser or the gate treats specially.
    st.sampled_from(
        [
            "Accept",
            "Authorization",
            "Content-Encoding",
            "Content-Type",
            "Date",
            "ETag",
            "If-Modified-Since",
            "Range",
            "Referer",
            "Sec-WebSocket-Key",
            "Sec-WebSocket-Key1",
            "User-Agent",
            "Via",
            "X-Forwarded-For",
            "x-forwarded-proto",
            "X-Gatekeeper-Room",
            "X-Queue-Ticket",
            "Forwarded",
        ]
    ),
)
values = st.text(st.one_of(_VALUE, st.just("\t")), max_size=20).map(lambda v: v.strip(" \t"))
targets = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#"), max_size=30
).map("/".__add__)
hosts = st.sampled_from(
    ["shop.example", "shop.example:8080", "SHOP.example", "127.0.0.1", "[::1]", "[::1]:80", "a_b"]
)


@st.composite
def plain_heads(draw: st.DrawFn, cookie: str = "a=1; gatekeeper=x; b=2") -> bytes:
    """Heads that are plain, except for rare names and empty values; they may contain `cookie`."""
    fields = draw(st.lists(st.tuples(names, values.filter(bool)), max_size=8))
    fields.insert(draw(st.integers(0, len(fields))), ("Host", draw(hosts)))
    if draw(st.booleans()):
        fields.insert(draw(st.integers(0, len(fields))), ("cOOkie", cookie))
    if draw(st.booleans()):
        fields.append(("Connection", draw(st.sampled_from(["close", "keep-alive", "Close"]))))
    lines = [f"{draw(st.sampled_from(['GET', 'HEAD']))} {draw(targets)} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in fields]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


_INSERTIONS = st.one_of(
    st.binary(min_size=1, max_size=3),
    st.sampled_from(
        [
            b"\r\n",
            b"\n",
            b"\r",
            b"\0",
            b" ",
            b"\t",
            b":",
            b"\r\n ",
            b"Host: b\r\n",
            b"Content-Length: 3\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Upgrade: websocket\r\n",
            b"Connection: upgrade\r\n",
            b"Expect: 100-continue\r\n",
            b"X-Queue-Token: a\r\n",
            b"X_Y: 1\r\n",
            b"GET / HTTP/1.1\r\n",
            b"\r\n\r\n",
        ]
    ),
)


@st.composite
def mutated_heads(draw: st.DrawFn) -> bytes:
    """Plain heads with insertions, deletions and replacements."""
    head = draw(plain_heads())
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(head)))
        end = min(at + draw(st.integers(0, 4)), len(head))
        head = head[:at] + draw(st.one_of(st.just(b""), _INSERTIONS)) + head[end:]
    return head
