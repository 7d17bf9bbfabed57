"""Gates with a widget of Turnstile or hCaptcha and a fake verifier: the place of the visitor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.gates import HTML, Gate, GateStarter, Visitor
from tests.gates.http_visitor import Response
from tests.integration.gate.fake_verifier import SECRET, FakeVerifier, sends

CHALLENGE = "/.gatekeeper/challenge"


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
    """A proof for another site is invalid, also if the request claims to be for that site."""
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
