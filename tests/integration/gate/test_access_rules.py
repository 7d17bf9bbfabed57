"""Rules before rooms, on a running gate: bypass, block and queue, on both paths."""

import asyncio
import json
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from gatekeeper import metrics
from tests.builders import sign_token
from tests.gates import HTML, Gate, GateStarter
from tests.path_spellings import WALKED

FREE = """
[[rule]]
name = "free"
action = "bypass"
path = "/free/**"
"""


def matches_of(rule: str) -> float:
    metrics.flush()
    return REGISTRY.get_sample_value("gatekeeper_rule_matches_total", {"rule": rule}) or 0.0


async def test_bypass_by_path_ends_with_the_path(start_gate: GateStarter) -> None:
    """With rate 0 and the same fields: `/secret` waits, `/free/a` passes, `/secret` waits."""
    gate = await start_gate(FREE, rate="0")
    visitor = gate.visitor()
    statuses = [
        (await visitor.request("GET", path)).status
        for path in ("/secret", "/free/a", "/secret", "/free/%2e%2e/secret", "/free/a", "/secret")
    ]
    assert statuses == [503, 200, 503, 503, 200, 503]
    assert [request.path for request in gate.origin.requests] == ["/free/a", "/free/a"]


async def test_bypass_by_address_holds_for_that_address_alone(start_gate: GateStarter) -> None:
    """Behind a trusted proxy; the heads are otherwise equal."""
    rule = '[[rule]]\nname = "office"\naction = "bypass"\nclient = "203.0.113.0/24"\n'
    gate = await start_gate('[server]\ntrusted_proxies = ["127.0.0.1"]\n' + rule, rate="0")
    visitor = gate.visitor()
    for _ in range(2):
        for address, status in (("198.51.100.1", 503), ("203.0.113.9", 200)):
            headers = {"X-Forwarded-For": address}
            assert (await visitor.request("GET", "/b", headers=headers)).status == status


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_bypassed_request_gets_no_token_and_no_room(
    method: str, start_gate: GateStarter
) -> None:
    gate = await start_gate(FREE, rate="0")
    before = matches_of("free")
    visitor = gate.visitor()
    response = await visitor.request(
        method, "/free/hook", data=b"body" if method == "POST" else None
    )
    assert response.status == 200
    assert response.json["visitor"] is None
    assert response.json["length"] == (4 if method == "POST" else 0)
    assert visitor.cookies() == {}
    assert "Cache-Control" not in response.headers
    assert matches_of("free") == before + 1
    state = await gate.queue.read_state()
    assert (state.arrived_total, state.queue_length) == (0, 0)


async def test_blocked_request_is_403_and_never_forwarded(start_gate: GateStarter) -> None:
    rule = '[[rule]]\nname = "scraper"\naction = "block"\nuser_agent = "*scraper*"\n'
    gate = await start_gate(rule, rate="600/min")
    before = matches_of("scraper")
    for headers in ({"User-Agent": "a scraper"}, {"User-Agent": "a scraper"} | HTML):
        response = await gate.visitor().request("GET", "/", headers=headers)
        assert response.status == 403
        assert "Set-Cookie" not in response.headers
    assert gate.origin.requests == []
    assert matches_of("scraper") == before + 2
    assert (await gate.visitor().request("GET", "/")).status == 200


async def test_queue_rule_is_an_exception_to_a_bypass(start_gate: GateStarter) -> None:
    buy = '[[rule]]\nname = "buy"\naction = "queue"\npath = "/free/buy/**"\n'
    gate = await start_gate(buy + FREE, rate="0")
    visitor, before = gate.visitor(), matches_of("buy")
    for path, status in (("/free/a", 200), ("/free/buy/1", 503), ("/free/x/../buy/1", 503)):
        assert (await visitor.request("GET", path)).status == status
    assert matches_of("buy") == before + 2
    visitor.set_cookie(gate.cookie_name, sign_token(gate.issue_pass(ago_s=1)))
    for _ in range(3):  # on the fast path; from its cache the second time
        assert (await visitor.request("GET", "/free/buy/1")).status == 200
    assert matches_of("buy") == before + 5


@pytest.mark.parametrize(
    ("name", "passed", "blocked"),
    [("Cookie", "a=1", "bad=1"), ("X-Forwarded-For", "1.1.1.1", "6.6.6.6")],
)
async def test_block_by_field_holds_behind_a_known_head(
    name: str, passed: str, blocked: str, start_gate: GateStarter
) -> None:
    glob = blocked.replace("bad=1", "*bad*")
    rule = f'[[rule]]\nname = "bad"\naction = "block"\nheader = {{ "{name}" = "{glob}" }}\n'
    gate = await start_gate(rule, rate="600/min")
    for value, status in ((passed, 200), (blocked, 403)) * 2:
        response = await gate.visitor().request("GET", "/o/a", headers={name: value})
        assert response.status == status


async def test_networks_from_a_published_file_bypass(
    start_gate: GateStarter, tmp_path: Path
) -> None:
    crawlers = tmp_path / "googlebot.json"
    crawlers.write_text(
        json.dumps({"prefixes": [{"ipv6Prefix": "2001:db8::/64"}, {"ipv4Prefix": "127.0.0.1/32"}]})
    )
    rule = f'[[rule]]\nname = "crawler"\naction = "bypass"\nclient = "file:{crawlers}"\n'
    gate = await start_gate(rule, rate="0")
    assert (await gate.visitor().request("GET", "/")).status == 200


PREFLIGHT = {
    "Origin": "https://app.example.com",
    "Access-Control-Request-Method": "PUT",
}


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("OPTIONS", "/api/cart", PREFLIGHT),
        ("GET", "/.well-known/acme-challenge/token", {}),
        ("GET", "/robots.txt", {}),
        ("GET", "/favicon.ico", {}),
        ("HEAD", "/robots.txt", {}),
    ],
)
async def test_default_rules_bypass_what_needs_no_visitor(
    method: str, path: str, headers: dict[str, str], start_gate: GateStarter
) -> None:
    gate = await start_gate(rate="0")
    assert (await gate.visitor().request(method, path, headers=headers)).status == 200
    closed = await start_gate("[server]\ndefault_rules = false\n", rate="0")
    assert (await closed.visitor().request(method, path, headers=headers)).status == 503


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("OPTIONS", "/api/cart", {}),
        ("OPTIONS", "/api/cart", {"Origin": "https://app.example.com"}),
        ("GET", "/api/cart", PREFLIGHT),
        ("GET", "/.well-known", {}),
        ("GET", "/.well-known/../buy", {}),
        ("GET", "/.well-known/%2e%2e/buy", {}),
        ("GET", "/.well-known/..%2fbuy", {}),
        ("GET", "//.well-known/x", {}),
        ("GET", "/robots.txt/", {}),
        ("GET", "/robots.txt;/../buy", {}),
        ("GET", "/x/robots.txt", {}),
        ("GET", "/ROBOTS.TXT", {}),
    ],
)
async def test_default_rules_bypass_nothing_else(
    method: str, path: str, headers: dict[str, str], start_gate: GateStarter
) -> None:
    gate = await start_gate(rate="0")
    assert (await raw_status(gate, method, path, headers)) == 503


BLOCKED = """
[server]
trusted_proxies = ["127.0.0.1"]
[[rule]]
name = "office"
action = "queue"
client = "203.0.113.7"
[[rule]]
name = "by-address"
action = "block"
client = "203.0.113.0/24"
[[rule]]
name = "by-agent"
action = "block"
user_agent = "BadBot*"
[[rule]]
name = "by-path"
action = "block"
path = ["/closed/**", "/.gatekeeper/**"]
"""
ENDPOINTS = [
    ("GET", "status"),
    ("HEAD", "status"),
    ("POST", "enqueue"),
    ("POST", "leave"),
    ("GET", "wait"),
    ("OPTIONS", "enqueue"),
]


async def test_blocked_client_gets_and_keeps_no_place(start_gate: GateStarter) -> None:
    gate = await start_gate(BLOCKED, rate="0")
    for headers in (
        {"X-Forwarded-For": "203.0.113.9"},
        {"X-Forwarded-For": "203.0.113.9", "User-Agent": "Good"},
        {"X-Forwarded-For": "198.51.100.1", "User-Agent": "BadBot/2"},
    ):
        before = matches_of("by-address") + matches_of("by-agent")
        visitor = gate.visitor()
        for method, name in ENDPOINTS * 2:  # a second time, from the caches
            path = f"/.gatekeeper/{name}?room={gate.room_name}"
            response = await visitor.request(method, path, headers=headers)
            assert (response.status, "Set-Cookie" in response.headers) == (403, False)
            assert response.headers["Cache-Control"] == "no-store"
        assert matches_of("by-address") + matches_of("by-agent") == before + 2 * len(ENDPOINTS)
        assert visitor.cookies() == {}
        for name in ("health", "client.js", "static/none"):
            status = (await visitor.request("GET", f"/.gatekeeper/{name}", headers=headers)).status
            assert status == (404 if name == "static/none" else 200)
    assert (await gate.queue.read_state()).arrived_total == 0


async def test_block_of_another_client_or_path_keeps_no_visitor_out(
    start_gate: GateStarter,
) -> None:
    gate = await start_gate(BLOCKED, rate="0")
    for address in ("198.51.100.1", "203.0.113.7", "203.0.112.9"):
        visitor, headers = gate.visitor(), {"X-Forwarded-For": address}
        for _ in range(2):
            assert (await visitor.request("GET", "/", headers=headers)).status == 503
            status = await visitor.request("GET", "/.gatekeeper/status", headers=headers)
            assert status.json["state"] == "waiting"
        closed = await visitor.request("GET", "/closed/x", headers=headers)
        assert closed.status == (503 if address == "203.0.113.7" else 403)


async def test_blocked_person_reads_why_in_their_language(start_gate: GateStarter) -> None:
    gate = await start_gate(BLOCKED, rate="0")
    headers = HTML | {"User-Agent": "BadBot", "Accept-Language": "fr"}
    for path in ("/", "/.gatekeeper/wait"):
        response = await gate.visitor().request("GET", path, headers=headers)
        assert (response.status, response.headers["Content-Language"]) == (403, "fr")
        assert "Cette requête est bloquée." in response.text
    machine = await gate.visitor().request("GET", "/", headers={"User-Agent": "BadBot"})
    assert machine.json == {"error": "This request is blocked."}


async def test_client_that_is_blocked_later_loses_its_polls(start_gate: GateStarter) -> None:
    """The same head from two addresses behind a proxy: cached heads contain no address."""
    gate = await start_gate(BLOCKED, rate="0")
    visitor, other = gate.visitor(), gate.visitor()
    for address, status in (("198.51.100.1", 200), ("203.0.113.9", 403), ("198.51.100.2", 200)):
        headers = {"X-Forwarded-For": address}
        for each in (visitor, other, visitor):
            response = await each.request("GET", "/.gatekeeper/status", headers=headers)
            assert response.status == status


async def test_no_spelling_of_a_path_bypasses_at_rate_0(start_gate: GateStarter) -> None:
    gate = await start_gate(FREE, rate="0")
    for target in WALKED:
        for method in ("GET", "POST"):
            status = await raw_status(gate, method, target.replace("/webhooks", "/free"), {})
            assert status in {400, 503}, target
    assert gate.origin.requests == []
    for path in ("/free/a%20b", "/free/@scope%2fname", "/free/caf%C3%A9"):
        assert await raw_status(gate, "GET", path, {}) == 200


async def raw_status(gate: Gate, method: str, path: str, headers: dict[str, str]) -> int:
    """The status of a request whose path no client library normalizes."""
    lines = [f"{method} {path} HTTP/1.1", "Host: shop.example", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    async with asyncio.timeout(40):
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.worker.port)
        writer.write("\r\n".join([*lines, "", ""]).encode())
        response = await reader.read()
        writer.close()
    return int(response.split(b" ")[1])
