"""Tokens at the gate: which are valid, and how they are sent."""

import base64
import json
from collections.abc import Callable, Sequence

import jwt
import pytest
from multidict import CIMultiDict

from gatekeeper.config.types import RoomName
from gatekeeper.policy.decision import Standing
from gatekeeper.policy.tokens import Pass
from gatekeeper.room.queue import Queue
from gatekeeper.room.visitor_calls import PollRequest
from tests.builders import SECRET, room_toml, sign_token
from tests.gates import Gate, GateStarter

OTHER_SECRET = b"another secret of the tests, with 32 bytes and more"


def without_signature(raw: str) -> str:
    head = base64.urlsafe_b64encode(json.dumps({"alg": "none", "typ": "pass+jwt"}).encode())
    return f"{head.rstrip(b'=').decode()}.{raw.split('.')[1]}."


def ticket_called_a_pass(gate: Gate) -> str:
    """A real ticket with another type, signed with an attacker's key."""
    claims = jwt.decode(sign_token(gate.issue_ticket()), options={"verify_signature": False})
    kid = jwt.get_unverified_header(sign_token(gate.issue_ticket()))["kid"]
    return jwt.encode(claims, "x" * 32, headers={"typ": "pass+jwt", "kid": kid})


BAD_TOKENS: dict[str, Callable[[Gate], str]] = {
    "forged": lambda gate: sign_token(gate.issue_pass(), secret=OTHER_SECRET),
    "expired": lambda gate: sign_token(gate.issue_pass(ago_s=9, expires_in_s=-1)),
    "truncated": lambda gate: sign_token(gate.issue_pass())[:-4],
    "cut in its claims": lambda gate: sign_token(gate.issue_pass())[:60],
    "of another room": lambda gate: sign_token(gate.issue_pass(room=RoomName("another"))),
    "unsigned": lambda gate: without_signature(sign_token(gate.issue_pass())),
    "a ticket called a pass": ticket_called_a_pass,
    "no token": lambda _: "a.b.c",
    "dots": lambda _: "..",
    "far too long": lambda gate: sign_token(gate.issue_pass()) + "A" * 4000,
    "doubled": lambda gate: sign_token(gate.issue_pass()) * 2,
}


@pytest.mark.parametrize("bad", BAD_TOKENS.values(), ids=BAD_TOKENS.keys())
@pytest.mark.parametrize("by_header", [True, False], ids=["header", "cookie"])
async def test_invalid_token_makes_a_newcomer(
    room_name: RoomName,
    bad: Callable[[Gate], str],
    by_header: bool,
    closed_gate: Gate,
) -> None:
    visitor = closed_gate.visitor()
    raw = bad(closed_gate)
    sent = {"X-Queue-Token": raw} if by_header else {"Cookie": f"gatekeeper-{room_name}={raw}"}
    response = await visitor.request("GET", headers=sent)
    assert response.status == 503
    assert (response.json["state"], response.json["position"]) == ("waiting", 1)
    fresh = response.headers.get("X-Queue-Token") or visitor.cookies()[closed_gate.cookie_name]
    assert closed_gate.token(fresh) is not None
    visitor.session.cookie_jar.clear()
    response = await visitor.request("GET", "/.gatekeeper/status", headers=sent)
    assert response.json == {"state": "none"}
    response = await visitor.request("POST", "/.gatekeeper/leave", headers=sent)
    assert response.json == {"state": "none"}
    assert closed_gate.origin.requests == []


async def test_ticket_does_not_admit(closed_gate: Gate) -> None:
    visitor = closed_gate.visitor()
    visitor.set_cookie(closed_gate.cookie_name, sign_token(closed_gate.issue_ticket()))
    assert (await visitor.get())[0] == 503
    assert (await visitor.status())["position"] == 1
    assert closed_gate.origin.requests == []


async def test_token_of_undecodable_bytes_is_ignored(
    room_name: RoomName, closed_gate: Gate
) -> None:
    visitor = closed_gate.visitor()
    for sent in (
        {"X-Queue-Token": "\udcff\udcfe"},
        {"Cookie": f"gatekeeper-{room_name}=\udcff\udcfe"},
    ):
        assert (await visitor.request("GET", headers=sent)).status == 503
    assert closed_gate.origin.requests == []


# Rotation.


async def test_second_secret_verifies_until_removed(start_gate: GateStarter) -> None:
    rotating = await start_gate(rate="0", secrets=(OTHER_SECRET, SECRET))
    rotated = await start_gate(rate="0", secrets=(OTHER_SECRET,))
    visitor = rotating.visitor(rotated)
    cookie = rotating.cookie_name
    old = sign_token(rotating.issue_pass(ago_s=100))
    visitor.set_cookie(cookie, old)
    assert (await visitor.get(at=0))[0] == 200
    renewed = visitor.cookies()[cookie]
    assert rotating.token(renewed, secret=OTHER_SECRET) is not None
    assert (await visitor.get(at=1))[0] == 200
    visitor.set_cookie(cookie, old)
    assert (await visitor.get(at=1))[0] == 503


# The cookie.


def attributes(set_cookie: str) -> set[str]:
    return {part.strip() for part in set_cookie.split(";")[1:]}


async def test_cookie_is_http_only_and_lax(room_name: RoomName, start_gate: GateStarter) -> None:
    gate = await start_gate()
    visitor = gate.visitor()
    response = await visitor.request("GET")
    [cookie] = response.headers.getall("Set-Cookie")
    assert cookie.startswith(f"gatekeeper-{room_name}=")
    assert attributes(cookie) >= {"Path=/", "HttpOnly", "SameSite=Lax"}
    assert "Secure" not in attributes(cookie)
    [life] = [part for part in attributes(cookie) if part.startswith("Max-Age=")]
    assert 14_390 <= int(life.partition("=")[2]) <= 14_400  # until the absolute end


async def test_cookie_behind_tls_proxy_is_secure_and_host_bound(
    room_name: RoomName, start_gate: GateStarter
) -> None:
    gate = await start_gate('[server]\ntrusted_proxies = ["127.0.0.1"]\n')
    visitor = gate.visitor()
    https = {"X-Forwarded-Proto": "https"}
    response = await visitor.request("GET", headers=https)
    [cookie] = response.headers.getall("Set-Cookie")
    name, _, value = cookie.partition(";")[0].partition("=")
    assert name == f"__Host-gatekeeper-{room_name}"
    assert attributes(cookie) >= {"Path=/", "HttpOnly", "SameSite=None", "Secure"}
    assert not [part for part in attributes(cookie) if part.lower().startswith("domain")]

    again = await visitor.request(
        "GET", "/.gatekeeper/status", headers=https | {"Cookie": f"{name}={value}"}
    )
    assert again.json["state"] == "admitted"
    # The session of a visitor who arrived by http continues.
    plain = await visitor.request(
        "GET", headers=https | {"Cookie": f"gatekeeper-{room_name}={value}"}
    )
    assert plain.status == 200


async def test_cookie_ignores_forwarded_proto_of_untrusted_client(
    room_name: RoomName, start_gate: GateStarter
) -> None:
    gate = await start_gate()
    visitor = gate.visitor()
    response = await visitor.request("GET", headers={"X-Forwarded-Proto": "https"})
    assert response.headers["Set-Cookie"].startswith(f"gatekeeper-{room_name}=")


async def test_tokens_of_all_rooms_are_removed_for_the_origin(
    room_name: RoomName, start_gate: GateStarter
) -> None:
    side = RoomName(f"{room_name}-side")
    gate = await start_gate(room_toml(side, path="/side/"), rate="0")
    visitor = gate.visitor()
    raw = sign_token(gate.issue_pass())
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
            assert (await visitor.request(method, headers=headers)).status == 200
    assert len(gate.origin.requests) == 6
    for request in gate.origin.requests:
        assert raw not in str(request.raw_headers)
    assert gate.origin.requests[0].headers["Cookie"] == "theirs=1; gatekeeper=theirs-too"
    assert "Cookie" not in gate.origin.requests[4].headers


@pytest.mark.parametrize("first", ["valid", "junk"])
async def test_valid_cookie_counts_beside_an_invalid_one(first: str, closed_gate: Gate) -> None:
    visitor = closed_gate.visitor()
    name = closed_gate.cookie_name
    valid, junk = f"{name}={sign_token(closed_gate.issue_pass())}", f"{name}=junk"
    values = [valid, junk] if first == "valid" else [junk, valid]
    for headers in (
        CIMultiDict({"Cookie": "; ".join(values)}),
        CIMultiDict([("Cookie", value) for value in values]),
    ):
        assert (await visitor.request("GET", headers=headers)).status == 200


@pytest.mark.parametrize("html", [True, False], ids=["page", "status"])
async def test_void_cookies_never_hide_the_place(
    html: bool, room_name: RoomName, start_gate: GateStarter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Set by a sibling host, as many as fit in a head; each was valid before its visitor left."""
    batches: list[int] = []
    poll = Queue.poll_all

    async def recorded(queue: Queue, batch: Sequence[PollRequest]) -> list[Standing]:
        batches.append(len(batch))
        return await poll(queue, batch)

    monkeypatch.setattr(Queue, "poll_all", recorded)
    gate = await start_gate(rate="0")
    dead = [gate.issue_ticket() for _ in range(40)]
    await gate.queue.leave([each.visitor for each in dead], with_tickets=True)
    visitor = gate.visitor()
    await visitor.join()
    mine = visitor.cookies()[gate.cookie_name]
    visitor.session.cookie_jar.clear()
    cookies = [sign_token(each) for each in dead]
    cookies.insert(30, mine)
    headers = {"Cookie": "; ".join(f"{gate.cookie_name}={each}" for each in cookies)}
    if html:
        headers |= {"Accept": "text/html"}
    batches.clear()
    response = await visitor.request("GET", "/" if html else "/.gatekeeper/status", headers=headers)
    assert response.status == (503 if html else 200)
    held, kept = gate.token(visitor.cookies()[gate.cookie_name]), gate.token(mine)
    assert held is not None
    assert kept is not None
    assert held.visitor == kept.visitor
    assert batches == [1, 40, 1]
    if not html:
        assert (response.json["state"], response.json["position"]) == ("waiting", 1)


async def test_token_header_outranks_cookie(room_name: RoomName, closed_gate: Gate) -> None:
    visitor = closed_gate.visitor()
    by_header, by_cookie = (
        closed_gate.issue_pass(),
        closed_gate.issue_pass(),
    )
    response = await visitor.request(
        "GET",
        headers={
            "X-Queue-Token": sign_token(by_header),
            "Cookie": f"gatekeeper-{room_name}={sign_token(by_cookie)}",
        },
    )
    assert response.json["visitor"] == by_header.visitor


async def test_renewed_token_returns_by_header_or_cookie_as_sent(
    room_name: RoomName, closed_gate: Gate
) -> None:
    visitor = closed_gate.visitor()
    raw = sign_token(closed_gate.issue_pass(ago_s=100))
    by_header = await visitor.request("GET", headers={"X-Queue-Token": raw})
    assert "Set-Cookie" not in by_header.headers
    renewed = closed_gate.token(by_header.headers["X-Queue-Token"])
    assert isinstance(renewed, Pass)
    by_cookie = await visitor.request("GET", headers={"Cookie": f"gatekeeper-{room_name}={raw}"})
    assert "X-Queue-Token" not in by_cookie.headers
    assert by_cookie.headers["Set-Cookie"].startswith(f"gatekeeper-{room_name}=")


@pytest.mark.parametrize("method", ["GET", "PUT"], ids=["fast path", "aiohttp"])
async def test_origin_does_not_overwrite_the_token(
    room_name: RoomName, method: str, closed_gate: Gate
) -> None:
    """An application with a cookie of the same name would end the sessions of its own visitors."""
    visitor = closed_gate.visitor()
    await visitor.get()
    await closed_gate.allow(1)
    assert (await visitor.get())[0] == 200
    closed_gate.origin.headers = CIMultiDict(
        [
            ("Set-Cookie", f"gatekeeper-{room_name}=of-the-origin; Path=/"),
            ("Set-Cookie", "basket=1; Path=/"),
            ("X-Queue-Token", "of-the-origin"),
            ("X-Gatekeeper-State", "waiting"),
        ]
    )
    response = await visitor.request(method, "/")
    assert response.status == 200
    assert "X-Queue-Token" not in response.headers
    assert "X-Gatekeeper-State" not in response.headers
    assert response.headers.getall("Set-Cookie") == ["basket=1; Path=/"]
    assert (await visitor.get())[0] == 200
