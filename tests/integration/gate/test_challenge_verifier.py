"""Calls to the verifier of Turnstile and hCaptcha: its replies, and the number of calls."""

from __future__ import annotations

import asyncio
import json
from typing import Literal

import pytest
from aiohttp import web

from gatekeeper.policy.tokens import new_visitor_id
from gatekeeper.web.challenge_verifier import (
    MAX_CALLS,
    MAX_REPLY_BYTES,
    ChallengeVerifier,
    Proof,
    Reply,
)
from tests.integration.gate.fake_verifier import SECRET, FakeVerifier, Respond, sends
from tests.servers import eventually

HOSTS = ("shop.example.com", "*.shops.example.com")


def proof(
    url: str, response: str = "good", *, address: str = "192.0.2.7", hosts: tuple[str, ...] = HOSTS
) -> Proof:
    visitor = new_visitor_id()
    return Proof("turnstile", url, SECRET, "site", response, visitor, address, hosts)


async def late(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(30)
    return web.json_response({"success": True})


async def huge(_: web.Request) -> web.StreamResponse:
    return web.json_response({"success": True, "more": "x" * MAX_REPLY_BYTES})


async def redirect(_: web.Request) -> web.StreamResponse:
    raise web.HTTPTemporaryRedirect("http://127.0.0.1:1/")


def fails(*codes: object, status: int = 200) -> Respond:
    return sends(json.dumps({"success": False, "error-codes": codes}), status)


def succeeds(**more: object) -> Respond:
    return sends(json.dumps({"success": True, **more}))


REPLIES: dict[str, tuple[Respond, Reply]] = {
    "slow": (late, "unreachable"),
    "huge": (huge, "unreachable"),
    "redirect": (redirect, "unreachable"),
    "server error": (sends('{"success": true}', 500), "unreachable"),
    "no JSON": (sends("<html>"), "unreachable"),
    "empty": (sends(""), "unreachable"),
    "a list": (sends("[true]"), "unreachable"),
    "success as text": (sends('{"success": "true"}'), "unreachable"),
    "success 1": (sends('{"success": 1}'), "unreachable"),
    "no success": (sends("{}"), "unreachable"),
    "internal error": (fails("internal-error"), "unreachable"),
    "our secret": (fails("invalid-input-secret", status=400), "unreachable"),
    "another site key": (fails("sitekey-secret-mismatch"), "refused"),
    "too large": (sends("", 413), "refused"),  # a client can cause these
    "too many": (sends("<html>", 429), "refused"),
    "bad request": (fails("bad-request", status=400), "refused"),
    "no codes": (sends('{"success": false}'), "refused"),
    "odd codes": (fails(1, None), "refused"),
    "another host": (succeeds(hostname="evil.example"), "refused"),
    "host within a name": (succeeds(hostname="shop.example.com.evil"), "refused"),
    "host above": (succeeds(hostname="example.com"), "refused"),
    "host below": (succeeds(hostname="a.shop.example.com"), "refused"),
    "host that is no text": (succeeds(hostname=["shop.example.com"]), "refused"),
    "another action": (succeeds(action="login"), "refused"),
    "own host": (succeeds(hostname="Shop.example.com"), "solved"),
    "own host by a pattern": (succeeds(hostname="a.shops.example.com"), "solved"),
    "own action": (succeeds(action="gatekeeper"), "solved"),
    "nothing else": (succeeds(), "solved"),
}


@pytest.mark.parametrize(("respond", "expected"), REPLIES.values(), ids=REPLIES)
async def test_only_a_clear_success_for_us_is_a_solution(
    respond: Respond, expected: Reply, verifier: FakeVerifier
) -> None:
    verifier.respond = respond
    asks = ChallengeVerifier(timeout_s=0.3 if respond is late else 10)
    assert await asks.verify(proof(verifier.url)) == expected
    await asks.close()


async def test_verifier_that_refuses_connections_is_unreachable() -> None:
    asks = ChallengeVerifier()
    assert await asks.verify(proof("http://127.0.0.1:1/verify")) == "unreachable"
    await asks.close()


async def test_room_without_hosts_leaves_them_to_the_provider(verifier: FakeVerifier) -> None:
    """The client chooses the Host, so no decision depends on it."""
    asks = ChallengeVerifier()
    for hostname, expected in (("any.example", "solved"), (["any.example"], "refused")):
        verifier.respond = succeeds(hostname=hostname)
        assert await asks.verify(proof(verifier.url, hosts=())) == expected
    await asks.close()


async def test_proof_that_no_provider_makes_costs_no_call(verifier: FakeVerifier) -> None:
    asks = ChallengeVerifier()
    longest: dict[Literal["turnstile", "hcaptcha"], int] = {"turnstile": 2_048, "hcaptcha": 8_192}
    for provider, most in longest.items():
        good = proof(verifier.url, "good" + "x" * (most - 4))._replace(provider=provider)
        for text in ("", good.response + "x", "good\n", "good\0", "g\u00f6\u00f6d", "good\ud800"):
            assert await asks.verify(good._replace(response=text)) == "refused", text
        assert verifier.calls == []
        assert await asks.verify(good) == "solved"
        verifier.calls.clear()
    await asks.close()


class SlowCalls:
    """Calls to a verifier that does not reply before the test releases it."""

    def __init__(self, verifier: FakeVerifier) -> None:
        self.verifier = verifier
        self.asks = ChallengeVerifier(timeout_s=60)
        self.released = asyncio.Event()
        self.tasks: list[asyncio.Task[Reply]] = []
        verifier.respond = self._respond

    async def _respond(self, _: web.Request) -> web.StreamResponse:
        await self.released.wait()
        return web.json_response({"success": True})

    async def open(self, *proofs: Proof) -> int:
        """Send these. Returns the number of calls in progress."""
        before = len(self.verifier.calls)
        sent = [asyncio.create_task(self.asks.verify(each)) for each in proofs]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        in_flight = [each for each in sent if not each.done()]
        assert {each.result() for each in sent if each.done()} <= {"busy"}
        await eventually(lambda: len(self.verifier.calls) == before + len(in_flight))
        self.tasks += in_flight
        return len(in_flight)

    async def end(self) -> None:
        self.released.set()
        assert set(await asyncio.gather(*self.tasks)) == {"solved"}
        assert not self.asks._of_source
        await self.asks.close()


async def test_calls_are_bounded_and_one_for_each_visitor(verifier: FakeVerifier) -> None:
    calls = SlowCalls(verifier)
    first = proof(verifier.url)
    assert await calls.open(first) == 1
    again = asyncio.create_task(calls.asks.verify(first))
    assert await calls.asks.verify(first._replace(response="good too")) == "busy"
    others = [proof(verifier.url, address=f"192.0.2.{n}") for n in range(10, 10 + MAX_CALLS)]
    assert await calls.open(*others) == MAX_CALLS - 1
    assert await calls.asks.verify(proof(verifier.url, address="198.51.100.1")) == "busy"
    await calls.end()
    assert await again == "solved"
    assert len(verifier.calls) == MAX_CALLS


@pytest.mark.parametrize(
    "addresses",
    [
        ["192.0.2.1"],
        ["192.0.2.1", "::ffff:192.0.2.1"],
        ["2001:db8:1:2::1", "2001:db8:1:2:ffff::1"],
        [f"2001:db8:{n:x}::1" for n in range(200)],
    ],
    ids=["IPv4", "mapped", "of a /64", "of a /32"],
)
async def test_junk_of_one_source_leaves_calls_to_others(
    addresses: list[str], verifier: FakeVerifier
) -> None:
    """For any delay of the provider: one source gets at most half of the calls, the next one half
    of the rest."""
    calls = SlowCalls(verifier)
    junk = [proof(verifier.url, "junk", address=addresses[n % len(addresses)]) for n in range(200)]
    assert await calls.open(*junk) == MAX_CALLS // 2
    assert await calls.open(*[proof(verifier.url, address="203.0.113.9") for _ in range(200)]) == 25
    for other in ("203.0.113.10", "2001:db9::1", "203.0.113.11"):
        assert await calls.open(proof(verifier.url, address=other)) == 1
    await calls.end()


async def test_client_that_disconnects_does_not_end_the_call(verifier: FakeVerifier) -> None:
    released = asyncio.Event()

    async def held(_: web.Request) -> web.StreamResponse:
        await released.wait()
        return web.json_response({"success": True})

    verifier.respond = held
    asks = ChallengeVerifier(timeout_s=60)
    sent = proof(verifier.url)
    task = asyncio.create_task(asks.verify(sent))
    await eventually(lambda: len(verifier.calls) == 1)
    task.cancel()
    again = asyncio.create_task(asks.verify(sent))
    await asyncio.sleep(0)
    released.set()
    assert await again == "solved"
    assert len(verifier.calls) == 1
    await asks.close()
