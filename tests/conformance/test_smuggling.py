"""Request smuggling: nginx and aiohttp parse forwarded requests in the same way as the gate."""

import asyncio
import re
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.http_parser import RawRequestMessage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conformance.gate_pair import VISITOR, pieces, running_worker, visitor_request
from tests.conformance.smuggling_cases import ACCEPTED, REJECTED
from tests.ports import free_port, until_listening
from tests.profiles import examples
from tests.servers import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

_START_S = 10.0
_TURNS = 20  # of the event loop, which origin and gate share
_QUIET_S = 5.0  # how long expected bytes may take on a busy machine
_CUTS = st.one_of(
    st.sets(st.integers(1, 400), max_size=8),
    st.sets(st.integers(1, 1000), max_size=8),
    st.just(set(range(1, 1200))),  # a byte at a time
)

_NGINX = """
daemon off;
pid {folder}/pid;
error_log {folder}/errors;
worker_processes 1;
events {{ worker_connections 64; }}
http {{
    log_format seen '$request_method $request_uri $http_x_gatekeeper_visitor';
    access_log {folder}/seen seen;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_timeout 60s;
    server {{
        listen 127.0.0.1:{port};
        location / {{ return 200 "$request_uri"; }}
    }}
}}
"""


@dataclass
class OriginLog:
    """The requests that an origin parsed, as lines of `METHOD target visitor`."""

    url: str
    seen: Callable[[], list[str]]


@pytest.fixture(scope="module")
def nginx() -> Iterator[OriginLog]:
    binary = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/local/bin:/usr/bin")
    if binary is None:
        raise RuntimeError("these tests need nginx (Debian: apt-get install nginx)")
    with TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, port=port))
        process = subprocess.Popen(
            [binary, "-p", name, "-e", f"{name}/errors", "-c", f"{name}/nginx.conf"]
        )
        try:
            until_listening(port, process, within_s=_START_S)
            log = folder / "seen"
            yield OriginLog(
                f"http://127.0.0.1:{port}", lambda: log.read_text("latin-1").splitlines()
            )
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(_START_S)


@asynccontextmanager
async def aiohttp_origin() -> AsyncIterator[OriginLog]:
    seen: list[str] = []

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        await request.read()
        return web.Response(text=request.raw_path)

    def parsed(message: RawRequestMessage, *rest: Any) -> web.BaseRequest:
        """Called for each request, before a disconnect of the client can cancel its handler."""
        make: Any = web.BaseRequest
        request: web.BaseRequest = make(message, *rest, loop=asyncio.get_running_loop())
        visitor = request.headers.get("X-Gatekeeper-Visitor", "-")
        is_rejected = message.method == "UNKNOWN"  # by the parser
        seen.append("refused" if is_rejected else f"{request.method} {request.raw_path} {visitor}")
        return request

    server = web.Server(handle, request_factory=parsed, access_log=None)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    try:
        yield OriginLog(f"http://127.0.0.1:{port}", lambda: seen)
    finally:
        listener.close()
        await server.shutdown(1)


@dataclass
class GateSetup:
    """A gate before one of the two origins, shared by the tests of this module."""

    port: int
    hasty_port: int  # of a gate with a short origin timeout
    origin: OriginLog
    before: int = 0
    path: bytes = b"/first"  # of the first request; unique for each test, of the same length
    past: list[bytes] = field(default_factory=list)

    async def begin(self) -> None:
        """Start after the origin has read what the gate sent on an aborted connection."""
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        self.before = len(self.origin.seen())
        self.past.append(self.path)
        self.path = b"/%05d" % len(self.past)

    def marked(self, data: bytes) -> bytes:
        """The data of a case with the path of this test."""
        return data.replace(b"/first", self.path)

    def seen(self) -> list[str]:
        """What the origin received. nginx may log an aborted request at any later time."""
        past = tuple(f" {path.decode()} " for path in self.past)
        lines = self.origin.seen()[self.before :]
        return [line for line in lines if not any(path in line for path in past)]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["nginx", "aiohttp"])
async def shared_setup(request: pytest.FixtureRequest, store_url: str) -> AsyncIterator[GateSetup]:
    async with AsyncExitStack() as stack:
        if request.param == "nginx":
            origin: OriginLog = request.getfixturevalue("nginx")
        else:
            origin = await stack.enter_async_context(aiohttp_origin())
        # aiohttp does not report a malformed chunk: the upload stops.
        patient, hasty = [
            await stack.enter_async_context(
                running_worker(
                    origin.url, store_url=store_url, fast_path=True, origin_toml=origin_toml
                )
            )
            for origin_toml in ("", 'read_timeout = "200ms"')
        ]
        yield GateSetup(patient.port, hasty.port, origin)


@pytest_asyncio.fixture(loop_scope="module")
async def setup(shared_setup: GateSetup) -> GateSetup:
    await shared_setup.begin()
    return shared_setup


@dataclass
class ClientLog:
    """What the client of one connection received."""

    data: bytes = b""
    closed: bool = False
    statuses: list[int] = field(default_factory=list)


async def exchange(
    port: int, data: bytes, *, until: bytes, cuts: tuple[int, ...] = ()
) -> ClientLog:
    """Send `data` in pieces, cut at `cuts`. Read until the connection ends, `until` is received, or
    nothing arrives for a while after the last piece.

    Uses a raw socket, since an asyncio transport drops unread data after a reset.
    """
    log, loop = ClientLog(), asyncio.get_running_loop()
    with socket.socket() as wire:
        wire.setblocking(False)
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.sock_connect(wire, ("127.0.0.1", port))
        sending = asyncio.create_task(_send(wire, data, cuts))
        try:
            while not log.data.endswith(until):
                piece = await _receive(wire, sending)
                if not piece:
                    log.closed = piece is not None
                    break
                log.data += piece
        except ConnectionError:
            log.closed = True
        finally:
            sending.cancel()
            await asyncio.wait([sending])
    # Final responses only.
    log.statuses = [int(s) for s in re.findall(rb"HTTP/\d\.\d ([2-5]\d\d) ", log.data)]
    return log


async def _send(wire: socket.socket, data: bytes, cuts: tuple[int, ...]) -> None:
    with suppress(ConnectionError):  # rejected before all of it was sent
        for piece in pieces(data, cuts):
            await asyncio.get_running_loop().sock_sendall(wire, piece)
            await asyncio.sleep(0)


async def _receive(wire: socket.socket, sending: asyncio.Task[None]) -> bytes | None:
    """The next bytes, b"" at the end; None if everything was sent and nothing arrived for
    `_QUIET_S`."""
    while True:
        all_sent = sending.done()
        with suppress(TimeoutError):
            async with asyncio.timeout(_QUIET_S):
                return await asyncio.get_running_loop().sock_recv(wire, 1 << 16)
        if all_sent:
            return None


@pytest.mark.parametrize("name", REJECTED)
async def test_ambiguous_request_is_rejected_before_origin(name: str, setup: GateSetup) -> None:
    nonce = _nonce()
    data = setup.marked(REJECTED[name]) + visitor_request(b"GET " + nonce)
    log = await exchange(setup.hasty_port, data, until=nonce)
    assert log.closed
    assert len(log.statuses) == 1
    assert log.statuses[0] in {400, 408, 414, 417, 431}
    assert setup.seen() == []


@pytest.mark.parametrize("name", ACCEPTED)
async def test_accepted_request_is_one_request_for_origin(name: str, setup: GateSetup) -> None:
    await _assert_one_request(setup, ACCEPTED[name])


async def _assert_one_request(setup: GateSetup, data: bytes, cuts: tuple[int, ...] = ()) -> None:
    nonce = _nonce()
    log = await exchange(
        setup.port, setup.marked(data) + visitor_request(b"GET " + nonce), until=nonce, cuts=cuts
    )
    responses = len(log.statuses)
    assert responses in ({1, 2} if log.closed else {2})
    await eventually(lambda: len(setup.seen()) >= responses)
    seen = setup.seen()
    assert len(seen) == responses
    assert all(line.endswith(f" {VISITOR}") for line in seen)
    assert not any("smuggled" in line for line in seen)
    if responses == 2:
        assert seen[1] == f"GET {nonce.decode()} {VISITOR}"
        assert log.data.endswith(nonce)


@settings(max_examples=examples(80), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from([*REJECTED, *ACCEPTED]), cuts=_CUTS)
async def test_requests_in_pieces_smuggle_nothing(
    name: str, cuts: set[int], setup: GateSetup
) -> None:
    """In pieces, the origin may receive the beginning of a malformed request and respond to it, but
    no second request and nothing that follows."""
    await setup.begin()
    where = tuple(sorted(cuts))
    if name in ACCEPTED:
        await _assert_one_request(setup, ACCEPTED[name], where)
        return
    nonce = _nonce()
    data = setup.marked(REJECTED[name]) + visitor_request(b"GET " + nonce)
    log = await exchange(setup.hasty_port, data, until=nonce, cuts=where)
    assert log.closed
    assert len(log.statuses) == 1
    seen = setup.seen()
    assert seen == [] or (len(seen) == 1 and f" {setup.path.decode()} " in seen[0])


def _nonce() -> bytes:
    return b"/follow-" + secrets.token_hex(4).encode()
