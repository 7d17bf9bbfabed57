"""What a token is worth at the gate, and how it travels."""

import base64
import json
from collections.abc import Callable

import jwt
import pytest
from multidict import CIMultiDict

from gatekeeper.config.types import RoomName
from gatekeeper.policy.tokens import Pass
from tests.gates import SECRET, Gate, Origin, Visitor, minted, room, running_gate
from tests.integration.gate.passes import pass_issued, ticket_issued, token_in

OTHER_SECRET = b"another secret of the tests, with 32 bytes and more"


def without_signature(raw: str) -> str:
    head = base64.urlsafe_b64encode(json.dumps({"alg": "none", "typ": "pass+jwt"}).encode())
    return f"{head.rstrip(b'=').decode()}.{raw.split('.')[1]}."


def ticket_called_a_pass(gate: Gate, name: RoomName) -> str:
    """Our own ticket under another type, signed with what an attacker has: nothing of ours."""
    claims = jwt.decode(minted(ticket_issued(gate, name)), options={"verify_signature": False})
    kid = jwt.get_unverified_header(minted(ticket_issued(gate, name)))["kid"]
    return jwt.encode(claims, "x" * 32, headers={"typ": "pass+jwt", "kid": kid})


BAD_TOKENS: dict[str, Callable[[Gate, RoomName], str]] = {
    "forged": lambda gate, name: minted(pass_issued(gate, name), secret=OTHER_SECRET),
    "expired": lambda gate, name: minted(pass_issued(gate, name, ago_s=9, expires_in_s=-1)),
    "truncated": lambda gate, name: minted(pass_issued(gate, name))[:-4],
    "cut in its claims": lambda gate, name: minted(pass_issued(gate, name))[:60],
    "of another room": lambda gate, _: minted(pass_issued(gate, RoomName("another"))),
    "unsigned": lambda gate, name: without_signature(minted(pass_issued(gate, name))),
    "a ticket called a pass": ticket_called_a_pass,
    "no token": lambda _gate, _name: "a.b.c",
    "dots": lambda _gate, _name: "..",
    "far too long": lambda gate, name: minted(pass_issued(gate, name)) + "A" * 4000,
    "doubled": lambda gate, name: minted(pass_issued(gate, name)) * 2,
}


@pytest.mark.parametrize("bad", BAD_TOKENS.values(), ids=BAD_TOKENS.keys())
@pytest.mark.parametrize("by_header", [True, False], ids=["header", "cookie"])
async def test_a_token_that_is_not_right_makes_a_newcomer(
    store_url: str, room_name: RoomName, bad: Callable[[Gate, RoomName], str], by_header: bool
) -> None:
    async with (
        Origin.running() as origin,
        running_gate(room(room_name, rate="0"), store_url=store_url, origin_url=origin.url) as gate,
        Visitor(gate) as visitor,
    ):
        raw = bad(gate, room_name)
        sent = {"X-Queue-Token": raw} if by_header else {"Cookie": f"gatekeeper-{room_name}={raw}"}
        answer = await visitor.ask("GET", headers=sent)
        assert answer.status == 503
        assert (answer.json["state"], answer.json["position"]) == ("waiting", 1)
        fresh = answer.headers.get("X-Queue-Token") or visitor.cookies()[f"gatekeeper-{room_name}"]
        assert token_in(fresh, gate, room_name) is not None
        visitor.session.cookie_jar.clear()
        answer = await visitor.ask("GET", "/.gatekeeper/status", headers=sent)
        assert answer.json == {"state": "none"}
        answer = await visitor.ask("POST", "/.gatekeeper/leave", headers=sent)
        assert answer.json == {"state": "none"}
        assert origin.requests == []


async def test_a_ticket_is_no_pass(store_url: str, room_name: RoomName) -> None:
    async with (
        Origin.running() as origin,
        running_gate(room(room_name, rate="0"), store_url=store_url, origin_url=origin.url) as gate,
        Visitor(gate) as visitor,
    ):
        visitor.take_cookie(f"gatekeeper-{room_name}", minted(ticket_issued(gate, room_name)))
        assert (await visitor.get())[0] == 503
        assert (await visitor.status())["position"] == 1
        assert origin.requests == []


async def test_bytes_that_are_no_text_are_no_token(store_url: str, room_name: RoomName) -> None:
    async with (
        Origin.running() as origin,
        running_gate(room(room_name, rate="0"), store_url=store_url, origin_url=origin.url) as gate,
        Visitor(gate) as visitor,
    ):
        for sent in (
            {"X-Queue-Token": "\udcff\udcfe"},
            {"Cookie": f"gatekeeper-{room_name}=\udcff\udcfe"},
        ):
            assert (await visitor.ask("GET", headers=sent)).status == 503
        assert origin.requests == []


# Rotation.


async def test_a_second_secret_verifies_until_it_is_removed(
    store_url: str, room_name: RoomName
) -> None:
    toml = room(room_name, rate="0")
    async with (
        Origin.running() as origin,
        running_gate(
            toml,
            store_url=store_url,
            origin_url=origin.url,
            secrets=(OTHER_SECRET, SECRET),
        ) as rotating,
        running_gate(
            toml, store_url=store_url, origin_url=origin.url, secrets=(OTHER_SECRET,)
        ) as rotated,
        Visitor(rotating, rotated) as visitor,
    ):
        cookie = f"gatekeeper-{room_name}"
        old = minted(pass_issued(rotating, room_name, ago_s=100))
        visitor.take_cookie(cookie, old)
        assert (await visitor.get(at=0))[0] == 200
        renewed = visitor.cookies()[cookie]
        assert token_in(renewed, rotating, room_name, secret=OTHER_SECRET) is not None
        assert (await visitor.get(at=1))[0] == 200
        visitor.take_cookie(cookie, old)
        assert (await visitor.get(at=1))[0] == 503


# The cookie.


def attributes(set_cookie: str) -> set[str]:
    return {part.strip() for part in set_cookie.split(";")[1:]}


async def test_the_cookie_is_for_the_gate_alone(store_url: str, room_name: RoomName) -> None:
    async with (
        Origin.running() as origin,
        running_gate(room(room_name), store_url=store_url, origin_url=origin.url) as gate,
        Visitor(gate) as visitor,
    ):
        answer = await visitor.ask("GET")
        [cookie] = answer.headers.getall("Set-Cookie")
        assert cookie.startswith(f"gatekeeper-{room_name}=")
        assert attributes(cookie) >= {"Path=/", "HttpOnly", "SameSite=Lax"}
        assert "Secure" not in attributes(cookie)
        [life] = [part for part in attributes(cookie) if part.startswith("Max-Age=")]
        assert 1800 <= int(life.partition("=")[2]) <= 1860


async def test_behind_a_trusted_proxy_that_speaks_tls_the_cookie_is_bound_to_the_host(
    store_url: str, room_name: RoomName
) -> None:
    toml = '[server]\ntrusted_proxies = ["127.0.0.1"]\n' + room(room_name)
    async with (
        Origin.running() as origin,
        running_gate(toml, store_url=store_url, origin_url=origin.url) as gate,
        Visitor(gate) as visitor,
    ):
        https = {"X-Forwarded-Proto": "https"}
        answer = await visitor.ask("GET", headers=https)
        [cookie] = answer.headers.getall("Set-Cookie")
        name, _, value = cookie.partition(";")[0].partition("=")
        assert name == f"__Host-gatekeeper-{room_name}"
        assert attributes(cookie) >= {"Path=/", "HttpOnly", "SameSite=Lax", "Secure"}
        assert not [part for part in attributes(cookie) if part.lower().startswith("domain")]

        again = await visitor.ask(
            "GET", "/.gatekeeper/status", headers=https | {"Cookie": f"{name}={value}"}
        )
        assert again.json["state"] == "admitted"
        plain = await visitor.ask(
            "GET",
            "/.gatekeeper/status",
            headers=https | {"Cookie": f"gatekeeper-{room_name}={value}"},
        )
        assert plain.json == {"state": "none"}  # whoever can write plain cookies plants no session


async def test_nobody_else_makes_the_cookie_secure(store_url: str, room_name: RoomName) -> None:
    async with (
        Origin.running() as origin,
        running_gate(room(room_name), store_url=store_url, origin_url=origin.url) as gate,
        Visitor(gate) as visitor,
    ):
        answer = await visitor.ask("GET", headers={"X-Forwarded-Proto": "https"})
        assert answer.headers["Set-Cookie"].startswith(f"gatekeeper-{room_name}=")


async def test_no_token_of_any_room_reaches_the_origin(store_url: str, room_name: RoomName) -> None:
    side = RoomName(f"{room_name}-side")
    async with (
        Origin.running() as origin,
        running_gate(
            room(room_name, rate="0") + room(side, path="/side/"),
            store_url=store_url,
            origin_url=origin.url,
        ) as gate,
        Visitor(gate) as visitor,
    ):
        raw = minted(pass_issued(gate, room_name))
        names = [
            f"{prefix}gatekeeper-{name}" for prefix in ("", "__Host-") for name in (room_name, side)
        ]
        ours = "; ".join(f"{name}={raw}" for name in names)
        cookies = f"theirs=1; {ours}; gatekeeper=theirs-too"
        for headers in (
            {"Cookie": cookies},
            {"Cookie": cookies, "X-Queue-Token": raw},
            {"Cookie": ours, "x_queue_token": raw},
        ):
            for method in ("GET", "POST"):
                assert (await visitor.ask(method, headers=headers)).status == 200
        assert len(origin.requests) == 6
        for request in origin.requests:
            assert raw not in str(request.raw_headers)
        assert origin.requests[0].headers["Cookie"] == "theirs=1; gatekeeper=theirs-too"
        assert "Cookie" not in origin.requests[4].headers


@pytest.mark.parametrize("first", ["valid", "junk"])
async def test_of_two_cookies_of_one_name_the_valid_one_counts(
    store_url: str, room_name: RoomName, first: str
) -> None:
    async with (
        Origin.running() as origin,
        running_gate(room(room_name, rate="0"), store_url=store_url, origin_url=origin.url) as gate,
        Visitor(gate) as visitor,
    ):
        name = f"gatekeeper-{room_name}"
        valid, junk = f"{name}={minted(pass_issued(gate, room_name))}", f"{name}=junk"
        values = [valid, junk] if first == "valid" else [junk, valid]
        for headers in (
            CIMultiDict({"Cookie": "; ".join(values)}),
            CIMultiDict([("Cookie", value) for value in values]),
        ):
            assert (await visitor.ask("GET", headers=headers)).status == 200


async def test_the_header_counts_before_the_cookie(store_url: str, room_name: RoomName) -> None:
    async with (
        Origin.running() as origin,
        running_gate(room(room_name, rate="0"), store_url=store_url, origin_url=origin.url) as gate,
        Visitor(gate) as visitor,
    ):
        by_header, by_cookie = pass_issued(gate, room_name), pass_issued(gate, room_name)
        answer = await visitor.ask(
            "GET",
            headers={
                "X-Queue-Token": minted(by_header),
                "Cookie": f"gatekeeper-{room_name}={minted(by_cookie)}",
            },
        )
        assert answer.json["visitor"] == by_header.visitor


async def test_a_renewed_token_goes_back_the_way_it_came(
    store_url: str, room_name: RoomName
) -> None:
    async with (
        Origin.running() as origin,
        running_gate(room(room_name, rate="0"), store_url=store_url, origin_url=origin.url) as gate,
        Visitor(gate) as visitor,
    ):
        raw = minted(pass_issued(gate, room_name, ago_s=100))
        by_header = await visitor.ask("GET", headers={"X-Queue-Token": raw})
        assert "Set-Cookie" not in by_header.headers
        renewed = token_in(by_header.headers["X-Queue-Token"], gate, room_name)
        assert isinstance(renewed, Pass)
        by_cookie = await visitor.ask("GET", headers={"Cookie": f"gatekeeper-{room_name}={raw}"})
        assert "X-Queue-Token" not in by_cookie.headers
        assert by_cookie.headers["Set-Cookie"].startswith(f"gatekeeper-{room_name}=")
