"""A beacon with drand's HTTP API, with settings for every possible fault.

Rules: rounds depend only on the chain, so that a test can compute what the gate must have received.
`faults` is read at every request, and may change at any time. Requests are counted by path.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from aiohttp import web

Fault = Callable[["FakeBeacon", dict[str, Any]], web.Response | None]


def signature_of(number: int) -> str:
    """The signature of a round; its SHA-256 is the randomness."""
    return hashlib.sha384(b"round %d" % number).hexdigest()


def randomness_of(number: int) -> bytes:
    return hashlib.sha256(bytes.fromhex(signature_of(number))).digest()


class FakeBeacon:
    """`faults` has a function for "info" and for "round". It changes the JSON of a correct response
    in place, or returns another response."""

    def __init__(
        self,
        *,
        genesis_s: int = 1,
        period_s: int = 3,
        clock: Callable[[], float] = time.time,
        version: int = 1,
        path: str = "",
    ) -> None:
        self.genesis_s = genesis_s
        self.period_s = period_s
        self.clock = clock
        self.late_s = 0.0
        self.faults: dict[str, Fault] = {}
        self.requests: Counter[str] = Counter()
        self._version = version
        self._path = path
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        rounds = "public" if self._version == 1 else "rounds"
        app.router.add_get(f"{self._path}/info", self._info)
        app.router.add_get(f"{self._path}/{rounds}/{{round}}", self._round)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}{self._path}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the port: unreachable from now on."""
        if self._runner is not None:
            await self._runner.cleanup()

    def first_after(self, moment_us: int) -> int:
        """The first round later than `moment_us`, found by trying."""
        number = max(1, (moment_us // 1_000_000 - self.genesis_s) // self.period_s - 2)
        while (self.genesis_s + (number - 1) * self.period_s) * 1_000_000 <= moment_us:
            number += 1
        return number

    async def _info(self, request: web.Request) -> web.Response:
        body: dict[str, Any] = {
            "public_key": "83cf0f2896adee7eb8b5f01fcad3912212c437e0073e911fb90022d3e760183c",
            "period": self.period_s,
            "genesis_time": self.genesis_s,
            "hash": "52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971",
            "schemeID": "bls-unchained-g1-rfc9380",
        }
        return self._finished("info", request, body)

    async def _round(self, request: web.Request) -> web.Response:
        latest = int((self.clock() - self.late_s - self.genesis_s) // self.period_s) + 1
        named = request.match_info["round"]
        number = latest if named == "latest" else int(named)
        if number > latest:
            self.requests["early"] += 1
            return web.Response(status=425, text="Requested future beacon")
        body = {"round": number, "signature": signature_of(number)}
        if self._version == 1:
            body["randomness"] = randomness_of(number).hex()
        return self._finished("round", request, body)

    def _finished(self, kind: str, request: web.Request, body: dict[str, Any]) -> web.Response:
        self.requests[kind] += 1
        self.requests[request.path] += 1
        fault = self.faults.get(kind)
        replaced = None if fault is None else fault(self, body)
        return web.json_response(body) if replaced is None else replaced
