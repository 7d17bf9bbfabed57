"""Invitations over HTTP: one place for each person, and no invitation reaches the origin."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from yarl import URL

from gatekeeper.pages.problem_states import DENIED as DENIALS
from gatekeeper.policy.invitations import visitor_key, visitor_of
from gatekeeper.policy.tokens import Ticket
from tests.builders import SECRET
from tests.gates import HTML, GateStarter
from tests.gates.inviting_shop import Shop, shop_secret
from tests.servers import eventually

DENIED = 403


@pytest.fixture
async def shop(start_gate: GateStarter, tmp_path: Path) -> AsyncIterator[Shop]:
    """A room by invitation only that admits only by `allow`."""
    gate = await start_gate(
        rate="0", access="invited", invitation_secret_file=shop_secret(tmp_path)
    )
    yield Shop(gate)
    for request in gate.origin.requests:
        assert "invitation" not in request.raw_path.lower()
        assert "X-Queue-Invitation" not in request.headers
        assert "invitation" not in request.headers.get("Referer", "")


async def test_invitation_leaves_the_address_by_one_redirect(shop: Shop) -> None:
    ann = shop.gate.visitor()
    response = await shop.follow(ann, shop.invitation("ann"))
    assert response.status == 303
    assert response.headers["Location"] == "/checkout?item=7"
    assert "no-store" in response.headers["Cache-Control"]
    token = shop.gate.token(ann.cookies()[shop.gate.cookie_name])
    assert isinstance(token, Ticket)
    room = shop.gate.room_name
    assert token.visitor == visitor_of("ann", room, key=visitor_key(SECRET))
    assert len(token.device or "") == 8
    page = await ann.request("GET", "/checkout?item=7", headers=HTML)
    assert page.status == 503
    assert "invitation" not in page.text.lower()
    await shop.gate.allow(1)
    await ann.wait_until_admitted()
    admitted = await ann.request("GET", "/checkout?item=7")
    assert admitted.json["visitor"] == token.visitor


async def test_room_by_invitation_keeps_others_out(shop: Shop) -> None:
    """For every request, with a page or JSON, and without a call of the store."""
    bob = shop.gate.visitor()
    page = await bob.request("GET", "/checkout", headers=HTML)
    assert page.status == DENIED
    assert "You need an invitation" in page.text
    assert "Retry-After" not in page.headers
    assert page.headers["X-Gatekeeper-State"] == "none"
    german = await bob.request("GET", "/", headers=HTML | {"Accept-Language": "de"})
    assert "Einladung" in german.text
    for method, headers in (
        ("GET", {}),
        ("POST", {}),
        ("PUT", {}),
        ("DELETE", {}),
        ("HEAD", {}),
        ("GET", {"Sec-Fetch-Dest": "image", "Sec-Fetch-Mode": "no-cors"}),
        ("GET", {"Sec-Purpose": "prefetch"} | HTML),
        ("GET", {"Accept": "text/event-stream"}),
        ("GET", {"X-Queue-Token": "x"}),
        ("GET", {"X_Queue_Invitation": shop.invitation("bob")}),
        ("POST", {"X-Queue-Invitation": shop.invitation("bob")}),
    ):
        response = await bob.request(method, "/checkout", headers=headers)
        assert response.status == DENIED, (method, headers)
    app = await bob.request("POST", "/.gatekeeper/enqueue")
    assert (app.status, app.json["reason"]) == (DENIED, "invitation")
    assert await bob.status() == {"state": "none", "reason": "invitation"}
    assert bob.cookies() == {}
    assert shop.gate.origin.requests == []
    await shop.gate.queue.set_mode(shop.gate.room().view.state.mode)  # type: ignore[union-attr]
    assert shop.gate.room().view.state.arrived_total == 0  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"valid_s": -1}, "invitation_expired"),
        ({"nbf": 2_000_000_000}, "invitation_early"),
        ({"room": "another"}, "invitation_elsewhere"),
        ({"event": "another"}, "invitation_elsewhere"),
        ({"aud": "payments"}, "invitation_elsewhere"),
        ({"lane": "nobody"}, "invitation_invalid"),
        ({"room": None}, "invitation_invalid"),
        ({"padding": "x" * 4000}, "invitation_invalid"),
    ],
)
async def test_wrong_invitation_is_explained_and_gives_no_place(
    shop: Shop, claims: dict[str, Any], reason: str
) -> None:
    """A browser is redirected to a page with the reason; its address does not contain the
    invitation."""
    ann = shop.gate.visitor()
    raw = shop.invitation("ann", **claims)
    first = await ann.request("GET", f"/checkout?item=7&gk_invitation={raw}", headers=HTML)
    assert (first.status, "no-store" in first.headers["Cache-Control"]) == (303, True)
    room = shop.gate.room_name
    assert first.headers["Location"] == f"/.gatekeeper/invitation?reason={reason}&room={room}"
    page = await ann.request("GET", first.headers["Location"], headers=HTML)
    assert page.status == DENIED
    assert DENIALS[reason].heading in page.text
    assert page.headers.getall("Referrer-Policy") == ["no-referrer"]
    assert raw not in page.text
    program = await ann.request("GET", f"/checkout?gk_invitation={raw}")
    assert (program.status, program.json["reason"]) == (DENIED, reason)
    app = await ann.request("GET", "/", headers={"X-Queue-Invitation": raw})
    assert (app.status, app.json["reason"]) == (DENIED, reason)
    assert ann.cookies() == {}


async def test_refused_invitation_page_is_in_the_visitors_language(shop: Shop) -> None:
    """It gives no place, needs no token, and deletes none."""
    ann, path = shop.gate.visitor(), "/.gatekeeper/invitation"
    german = HTML | {"Accept-Language": "de"}
    page = await ann.request("GET", f"{path}?reason=invitation_used", headers=german)
    assert (page.status, "Einladung" in page.text) == (DENIED, True)
    assert page.headers["X-Gatekeeper-State"] == "none"
    await shop.join(ann, "ann")
    held = ann.cookies()
    app = await ann.request("GET", f"{path}?reason=other_device")
    assert (app.status, app.json["reason"]) == (DENIED, "other_device")
    assert ann.cookies() == held
    for query in ("", "?reason=", "?reason=queue_full", "?reason=<b>", "?reason=line&room=default"):
        assert (await ann.request("GET", path + query, headers=HTML)).status == 404
    for room in ("nowhere", "<b>"):
        other = await ann.request("GET", f"{path}?reason=invitation&room={room}")
        assert other.status == 404
    assert (await ann.request("POST", f"{path}?reason=invitation")).status == 405


async def test_forged_and_repeated_invitations_give_no_place(shop: Shop) -> None:
    ann = shop.gate.visitor()
    good, other = shop.invitation("ann"), shop.invitation("bob")
    unsigned = good.rpartition(".")[0] + "."
    for raw in (unsigned + other.rpartition(".")[2], unsigned, "x", "", f"{good}.{good}"):
        assert (await shop.follow(ann, raw)).status == DENIED
    assert (await shop.follow(ann, f"{good}&gk_invitation={other}")).status == DENIED
    headers = [("X-Queue-Invitation", good), ("X-Queue-Invitation", other)]
    assert (await ann.request("GET", "/", headers=headers)).status == DENIED
    assert ann.cookies() == {}
    # The same invitation twice counts once.
    assert (await shop.follow(ann, f"{good}&gk_invitation={good}")).status == 303


async def test_second_device_is_refused_once_the_first_has_claimed(shop: Shop) -> None:
    phone, laptop, bob = (shop.gate.visitor() for _ in range(3))
    first = await shop.join(phone, "ann")
    await shop.join(bob, "bob")
    second = await shop.join(laptop, "ann")
    assert (first["position"], second["position"]) == (1, 1)
    assert second["queue_length"] == 2
    await shop.gate.allow(1)
    await phone.wait_until_admitted()
    assert await laptop.status() == {"state": "none", "reason": "other_device"}
    app = await laptop.request("GET", "/", headers={"Accept": "application/json"})
    assert (app.status, app.json["reason"]) == (DENIED, "other_device")
    page = await shop.follow(laptop, shop.invitation("ann"))
    assert page.status == DENIED
    assert "Your place is on another device" in page.text
    assert laptop.cookies() == {}  # the ticket is deleted
    assert (await laptop.leave()).status == 200  # without effect on the phone
    tablet = shop.gate.visitor()
    page = await shop.follow(tablet, shop.invitation("ann"))
    assert (page.status, "Set-Cookie" in page.headers) == (DENIED, False)
    assert (await phone.request("GET", "/")).status == 200
    assert (await bob.status())["position"] == 1


async def test_invitation_replayed_after_use_gives_no_place(shop: Shop) -> None:
    ann, thief = shop.gate.visitor(), shop.gate.visitor()
    raw = shop.invitation("ann")
    await shop.follow(ann, raw)
    await ann.status()
    await shop.gate.allow(1)
    await ann.wait_until_admitted()
    assert (await shop.follow(thief, raw)).status == DENIED
    assert (await shop.follow(ann, raw)).status == 303  # the link again: still admitted
    await ann.leave()
    for visitor in (thief, ann):
        page = await shop.follow(visitor, raw)
        assert page.status == DENIED
        assert "This invitation was already used" in page.text
        assert visitor.cookies() == {}


async def test_place_that_is_held_outlives_a_wrong_link(shop: Shop) -> None:
    ann = shop.gate.visitor()
    await shop.join(ann, "ann")
    before = ann.cookies()
    for raw in (shop.invitation("ann", valid_s=-1), "x", shop.invitation("ann"), ""):
        response = await shop.follow(ann, raw)
        assert (response.status, response.headers["Location"]) == (303, "/checkout?item=7")
    assert ann.cookies() == before
    assert (await ann.status())["position"] == 1


async def test_app_joins_with_an_invitation(shop: Shop) -> None:
    url = "/.gatekeeper/enqueue"
    ways: list[tuple[str, dict[str, Any]]] = [
        (url, {"json": {"invitation": shop.invitation("app0")}}),
        (url, {"data": {"gk_invitation": shop.invitation("app1")}}),
        (url, {"headers": {"X-Queue-Invitation": shop.invitation("app2")}}),
        (f"{url}?gk_invitation={shop.invitation('app3')}", {}),
    ]
    for at, (path, options) in enumerate(ways):
        app = shop.gate.visitor()
        joined = await app.request("POST", path, **options)
        assert (joined.status, joined.json["state"]) == (201, "waiting"), joined.text
        headers = {"X-Queue-Token": joined.json["token"]}
        status = await app.request("GET", "/.gatekeeper/status", headers=headers)
        assert status.json["position"] == at + 1
    app = shop.gate.visitor()
    bad = await app.request("POST", url, json={"invitation": "x"})
    assert (bad.status, bad.json["reason"]) == (DENIED, "invitation_invalid")
    broken = await app.request("POST", url, data=b"{", headers={"Content-Type": "application/json"})
    assert broken.status == 400


async def test_field_redeems_at_any_address(shop: Shop) -> None:
    ann = shop.gate.visitor()
    headers = {"X-Queue-Invitation": shop.invitation("ann")}
    waiting = await ann.request("GET", "/checkout", headers=headers)
    assert (waiting.status, waiting.json["state"]) == (503, "waiting")
    await shop.gate.allow(1)
    await ann.wait_until_admitted()
    admitted = await ann.request("GET", "/checkout", headers=headers)
    assert admitted.status == 200


async def test_other_methods_keep_method_and_body_place(shop: Shop) -> None:
    """They create no place: only the redirect, then the request without the invitation."""
    ann = shop.gate.visitor()
    path = f"/checkout?gk_invitation={shop.invitation('ann')}"
    for method, status in (("POST", 307), ("PUT", 307), ("HEAD", 303), ("OPTIONS", 307)):
        response = await ann.request(method, path)
        assert (response.status, response.headers["Location"]) == (status, "/checkout")
    assert ann.cookies() == {}


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("//evil.example/x?a=1&", "http://{host}//evil.example/x?a=1"),
        ("/%5Cevil.example?", "/%5Cevil.example"),
        ("/a/../b;c?x=%20&&", "/a/../b;c?x=%20&"),
    ],
)
async def test_redirect_stays_on_the_site(shop: Shop, path: str, location: str) -> None:
    ann = shop.gate.visitor()
    url = URL(f"{shop.gate.url}{path}gk_invitation={shop.invitation('ann')}", encoded=True)
    async with ann.session.get(url, allow_redirects=False, headers=HTML) as response:
        host = urlsplit(shop.gate.url).netloc
        assert response.headers["Location"] == location.format(host=host)


async def test_parameter_is_stripped_where_no_invitation_counts(start_gate: GateStarter) -> None:
    """In a room without invitations, with a pass on a known head, and outside of rooms; in every
    encoding."""
    gate = await start_gate(rate="600/min")
    ann = gate.visitor()
    await ann.get("/")
    await ann.wait_until_admitted()
    for _ in range(3):
        assert (await ann.request("GET", "/page?x=1")).status == 200  # a known head
    for name in ("gk_invitation", "gk%5Finvitation", "%67k_invitation", "GK_invitation"):
        # A default rule bypasses the second.
        for path in ("/page?x=1&", "/robots.txt?x=1&", "/page?&x=&&a=+%20;x=1&%zz&"):
            url = URL(f"{gate.url}{path}{name}=secret&y=%41", encoded=True)
            async with ann.session.get(url, allow_redirects=False) as response:
                assert response.status == 303
                assert response.headers["Location"] == path[:-1] + "&y=%41"
                assert "Set-Cookie" not in response.headers
    assert all("secret" not in request.raw_path for request in gate.origin.requests)


async def test_waiting_room_keeps_the_invitation_until_it_counts(
    start_gate: GateStarter, tmp_path: Path
) -> None:
    """A full line gives no place; its page reloads the same address."""
    gate = await start_gate(rate="0", queue_limit=1, invitation_secret_file=shop_secret(tmp_path))
    shop, ann, bob = Shop(gate), gate.visitor(), gate.visitor()
    await shop.join(ann, "ann")
    raw = shop.invitation("bob")
    await eventually(lambda: gate.room().view.decisive.queue_length == 1)
    page = await shop.follow(bob, raw)
    assert (page.status, bob.cookies()) == (503, {})
    assert 'data-state="queue_full"' in page.text
    assert page.headers.getall("Referrer-Policy") == ["no-referrer"]
    await gate.allow(1)
    await ann.wait_until_admitted()
    await eventually(lambda: gate.room().view.decisive.queue_length == 0)
    assert (await shop.follow(bob, raw)).status == 303


async def test_invited_visitor_is_stamped_without_the_store(
    start_gate: GateStarter, private_store: Any, tmp_path: Path
) -> None:
    gate = await start_gate(
        '[store]\ntimeout = "300ms"\n',
        rate="600/min",
        store_failure_mode="open",
        access="invited",
        invitation_secret_file=shop_secret(tmp_path),
    )
    shop, ann, bob = Shop(gate), gate.visitor(), gate.visitor()
    private_store.pause()
    await eventually(lambda: not gate.room().view.store_up)
    assert (await shop.follow(ann, shop.invitation("ann"))).status == 303
    assert (await ann.status())["state"] == "waiting"
    assert (await bob.request("GET", "/")).status == DENIED
    phone = gate.visitor()
    assert (await shop.follow(phone, shop.invitation("ann"))).status == 303
    # Only the store knows whether the other device holds the place.
    assert (await phone.leave()).status == 503
    assert (await ann.status())["state"] == "waiting"
    private_store.resume()
    await eventually(lambda: gate.room().view.store_up)
    await ann.wait_until_admitted()
