"""Turnstile and hCaptcha before a fake verifier: its replies, and the place of the visitor."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

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
from tests.gates import HTML, Gate, GateStarter, Visitor
from tests.gates.http_visitor import Response
from tests.servers import eventually
from tests.web_app import serving

CHALLENGE = "/.gatekeeper/challenge"
SECRET = "0x" + "s" * 40
Respond = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class FakeVerifier:
    """A provider's verifier: every response that begins with "good" is accepted once."""

    url: str = ""
    calls: list[dict[str, str]] = field(default_factory=list)
    used: dict[str, str] = field(default_factory=dict)  # response to idempotency key
    respond: Respond | None = None  # in place of the usual reply
    reply: dict[str, Any] = field(default_factory=dict)  # more of a success

    async def handle(self, request: web.Request) -> web.StreamResponse:
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.calls.append(form)
        if self.respond is not None:
            return await self.respond(request)
        response, key = form["response"], form.get("idempotency_key", "")
        if not response.startswith("good") or form["secret"] != SECRET:
            return refusal("invalid-input-response")
        if self.used.setdefault(response, key) != key or (not key and len(self.calls) > 1):
            return refusal("timeout-or-duplicate")
        return web.json_response({"success": True, "error-codes": [], **self.reply})


def refusal(*codes: str, status: int = 200) -> web.Response:
    return web.json_response({"success": False, "error-codes": list(codes)}, status=status)


@pytest.fixture
async def verifier() -> AsyncIterator[FakeVerifier]:
    fake = FakeVerifier()
    async with serving(web.post("/verify", fake.handle)) as url:
        fake.url = f"{url}/verify"
        yield fake


HOSTS = ("shop.example.com", "*.shops.example.com")


def proof(
    url: str, response: str = "good", *, address: str = "192.0.2.7", hosts: tuple[str, ...] = HOSTS
) -> Proof:
    visitor = new_visitor_id()
    return Proof("turnstile", url, SECRET, "site", response, visitor, address, hosts)


# The verifier alone.


async def late(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(30)
    return web.json_response({"success": True})


async def huge(_: web.Request) -> web.StreamResponse:
    return web.json_response({"success": True, "more": "x" * MAX_REPLY_BYTES})


async def redirect(_: web.Request) -> web.StreamResponse:
    raise web.HTTPTemporaryRedirect("http://127.0.0.1:1/")


def sends(text: str, status: int = 200) -> Respond:
    async def respond(_: web.Request) -> web.StreamResponse:
        return web.Response(text=text, status=status)

    return respond


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
    "too large": (sends("", 413), "refused"),  # a client can bring these about
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
    """The Host of a request is the client's own choice, so it decides nothing."""
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
    """Calls to a verifier that replies once it is released."""

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
        """Send these; how many of them are under way."""
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
    """However slow the provider is: half of the calls at most, and half of the rest to the next."""
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


# Through the gate.


@dataclass
class WidgetGates:
    start_gate: GateStarter
    verifier: FakeVerifier
    secret_file: Path

    async def __call__(self, provider: str = "turnstile", **keys: Any) -> Gate:
        return await self.start_gate(
            rate="0",
            challenge=provider,
            challenge_site_key="0x4AAA-site",
            challenge_secret_file=str(self.secret_file),
            challenge_verify_url=keys.pop("url", self.verifier.url),
            **keys,
        )


@pytest.fixture
def widget_gate(start_gate: GateStarter, verifier: FakeVerifier, tmp_path: Path) -> WidgetGates:
    secret_file = tmp_path / "provider"
    secret_file.write_text(SECRET + "\n")
    return WidgetGates(start_gate, verifier, secret_file)


async def arrive(*gates: Gate) -> Visitor:
    visitor = gates[0].visitor(*gates[1:])
    await visitor.get()
    assert (await visitor.status())["reason"] == "challenge"
    return visitor


async def send(visitor: Visitor, response: str, *, at: int = 0) -> Response:
    return await visitor.request("POST", CHALLENGE, at=at, data={"cf-turnstile-response": response})


async def test_proof_is_verified_once_for_one_place(
    widget_gate: WidgetGates, verifier: FakeVerifier
) -> None:
    gates = [await widget_gate(), await widget_gate()]
    visitor, stranger = await arrive(*gates), await arrive(*gates)
    status = await visitor.status()
    assert status["challenge"] == {"type": "turnstile", "site_key": "0x4AAA-site"}
    assert (await send(visitor, "bad")).status == 403
    assert (await send(visitor, "good one")).json["position"] == 1
    assert (await send(visitor, "good one", at=1)).json["position"] == 1, "it is confirmed already"
    assert len(verifier.calls) == 2
    for at in (0, 1):
        assert (await send(stranger, "good one", at=at)).status == 403, "a duplicate"
    assert (await stranger.status())["reason"] == "challenge"
    assert (await gates[0].queue.read_state()).queue_length == 1
    sent = verifier.calls[1]
    assert (sent["secret"], sent["remoteip"]) == (SECRET, "127.0.0.1")
    assert sent["idempotency_key"]


async def test_host_that_the_client_names_counts_for_nothing(
    widget_gate: WidgetGates, verifier: FakeVerifier
) -> None:
    """A proof of another site is none, also when the request pretends to be for that site."""
    gate = await widget_gate(host="127.0.0.1")
    visitor = await arrive(gate)
    verifier.reply = {"hostname": "evil.example"}
    named: list[tuple[int, dict[str, str]]] = [
        (403, {}),
        (403, {"X-Forwarded-Host": "evil.example"}),
        (403, {"Host": "127.0.0.1:8443"}),
        (421, {"Host": "evil.example"}),  # not served here
    ]
    for status, fields in named:
        sent: dict[str, Any] = {"data": {"cf-turnstile-response": f"good {len(verifier.calls)}"}}
        path = f"{CHALLENGE}?room={gate.room_name}"
        response = await visitor.request("POST", path, headers=fields, **sent)
        assert response.status == status
    assert len(verifier.calls) == 3
    verifier.reply = {"hostname": "127.0.0.1"}
    assert (await send(visitor, "good")).json["position"] == 1


async def test_hcaptcha_is_asked_with_the_site_key(
    widget_gate: WidgetGates, verifier: FakeVerifier
) -> None:
    gate = await widget_gate("hcaptcha")
    visitor = await arrive(gate)
    response = await visitor.request("POST", CHALLENGE, json={"h-captcha-response": "good"})
    assert response.json["position"] == 1
    assert verifier.calls[0]["sitekey"] == "0x4AAA-site"


@pytest.mark.parametrize("mode", ["closed", "open"])
async def test_unreachable_verifier_is_decided_by_store_failure_mode(
    mode: str, widget_gate: WidgetGates, verifier: FakeVerifier
) -> None:
    gate = await widget_gate(store_failure_mode=mode)
    visitor = await arrive(gate)
    verifier.respond = sends("<h1>Bad gateway</h1>", 502)
    response = await send(visitor, "good")
    if mode == "open":
        assert response.json["position"] == 1
        return
    assert (response.status, response.headers["Retry-After"]) == (503, "5")
    assert (await visitor.status())["reason"] == "challenge"
    verifier.respond = None
    assert (await send(visitor, "good")).json["position"] == 1, "the same proof, sent again"


async def test_refusals_do_not_fail_open(widget_gate: WidgetGates) -> None:
    gate = await widget_gate(store_failure_mode="open")
    visitor = await arrive(gate)
    for wrong in ("bad", "", "x" * 16_000):
        assert (await send(visitor, wrong)).status == 403
    assert (await visitor.status())["reason"] == "challenge"


@pytest.mark.parametrize(
    ("provider", "origin", "element"),
    [
        ("turnstile", "https://challenges.cloudflare.com", "cf-turnstile"),
        ("hcaptcha", "https://*.hcaptcha.com", "h-captcha"),
    ],
)
async def test_policy_allows_the_provider_only_with_its_widget(
    provider: str, origin: str, element: str, widget_gate: WidgetGates
) -> None:
    gate = await widget_gate(provider)
    visitor = gate.visitor()
    page = await visitor.request("GET", "/", headers=HTML)
    policy = dict(
        part.strip().split(" ", 1) for part in page.headers["Content-Security-Policy"].split(";")
    )
    assert origin in policy["script-src"]
    assert origin in policy["frame-src"]
    assert "unsafe" not in page.headers["Content-Security-Policy"]
    assert f'class="widget {element}" data-sitekey="0x4AAA-site"' in page.text
    await visitor.request("POST", CHALLENGE, data={"cf-turnstile-response": "good"})
    in_line = await visitor.request("GET", "/", headers=HTML)
    assert "https:" not in in_line.headers["Content-Security-Policy"]
    assert element not in in_line.text
