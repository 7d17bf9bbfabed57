"""`newcomers_per_address` over HTTP: which newcomers are refused, for every way to get a place."""

import pytest

from tests.gates import HTML, Gate, GateStarter

TRUSTED = """
[server]
trusted_proxies = ["127.0.0.1"]
[[rule]]
name = "school"
action = "queue"
method = "GET"
path = "/shop/**"
client = ["198.51.100.0/24", "2001:db8:7::/48"]
[[rule]]
name = "agents"
action = "queue"
user_agent = "office"
"""
PER_MINUTE = 3


@pytest.fixture
async def limited(start_gate: GateStarter) -> Gate:
    return await start_gate(TRUSTED, rate="0", newcomers_per_address=f"{PER_MINUTE}/min")


async def _states(gate: Gate, address: str, *, count: int, path: str = "/") -> list[str | None]:
    """The responses to newcomers from this address."""
    found = []
    for _ in range(count):
        headers = HTML | {"X-Forwarded-For": address}
        response = await gate.visitor().request("GET", path, headers=headers)
        assert response.status == 503
        found.append("place" if "Set-Cookie" in response.headers else _state(response.text))
    return found


def _state(page: str) -> str | None:
    return page.partition('data-state="')[2].partition('"')[0] or None


async def test_address_beyond_its_rate_gets_no_place(limited: Gate) -> None:
    expected = ["place"] * PER_MINUTE + ["address_limit"] * 2
    assert await _states(limited, "192.0.2.1", count=5) == expected
    assert await _states(limited, "192.0.2.2", count=5) == expected, "each its own"
    assert await _states(limited, "::ffff:192.0.2.1", count=1) == ["address_limit"]
    assert await _states(limited, "2001:db8:1:2::1", count=3) == ["place"] * 3
    assert await _states(limited, "2001:db8:1:2:ff::9", count=1) == ["address_limit"]
    assert await _states(limited, "2001:db8:1:3::1", count=1) == ["place"]


async def test_page_and_json_say_why_and_when(limited: Gate) -> None:
    await _states(limited, "192.0.2.1", count=PER_MINUTE)
    source = {"X-Forwarded-For": "192.0.2.1"}
    page = await limited.visitor().request("GET", "/", headers=HTML | source)
    assert "shared by many people" in page.text
    assert int(page.headers["Retry-After"]) >= 20, "the next is free in 20 s, and not for all"
    app = await limited.visitor().request(
        "GET", "/api", headers={"Accept": "application/json"} | source
    )
    assert (app.status, app.json["reason"]) == (503, "address_limit")
    assert app.json["refresh_seconds"] == int(app.headers["Retry-After"])
    enqueued = await limited.visitor().request("POST", "/.gatekeeper/enqueue", headers=source)
    assert (enqueued.status, enqueued.json["reason"]) == (503, "address_limit")
    assert "token" not in enqueued.json
    waiting = await limited.visitor().request("GET", "/.gatekeeper/wait", headers=HTML | source)
    assert _state(waiting.text) == "address_limit"
    assert "Set-Cookie" not in waiting.headers


async def test_visitor_in_line_is_never_turned_away(limited: Gate) -> None:
    """Polls and reloads do not count as newcomers, on the fast path and with aiohttp."""
    source = {"X-Forwarded-For": "192.0.2.1"}
    ann = limited.visitor()
    await ann.request("GET", "/", headers=HTML | source)
    await _states(limited, "192.0.2.1", count=PER_MINUTE)
    for _ in range(2 * PER_MINUTE):
        status = await ann.request("GET", "/.gatekeeper/status", headers=source)
        assert status.json["state"] == "waiting"
        page = await ann.request("GET", "/", headers=HTML | source)
        assert _state(page.text) in {"waiting", "held"}


async def test_void_ticket_is_a_newcomer_of_its_own_address(limited: Gate) -> None:
    """A spent ticket does not avoid the limit, and costs no other address a place."""
    ann = limited.visitor()
    await ann.request("GET", "/", headers=HTML | {"X-Forwarded-For": "192.0.2.1"})
    await ann.request("POST", "/.gatekeeper/leave")
    await _states(limited, "192.0.2.1", count=PER_MINUTE - 1)
    page = await ann.request("GET", "/", headers=HTML | {"X-Forwarded-For": "192.0.2.1"})
    assert _state(page.text) == "address_limit"
    assert await _states(limited, "192.0.2.2", count=1) == ["place"]


async def test_forwarded_address_of_an_untrusted_peer_is_not_counted(
    start_gate: GateStarter,
) -> None:
    gate = await start_gate(rate="0", newcomers_per_address=f"{PER_MINUTE}/min")
    found = [await _states(gate, f"192.0.2.{number}", count=1) for number in range(5)]
    assert [each for [each] in found] == ["place"] * PER_MINUTE + ["address_limit"] * 2


async def test_queue_rule_with_client_exempts_and_no_other_rule_does(limited: Gate) -> None:
    many = PER_MINUTE + 2
    assert await _states(limited, "198.51.100.9", count=many) == ["place"] * many
    assert await _states(limited, "2001:db8:7:1::1", count=many) == ["place"] * many
    for _ in range(many):
        app = await limited.visitor().request(
            "POST", "/.gatekeeper/enqueue", headers={"X-Forwarded-For": "198.51.100.9"}
        )
        assert app.status == 201
    office = {"X-Forwarded-For": "203.0.113.1", "User-Agent": "office"}
    pages = [
        await limited.visitor().request("GET", "/", headers=HTML | office) for _ in range(many)
    ]
    assert _state(pages[-1].text) == "address_limit"


async def test_forward_auth_counts_the_client_of_the_original_request(limited: Gate) -> None:
    """The proxy that asks is not counted."""

    async def check(address: str) -> str | None:
        original = {
            "X-Forwarded-Method": "GET",
            "X-Forwarded-Proto": "http",
            "X-Forwarded-Host": "shop.example.com",
            "X-Forwarded-Uri": "/cart",
            "X-Forwarded-For": address,
        }
        visitor = limited.visitor()
        response = await visitor.request("GET", "/.gatekeeper/auth", headers=HTML | original)
        assert response.status == 503
        return "place" if "Set-Cookie" in response.headers else _state(response.text)

    found = [await check("192.0.2.1") for _ in range(PER_MINUTE + 1)]
    assert found == ["place"] * PER_MINUTE + ["address_limit"]
    assert await check("192.0.2.2") == "place"
    assert await _states(limited, "192.0.2.1", count=1) == ["address_limit"], "the same inline"
