"""Fixed limits have the values that `docs/reference/limits.md` documents."""

import re
from functools import cache

import pytest

from gatekeeper.admin import admin_connections
from gatekeeper.admin.admin_connections import MAX_CONNECTIONS
from gatekeeper.process.tls_connection import _MAX_UNREAD
from gatekeeper.process.tls_listener import HANDSHAKE_TIMEOUT_S
from gatekeeper.proxy.aiohttp_server import _MAX_QUEUED, HEAD_TIMEOUT_S, SERVER_OPTIONS
from gatekeeper.proxy.head_reader import MAX_HEAD_BYTES, MAX_LINE_BYTES
from gatekeeper.proxy.write_deadline import WRITE_TIMEOUT_S
from gatekeeper.web.draws import MAX_LIST_S, MAX_LISTS
from gatekeeper.web.stream import _MAX_IGNORED_BYTES, MAX_STREAMS, MAX_STREAMS_PER_VISITOR
from tests.repository import ROOT, text_of

_STREAMS = f"{MAX_STREAMS:,} per worker, at most half of its open-file limit"


@cache
def documented() -> dict[str, str]:
    """The value of each limit by the beginning of its row."""
    page = text_of(ROOT / "docs/reference/limits.md")
    return dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|", page, re.MULTILINE))


@pytest.mark.parametrize(
    ("limit", "value"),
    [
        ("a request head, all lines together", f"{MAX_HEAD_BYTES // 1024} KiB"),
        ("its time, from the first byte", f"{HEAD_TIMEOUT_S:g} s"),
        ("the request line", f"{MAX_LINE_BYTES:,} bytes"),
        (
            "a field; the number of fields",
            f"{SERVER_OPTIONS['max_field_size']:,} bytes; {SERVER_OPTIONS['max_headers']}",
        ),
        ("requests of one client that are parsed ahead", f"{_MAX_QUEUED}"),
        ("an idle connection", f"{SERVER_OPTIONS['keepalive_timeout']:g} s"),
        ("a client that reads nothing of the gate's own response", f"{WRITE_TIMEOUT_S:g} s"),
        ("a TLS handshake", f"{HANDSHAKE_TIMEOUT_S:g} s"),
        ("TLS's own messages", f"{_MAX_UNREAD // 1024} KiB"),
        ("the admin listener: connections", f"{MAX_CONNECTIONS}"),
        ("the admin listener: an idle connection", f"{admin_connections.KEEP_ALIVE_S:g} s"),
        (
            "the admin listener: a client that reads nothing",
            f"{admin_connections.WRITE_TIMEOUT_S:g} s",
        ),
        ("lists of the participants", f"{MAX_LISTS} per worker, {MAX_LIST_S:g} s each"),
        ("event streams", f"{_STREAMS}; {MAX_STREAMS_PER_VISITOR} per visitor"),
        ("data that a client sends on an event stream", f"{_MAX_IGNORED_BYTES // 1024} KiB"),
    ],
)
def test_limit_has_its_documented_value(limit: str, value: str) -> None:
    assert [each for row, each in documented().items() if row.startswith(limit)] == [value]
