"""No two readings: what the gate forwards, nginx and aiohttp read as the gate did."""

import asyncio
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import pytest_asyncio
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conformance.gate_pair import VISITOR, asked, running_worker, send_in_pieces
from tests.conformance.smuggling_cases import REFUSED, UNDERSTOOD
from tests.integration.proxy.forwarding import Wire
from tests.profiles import examples
from tests.servers import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

_START_S = 10.0
_QUIET_S = 1.0
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
class Understanding:
    """What an origin made of the bytes it got: a line per request, `METHOD target visitor`."""

    url: str
    seen: Callable[[], list[str]]


@pytest.fixture(scope="module")
def nginx() -> Iterator[Understanding]:
    binary = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/local/bin:/usr/bin")
    if binary is None:
        raise RuntimeError("these tests need nginx (Debian: apt-get install nginx)")
    with TemporaryDirectory() as name, socket.create_server(("127.0.0.1", 0)) as free:
        folder, port = Path(name), free.getsockname()[1]
        free.close()
        (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, port=port))
        process = subprocess.Popen(
            [binary, "-p", name, "-e", f"{name}/errors", "-c", f"{name}/nginx.conf"]
        )
        try:
            _until_it_listens(port, process)
            log = folder / "seen"
            yield Understanding(
                f"http://127.0.0.1:{port}", lambda: log.read_text("latin-1").splitlines()
            )
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(_START_S)


def _until_it_listens(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.01)
        else:
            return
    raise RuntimeError("nginx did not start")


@asynccontextmanager
async def aiohttp_origin() -> AsyncIterator[Understanding]:
    seen: list[str] = []

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        visitor = request.headers.get("X-Gatekeeper-Visitor", "-")
        seen.append(f"{request.method} {request.raw_path} {visitor}")
        await request.read()
        return web.Response(text=request.raw_path)

    server = web.Server(handle, access_log=None)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    try:
        yield Understanding(
            f"http://127.0.0.1:{port}",
            # What its parser refused is counted, and handled by no handler of ours.
            lambda: [*seen, *["refused"] * (server.requests_count - len(seen))],
        )
    finally:
        listener.close()
        await server.shutdown(1)


@dataclass
class Ground:
    """A gate before one of the two origins, for the tests of this module one after the other."""

    port: int
    origin: Understanding
    before: int = 0

    def begin(self) -> None:
        self.before = len(self.origin.seen())

    def seen(self) -> list[str]:
        return self.origin.seen()[self.before :]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["nginx", "aiohttp"])
async def shared_ground(request: pytest.FixtureRequest, store_url: str) -> AsyncIterator[Ground]:
    async with AsyncExitStack() as stack:
        if request.param == "nginx":
            origin: Understanding = request.getfixturevalue("nginx")
        else:
            origin = await stack.enter_async_context(aiohttp_origin())
        worker = await stack.enter_async_context(
            running_worker(
                origin.url,
                store_url=store_url,
                express=True,
                # aiohttp tells nobody of a chunk that is malformed: the upload falls silent.
                origin_toml='read_timeout = "200ms"',
            )
        )
        yield Ground(worker.port, origin)


@pytest.fixture
def ground(shared_ground: Ground) -> Ground:
    shared_ground.begin()
    return shared_ground


@dataclass
class Heard:
    """What the client of one connection got back."""

    data: bytes = b""
    closed: bool = False
    statuses: list[int] = field(default_factory=list)


async def sent(port: int, data: bytes, *, until: bytes, cuts: tuple[int, ...] = ()) -> Heard:
    """Send it, in pieces if so told, and listen until the connection ends, `until` comes, or all is
    quiet."""
    heard = Heard()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    wire = Wire(reader, writer)
    sending = asyncio.create_task(_send(wire, data, cuts))
    try:
        while not heard.data.endswith(until):
            async with asyncio.timeout(_QUIET_S):
                piece = await reader.read(1 << 16)
            if not piece:
                heard.closed = True
                break
            heard.data += piece
    except ConnectionError:
        heard.closed = True
    except TimeoutError:
        pass
    finally:
        sending.cancel()
        wire.abort()
    # Without interim ones.
    heard.statuses = [int(s) for s in re.findall(rb"HTTP/\d\.\d ([2-5]\d\d) ", heard.data)]
    return heard


async def _send(wire: Wire, data: bytes, cuts: tuple[int, ...]) -> None:
    with suppress(ConnectionError):  # refused before all of it was sent
        await send_in_pieces(wire, data, cuts)


@pytest.mark.parametrize("name", REFUSED)
async def test_what_could_be_read_in_two_ways_ends_the_connection_and_reaches_no_origin(
    name: str, ground: Ground
) -> None:
    nonce = _nonce()
    heard = await sent(ground.port, REFUSED[name] + asked(b"GET " + nonce), until=nonce)
    assert heard.closed
    assert len(heard.statuses) == 1
    assert heard.statuses[0] in {400, 408, 417, 431}
    assert ground.seen() == []


@pytest.mark.parametrize("name", UNDERSTOOD)
async def test_what_is_forwarded_is_one_request_for_both(name: str, ground: Ground) -> None:
    await _understood(ground, UNDERSTOOD[name])


async def _understood(ground: Ground, data: bytes, cuts: tuple[int, ...] = ()) -> None:
    nonce = _nonce()
    heard = await sent(ground.port, data + asked(b"GET " + nonce), until=nonce, cuts=cuts)
    answered = len(heard.statuses)
    assert answered in ({1, 2} if heard.closed else {2})
    await eventually(lambda: len(ground.seen()) >= answered)
    seen = ground.seen()
    assert len(seen) == answered
    assert all(line.endswith(f" {VISITOR}") for line in seen)
    assert not any("smuggled" in line for line in seen)
    if answered == 2:
        assert seen[1] == f"GET {nonce.decode()} {VISITOR}"
        assert heard.data.endswith(nonce)


@settings(max_examples=examples(80), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from([*REFUSED, *UNDERSTOOD]), cuts=_CUTS)
async def test_however_the_network_cuts_it_nothing_is_smuggled(
    name: str, cuts: set[int], ground: Ground
) -> None:
    """In pieces, the origin may hear the beginning of what turns out to be malformed, and answer
    it; but no second request, and nothing that follows."""
    ground.begin()
    where = tuple(sorted(cuts))
    if name in UNDERSTOOD:
        await _understood(ground, UNDERSTOOD[name], where)
        return
    nonce = _nonce()
    heard = await sent(ground.port, REFUSED[name] + asked(b"GET " + nonce), until=nonce, cuts=where)
    assert heard.closed
    assert len(heard.statuses) == 1
    seen = ground.seen()
    assert seen == [] or (len(seen) == 1 and " /first " in seen[0])


def _nonce() -> bytes:
    return b"/follow-" + secrets.token_hex(4).encode()
