"""Invitations together with lanes, events, forward auth, challenges and rotated keys."""

import time
from dataclasses import replace
from pathlib import Path

import aiohttp
import jwt
import pytest

from gatekeeper.config.event_schema import spell_time
from gatekeeper.errors import ConfigError
from gatekeeper.policy.tokens import Ticket
from tests.builders import SECRET, parse_config, room_toml
from tests.gates import HTML, Gate, GateStarter
from tests.gates.http_visitor import Response, Visitor
from tests.gates.inviting_shop import SHOP, Shop, shop_secret
from tests.servers import eventually

DENIED = 403
ANOTHER = b"another secret of the shop, 40 bytes long"


def ticket_of(gate: Gate, visitor: Visitor) -> Ticket:
    token = gate.token(visitor.cookies()[gate.cookie_name])
    assert isinstance(token, Ticket)
    return token


async def test_lane_of_an_invitation_gives_the_head_start(
    start_gate: GateStarter, room_name: str, tmp_path: Path
) -> None:
    """Also to a visitor who waits already; the other place is given back."""
    lane = f'[[lane]]\nname = "members"\nroom = "{room_name}"\nhead_start = "15m"\n'
    secret = shop_secret(tmp_path)
    gate = await start_gate(lane, rate="0", invitation_secret_file=secret)
    shop, ann, bob, member = Shop(gate), gate.visitor(), gate.visitor(), gate.visitor()
    await ann.join()
    await bob.join()
    await member.join()
    assert (await member.status())["position"] == 3
    ordinary = ticket_of(gate, member)
    assert (await shop.join(member, "member", lane="members"))["position"] == 1
    assert ticket_of(gate, member).lane == "members"
    assert ticket_of(gate, member).visitor != ordinary.visitor
    assert (await ann.status())["position"] == 2
    await eventually(lambda: gate.room().view.decisive.queue_length == 3)
    # An invitation without a lane does not replace a place.
    before = ticket_of(gate, bob).visitor
    await shop.follow(bob, shop.invitation("bob"))
    assert ticket_of(gate, bob).visitor == before


async def test_event_of_an_invitation_has_to_exist(
    start_gate: GateStarter, room_name: str, tmp_path: Path
) -> None:
    start = spell_time(round((time.time() + 600) * 1_000_000))
    event = f'[[event]]\nname = "autumn"\nroom = "{room_name}"\nstart = {start}\n'
    gate = await start_gate(
        event, rate="0", access="invited", invitation_secret_file=shop_secret(tmp_path)
    )
    await eventually(lambda: gate.room().view.state is not None)
    shop, ann = Shop(gate), gate.visitor()
    for claims in ({"event": "winter"}, {"event": "winter", "room": None}):
        assert (await shop.follow(ann, shop.invitation("ann", **claims))).status == DENIED
    good = shop.invitation("ann", event="autumn", room=None)
    assert (await shop.follow(ann, good)).status == 303
    assert (await ann.status())["state"] == "waiting"


async def test_keys_are_read_again_by_a_reload(start_gate: GateStarter, tmp_path: Path) -> None:
    """A file with a problem changes nothing."""
    secret = shop_secret(tmp_path)
    write = Path(secret).write_bytes
    keys = {"rate": "0", "access": "invited", "invitation_secret_file": secret}
    gate = await start_gate(rate="0", access="invited", invitation_secret_file=secret)
    origin = f'[origin]\nurl = "{gate.origin.url}"\n'
    config = parse_config(origin + room_toml(gate.room_name, **keys), folder=tmp_path)
    plan = replace(gate.worker._plan, config=config, secrets=(SECRET,))
    shop = Shop(gate)

    async def is_accepted(key: bytes) -> bool:
        claims = {"sub": "ann", "room": gate.room_name, "exp": gate.now_s() + 60}
        response = await shop.follow(gate.visitor(), jwt.encode(claims, key))
        assert response.status in {303, DENIED}
        return response.status == 303

    assert [await is_accepted(key) for key in (SHOP, ANOTHER)] == [True, False]
    write(ANOTHER + b"\n" + SHOP)
    await gate.worker.prepare(plan)
    gate.worker.commit()
    assert [await is_accepted(key) for key in (SHOP, ANOTHER)] == [True, True]
    write(b"short")
    with pytest.raises(ConfigError, match="too short"):
        await gate.worker.prepare(plan)
    await gate.worker.abort()
    assert [await is_accepted(key) for key in (SHOP, ANOTHER)] == [True, True]
    write(ANOTHER)
    await gate.worker.prepare(plan)
    gate.worker.commit()
    assert [await is_accepted(key) for key in (SHOP, ANOTHER)] == [False, True]


async def test_place_is_the_same_after_a_new_first_secret(
    start_gate: GateStarter, tmp_path: Path
) -> None:
    """The visitor id depends on the last secret."""
    secret = shop_secret(tmp_path)
    one = await start_gate(rate="0", invitation_secret_file=secret, secrets=(SECRET,))
    two = await start_gate(rate="0", invitation_secret_file=secret, secrets=(ANOTHER, SECRET))
    phone, laptop = one.visitor(), two.visitor()
    await one.visitor().join()
    assert (await Shop(one).join(phone, "ann"))["position"] == 2
    assert (await Shop(two).join(laptop, "ann"))["position"] == 2


async def ask(gate: Gate, uri: str, path: str, cookies: dict[str, str]) -> Response:
    """A proxy's check of a navigation to `uri`."""
    headers = HTML | {
        "X-Forwarded-Method": "GET",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": "shop.example",
        "X-Forwarded-Uri": uri,
    }
    async with (
        aiohttp.ClientSession(cookies=cookies) as session,
        session.get(gate.url + path, headers=headers, allow_redirects=False) as response,
    ):
        return Response(response.status, response.headers, await response.read())


@pytest.mark.parametrize("has_pass", [True, False])
async def test_proxy_that_asks_gets_the_redirect(
    start_gate: GateStarter, tmp_path: Path, has_pass: bool
) -> None:
    """A check with an invitation in its address is not allowed, since the proxy would forward
    it."""
    gate = await start_gate(
        '[server]\ntrusted_proxies = ["127.0.0.1"]\n',
        rate="0",
        access="invited",
        invitation_secret_file=shop_secret(tmp_path),
    )
    visitor = gate.visitor()
    if has_pass:
        await Shop(gate).join(visitor, "ann")
        await gate.allow(1)
        await visitor.wait_until_admitted()
    cookies = visitor.cookies()
    uri = f"/cart?a=b&gk_invitation={Shop(gate).invitation('ann')}"
    for path in ("/.gatekeeper/auth", "/.gatekeeper/auth?page"):
        response = await ask(gate, uri, path, cookies)
        assert (response.status, response.headers["Location"]) == (303, "/cart?a=b")
        assert ("Set-Cookie" in response.headers) is not has_pass
    assert (await ask(gate, uri, "/.gatekeeper/auth?nginx", cookies)).status == 401
    refused = await ask(gate, "/cart?gk_invitation=x", "/.gatekeeper/auth", {})
    assert refused.status == 303
    page = await gate.visitor().request("GET", refused.headers["Location"], headers=HTML)
    assert (page.status, "This invitation is not valid" in page.text) == (DENIED, True)
    assert (await ask(gate, "/cart", "/.gatekeeper/auth", cookies)).status == (
        200 if has_pass else DENIED
    )


async def test_invited_visitor_solves_the_challenge_too(
    start_gate: GateStarter, tmp_path: Path
) -> None:
    secret = shop_secret(tmp_path)
    gate = await start_gate(rate="600/min", challenge="work", invitation_secret_file=secret)
    shop, ann = Shop(gate), gate.visitor()
    status = await shop.join(ann, "ann")
    assert (status["state"], status["reason"]) == ("waiting", "challenge")
    assert ticket_of(gate, ann).device is not None
