"""A visitor with HTTP/3."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from typing import Any

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import QuicEvent

_TIMEOUT_S = 15.0


@dataclass
class Http3Response:
    fields: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def status(self) -> int:
        return int(self.fields[":status"])


class _Client(QuicConnectionProtocol):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._http = H3Connection(self._quic)
        self._response = Http3Response()
        self._ended = asyncio.get_running_loop().create_future()

    async def get(self, host: str, path: str) -> Http3Response:
        stream = self._quic.get_next_available_stream_id()
        head = {":method": "GET", ":scheme": "https", ":authority": host, ":path": path}
        fields = [(name.encode(), value.encode()) for name, value in head.items()]
        self._http.send_headers(stream, fields, end_stream=True)
        self.transmit()
        await self._ended
        return self._response

    def quic_event_received(self, event: QuicEvent) -> None:
        for each in self._http.handle_event(event):
            match each:
                case HeadersReceived(headers=headers):
                    for name, value in headers:
                        self._response.fields[name.decode()] = value.decode()
                case DataReceived(data=data):
                    self._response.body += data
            if isinstance(each, HeadersReceived | DataReceived) and each.stream_ended:
                self._ended.set_result(None)


async def get_over_http3(host: str, port: int, path: str, *, root: str) -> Http3Response:
    """The response to a GET; `root` is the file of the certificates to trust."""
    configuration = QuicConfiguration(
        is_client=True, alpn_protocols=H3_ALPN, verify_mode=ssl.CERT_REQUIRED, server_name=host
    )
    configuration.load_verify_locations(root)
    async with (
        asyncio.timeout(_TIMEOUT_S),
        connect("127.0.0.1", port, configuration=configuration, create_protocol=_Client) as client,
    ):
        assert isinstance(client, _Client)
        return await client.get(f"{host}:{port}", path)
