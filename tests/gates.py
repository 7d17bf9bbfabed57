"""Gates, origins and visitors for tests that go through real sockets.

Rules: a gate here is the real worker with everything in it, in this process unless a test must
kill it; a visitor is an HTTP client with a cookie jar, who may ask any replica.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import aiohttp
from aiohttp import web
from multidict import CIMultiDictProxy
from yarl import URL

from gatekeeper.config.load import load_config
from gatekeeper.config.schema import Config
from gatekeeper.config.types import RoomName
from gatekeeper.policy.tokens import Keyring, Token, Tokens
from gatekeeper.process.worker import Worker, WorkerPlan
from gatekeeper.room.replica import RoomReplica

SECRET = b"a secret of the tests, longer than 32 bytes"
_GATEKEEPER = [sys.executable, "-m", "gatekeeper.cli"]
TIMEOUT = aiohttp.ClientTimeout(total=15)
HTML = {"Accept": "text/html"}


@dataclass
class Origin:
    """A real origin that remembers what it was asked. `/slow` answers once `go` is set."""

    url: str = ""
    requests: list[web.Request] = field(default_factory=list)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    _runner: web.AppRunner | None = None

    @classmethod
    @asynccontextmanager
    async def running(cls, *, port: int = 0) -> AsyncIterator[Origin]:
        origin = cls()
        app = web.Application(client_max_size=2**30)
        app.router.add_route("*", "/{rest:.*}", origin._answer)
        origin._runner = runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        origin.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield origin
        finally:
            await origin.stop()

    async def stop(self) -> None:
        """Close all connections and listen no more; twice does no harm."""
        assert self._runner is not None
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        if request.path == "/ws":
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            async for message in socket:
                await socket.send_str(f"echo {message.data}")
            return socket
        if request.path == "/slow":
            await self.go.wait()
        if request.path == "/done":
            return web.Response(text="done", headers={"Gatekeeper-Command": "revoke"})
        body = await request.read()
        return web.json_response(
            {
                "path": request.raw_path,
                "method": request.method,
                "visitor": request.headers.get("X-Gatekeeper-Visitor"),
                "room": request.headers.get("X-Gatekeeper-Room"),
                "length": len(body),
            }
        )


def config_of(toml: str, *, folder: Path) -> Config:
    """A checked configuration from the text of a file; nothing of the environment."""
    path = folder / "gatekeeper.toml"
    path.write_text(toml)
    return load_config(path, environ={})


def room(name: str, **keys: str | int) -> str:
    """The table of one room in a configuration file."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    return "\n".join(["[[room]]", f'name = "{name}"', *lines, ""])


def minted(token: Token, *, secret: bytes = SECRET) -> str:
    """The token as a gate with `secret` signs it."""
    return Tokens(Keyring([secret]), token.room).mint(token)


@dataclass
class Gate:
    """One running replica."""

    worker: Worker
    url: str

    def room(self, name: str) -> RoomReplica:
        return self.worker.rooms[RoomName(name)]

    async def allow(self, room: str, count: int) -> None:
        """Grant admissions as the operator does, and let this replica release them."""
        await self.room(room).queue.allow(count)
        await self.room(room).queue.advance()

    def now_s(self) -> float:
        """The store's clock as this replica knows it."""
        return next(iter(self.worker.rooms.values())).view.now_s()


@asynccontextmanager
async def running_gate(
    toml: str,
    *,
    store_url: str,
    events_url: str = "off",
    origin_url: str,
    secrets: tuple[bytes, ...] = (SECRET,),
) -> AsyncIterator[Gate]:
    """A replica in this process, on a port of its own. `toml` needs no [origin] or [tokens]."""
    with TemporaryDirectory() as folder:
        text = f'[origin]\nurl = "{origin_url}"\n{toml}'
        config = config_of(text, folder=Path(folder))
        worker = Worker(WorkerPlan(config, store_url, events_url, secrets, "127.0.0.1", 0))
        await worker.start()
        scheme = "https" if config.server.tls else "http"
        try:
            yield Gate(worker, f"{scheme}://127.0.0.1:{worker.port}")
        finally:
            await worker.close()


@dataclass(frozen=True)
class Answer:
    """A response read to its end."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> dict[str, Any]:
        assert self.headers["Content-Type"].startswith("application/json"), self.text
        answer: dict[str, Any] = json.loads(self.body)
        return answer


class Visitor:
    """A browser: keeps its cookies whichever replica it talks to."""

    def __init__(self, *gates: Gate | str, tls: ssl.SSLContext | None = None) -> None:
        self.urls = [gate if isinstance(gate, str) else gate.url for gate in gates]
        self.session = aiohttp.ClientSession(
            cookie_jar=aiohttp.CookieJar(unsafe=True),
            connector=aiohttp.TCPConnector(ssl=tls or True),
            timeout=TIMEOUT,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    async def get(
        self, path: str = "/", *, at: int = 0, html: bool = True, **options: Any
    ) -> tuple[int, str]:
        """Status and text of a page, as a navigation unless told otherwise."""
        headers = {**(HTML if html else {}), **options.pop("headers", {})}
        async with self.session.get(self.urls[at] + path, headers=headers, **options) as response:
            return response.status, await response.text()

    async def ask(self, method: str, path: str = "/", *, at: int = 0, **options: Any) -> Answer:
        """The whole answer to any request, made as an app makes it: nothing accepts HTML."""
        async with self.session.request(
            method, self.urls[at] + path, allow_redirects=False, **options
        ) as response:
            return Answer(response.status, response.headers, await response.read())

    def cookies(self) -> dict[str, str]:
        return {cookie.key: cookie.value for cookie in self.session.cookie_jar}

    def take_cookie(self, name: str, value: str) -> None:
        """Hold this cookie from now on, instead of any other of that name."""
        self.session.cookie_jar.update_cookies({name: value}, URL(self.urls[0]))

    async def status(self, *, at: int = 0, room: str | None = None) -> dict[str, Any]:
        """The JSON of `GET /.gatekeeper/status`: one heartbeat."""
        query = f"?room={room}" if room else ""
        async with self.session.get(f"{self.urls[at]}/.gatekeeper/status{query}") as response:
            assert response.status == 200
            answer: dict[str, Any] = await response.json()
            return answer

    async def until_admitted(self, *, timeout_s: float = 15, room: str | None = None) -> None:
        """Poll every 50 ms, replica after replica, until admitted."""
        async with asyncio.timeout(timeout_s):
            turn = 0
            while (await self.status(at=turn % len(self.urls), room=room))["state"] != "admitted":
                turn += 1
                await asyncio.sleep(0.05)


class GateProcess:
    """`gatekeeper serve` as a process of its own, for tests that kill, stop or configure it.

    With `state` it goes on with what another gate left in that folder.
    """

    def __init__(
        self, toml: str, *arguments: str, state: Path | None = None, **environment: str
    ) -> None:
        self._folder = TemporaryDirectory(prefix="gk-")
        self.folder = Path(self._folder.name)
        self.state = state or self.folder / "state"
        self.file = self.folder / "gatekeeper.toml"
        self.file.write_text(toml)
        self.environment = {**os.environ, "GATEKEEPER_STATE_DIR": str(self.state), **environment}
        self.url = self.admin_url = ""
        with (self.folder / "errors").open("wb") as errors:
            self.process = subprocess.Popen(
                [*_GATEKEEPER, "serve", "-c", str(self.file), *arguments],
                env=self.environment,
                cwd=self.folder,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._folder.cleanup()

    def ready_lines(self) -> list[str]:
        """The two lines it says once it serves; fewer when it ended instead."""
        return list(self._lines(2))

    def _lines(self, count: int) -> Iterator[str]:
        assert self.process.stdout is not None
        for _ in range(count):
            line = self.process.stdout.readline()
            if not line:
                return
            yield line.strip()

    async def serving(self) -> Self:
        """Wait until it serves; `url` and `admin_url` are set from then on."""
        lines = await asyncio.wait_for(asyncio.to_thread(self.ready_lines), 30)
        assert len(lines) == 2, self.errors()
        self.url = re.sub(r".* at (\S+) in front of .*", r"\1", lines[0])
        self.admin_url = lines[1].rpartition(" ")[2]
        return self

    async def end(self, number: signal.Signals = signal.SIGTERM, *, timeout_s: float = 20) -> int:
        """Send the signal; the exit code, negative for a signal that ended it."""
        self.process.send_signal(number)
        return await self.ended(timeout_s=timeout_s)

    async def ended(self, *, timeout_s: float = 20) -> int:
        return await asyncio.to_thread(self.process.wait, timeout_s)

    def errors(self) -> str:
        return (self.folder / "errors").read_text()

    def logs(self) -> list[dict[str, Any]]:
        """The lines of the log; fails when one of them is not JSON."""
        return [json.loads(line) for line in self.errors().splitlines()]

    def pids(self) -> dict[int, str]:
        """The living processes that it started, with their command lines."""
        return descendants(self.process.pid)

    def workers(self) -> list[int]:
        return [
            pid for pid, command in self.pids().items() if "gatekeeper.process.worker" in command
        ]

    async def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`gatekeeper …` against this gate."""
        listen = self.admin_url.removeprefix("http://")
        environment = self.environment | {"GATEKEEPER_ADMIN__LISTEN": listen}
        return await gatekeeper(*words, folder=self.folder, environment=environment)


async def gatekeeper(
    *words: str, folder: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """The command line, run to its end in `folder`."""
    return await asyncio.to_thread(
        subprocess.run,
        [*_GATEKEEPER, *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def descendants(pid: int) -> dict[int, str]:
    """The living processes below `pid`, with their command lines."""
    listed = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,ppid=,stat=,args="],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.split(None, 3) for line in listed.stdout.splitlines()]
    alive = {int(row[0]): (int(row[1]), row[3]) for row in rows if not row[2].startswith("Z")}
    found: dict[int, str] = {}
    parents = {pid}
    while parents:
        children = {child for child, (parent, _) in alive.items() if parent in parents}
        found |= {child: alive[child][1] for child in children}
        parents = children
    return found


def is_alive(pid: int) -> bool:
    """Whether it runs; one that nobody has buried yet does not."""
    listed = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return listed.stdout.strip() != "" and not listed.stdout.startswith("Z")
