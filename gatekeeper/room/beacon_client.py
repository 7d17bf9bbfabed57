"""Fetches the randomness of a draw from a public beacon, or returns why there is none.

Rules. Failures of the beacon never raise. A draw waits for the beacon until `MAX_WAIT_S`
after the start and no longer, or `_LATE_WAIT_S` where no replica was up at that time. A beacon that
is unreachable or late is retried until then. A response that violates the API is retried up to
`_WRONG_RESPONSES` times: several servers may share an address, one of them broken. Redirects are
not followed: the operator named this server only. The size of a response is bounded before it is
read.

Every replica fetches the round itself, and all get the same one: it follows from the start and the
chain.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import aiohttp

from gatekeeper.policy.beacon import (
    MAX_RESPONSE_BYTES,
    BeaconChain,
    BeaconError,
    BeaconRound,
    address_of,
    parse_chain,
    parse_round,
)
from gatekeeper.policy.schedule import Event
from gatekeeper.room.openings import FetchRound

MAX_WAIT_S: Final = 60.0  # twice the 30 s of drand's slowest public chain
_LATE_WAIT_S: Final = 5.0
_ATTEMPT_TIMEOUT_S: Final = 10.0
_PAUSE_S: Final = 1.0  # between two attempts
_MIN_ATTEMPT_S: Final = 0.2  # a shorter attempt would end in a timeout
_WRONG_RESPONSES: Final = 3
# Statuses for a future round: of drand's own server, and of its relay.
_NOT_YET: Final = frozenset({404, 425})
_HEADERS: Final = {"Accept": "application/json", "Accept-Encoding": "identity"}

Clock = Callable[[], int]  # microseconds of the store's clock
Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class BeaconFailure:
    """Why a draw takes place without the beacon: one sentence for its public record."""

    note: str


class _BeaconOutage(Exception):
    """The beacon is unreachable or has no such round yet; a retry may succeed."""


async def fetch_randomness(
    url: str,
    after_us: int,
    *,
    clock: Clock,
    deadline_us: int | None = None,
    sleep: Sleep = asyncio.sleep,
) -> BeaconRound | BeaconFailure:
    """The first round after `after_us`, the start of the event, of the beacon at `url`.

    Returns by `deadline_us`. Default: `MAX_WAIT_S` after the start, or `_LATE_WAIT_S` from now
    for a gate that was not running at the start.
    """
    if deadline_us is None:
        deadline_us = max(after_us + int(MAX_WAIT_S * 1e6), clock() + int(_LATE_WAIT_S * 1e6))
    fetch = _Fetch(url, after_us, clock=clock, deadline_us=deadline_us, sleep=sleep)
    with contextlib.suppress(TimeoutError):
        # The event loop's clock is the limit where the store's clock stands still or goes back.
        async with asyncio.timeout(fetch.left_s), beacon_session() as session:
            return await fetch.run(session)
    return fetch.failure


def fetch_round_by(now_s: Callable[[], float]) -> FetchRound:
    """The fetcher of an event's round for `Openings`, by the store's clock `now_s`."""

    async def fetch(event: Event) -> tuple[int | None, str, str]:
        found = await fetch_randomness(
            event.beacon, event.start_us, clock=lambda: round(now_s() * 1e6)
        )
        if isinstance(found, BeaconFailure):
            return None, "", found.note
        return found.number, found.randomness.hex(), ""

    return fetch


def beacon_session() -> aiohttp.ClientSession:
    """A session for `fetch_chain` and `fetch_round`."""
    return aiohttp.ClientSession(headers=_HEADERS, auto_decompress=False)


async def fetch_chain(
    session: aiohttp.ClientSession, url: str, *, timeout_s: float = _ATTEMPT_TIMEOUT_S
) -> BeaconChain:
    """The chain of the beacon at `url`; raises BeaconError."""
    try:
        return parse_chain(await _get(session, address_of(url).info, timeout_s))
    except _BeaconOutage as error:
        raise BeaconError(str(error)) from error


async def fetch_round(
    session: aiohttp.ClientSession, url: str, number: int, *, timeout_s: float = _ATTEMPT_TIMEOUT_S
) -> BeaconRound:
    """Round `number` of the beacon at `url`; raises BeaconError."""
    try:
        body = await _get(session, address_of(url).round(number), timeout_s)
        return parse_round(body, expected=number)
    except _BeaconOutage as error:
        raise BeaconError(str(error)) from error


class _Fetch:
    """The attempts for one draw."""

    def __init__(
        self, url: str, after_us: int, *, clock: Clock, deadline_us: int, sleep: Sleep
    ) -> None:
        self._url = url
        self._address = address_of(url)
        self._after_us = after_us
        self._clock = clock
        self._deadline_us = deadline_us
        self._sleep = sleep
        self._chain: BeaconChain | None = None
        self._note = "there was no time left to request it"
        self._wrong = 0

    async def run(self, session: aiohttp.ClientSession) -> BeaconRound | BeaconFailure:
        while self.left_s >= _MIN_ATTEMPT_S and self._wrong < _WRONG_RESPONSES:
            try:
                return await self._attempt(session)
            except _BeaconOutage as error:
                self._note = str(error)
            except BeaconError as error:
                self._note = error.public
                self._wrong += 1
            await self._pause_until(self._clock() + int(_PAUSE_S * 1e6))
        return self.failure

    @property
    def failure(self) -> BeaconFailure:
        """Why there is no round so far."""
        return BeaconFailure(f"The beacon {self._url} was not used: {self._note}.")

    @property
    def left_s(self) -> float:
        """Seconds until the deadline."""
        return (self._deadline_us - self._clock()) / 1e6

    async def _attempt(self, session: aiohttp.ClientSession) -> BeaconRound:
        if self._chain is None:
            self._chain = parse_chain(await self._get(session, self._address.info))
        number = self._chain.first_after(self._after_us)
        due_us = self._chain.time_us(number)
        if due_us >= self._deadline_us:
            self._wrong = _WRONG_RESPONSES
            raise BeaconError(f"round {number}, the first after the start, is published too late")
        await self._pause_until(due_us)
        body = await self._get(session, self._address.round(number))
        return parse_round(body, expected=number)

    async def _get(self, session: aiohttp.ClientSession, url: str) -> bytes:
        return await _get(session, url, min(_ATTEMPT_TIMEOUT_S, self.left_s))

    async def _pause_until(self, moment_us: int) -> None:
        seconds = (min(moment_us, self._deadline_us) - self._clock()) / 1e6
        if seconds > 0:
            await self._sleep(seconds)


async def _get(session: aiohttp.ClientSession, url: str, timeout_s: float) -> bytes:
    """The body of a 200; raises _BeaconOutage or BeaconError."""
    if timeout_s <= 0:
        raise _BeaconOutage("it did not respond in time")
    try:
        async with (
            asyncio.timeout(timeout_s),
            session.get(url, allow_redirects=False) as response,
        ):
            if 300 <= response.status < 400:
                raise BeaconError("it redirects, and redirects are not followed")
            if response.status in _NOT_YET:
                raise _BeaconOutage(f"it has no {url} (HTTP status {response.status})")
            if response.status != 200:
                raise _BeaconOutage(f"its HTTP status was {response.status}")
            return await _body_of(response)
    except TimeoutError as error:
        raise _BeaconOutage("it did not respond in time") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise _BeaconOutage(f"it is unreachable ({type(error).__name__})") from error


async def _body_of(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) > MAX_RESPONSE_BYTES:
            response.close()
            raise BeaconError(f"its response has more than {MAX_RESPONSE_BYTES} bytes")
    return bytes(body)
