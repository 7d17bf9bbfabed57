"""A place moves to another device over HTTP: once, to one browser, and never a copy."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from redis.asyncio import Redis

from gatekeeper.config.types import RoomName
from gatekeeper.errors import StoreError
from gatekeeper.policy.move_code import CODE_LIFE_S
from gatekeeper.policy.tokens import Pass, Ticket
from gatekeeper.room.store import room_keys
from tests.builders import room_toml
from tests.gates import HTML, Gate, GateStarter
from tests.gates.http_visitor import Response, Visitor
from tests.servers import eventually

MOVE = "/.gatekeeper/move"
OTHER_DEVICE = {"state": "none", "reason": "other_device"}


@pytest.fixture
async def gate(start_gate: GateStarter) -> Gate:
    """A gate that admits only by `allow`."""
    return await start_gate(rate="0")


async def offer(visitor: Visitor, **options: Any) -> str:
    """The target of the link for the other device."""
    response = await visitor.request("POST", MOVE, **options)
    assert response.status == 200, response.text
    link = urlsplit(response.json["link"])
    return f"{link.path}?{link.query}"


async def take_over(visitor: Visitor, target: str, **options: Any) -> Response:
    """Open the link, and press the button."""
    page = await visitor.request("GET", target, headers=HTML)
    assert "Continue on this device?" in page.text
    return await visitor.request("POST", target, headers=HTML | options.pop("headers", {}))


def ticket_of(gate: Gate, visitor: Visitor) -> Ticket:
    token = gate.token(visitor.cookies()[gate.cookie_name])
    assert isinstance(token, Ticket)
    return token


def assert_refused(response: Response, *, text: str = "This link does not work any more") -> None:
    assert response.status == 403
    assert text in response.text
    assert "Set-Cookie" not in response.headers


async def test_place_moves_and_the_old_browser_shows_it(gate: Gate) -> None:
    first, laptop, phone = gate.visitor(), gate.visitor(), gate.visitor()
    await first.join()
    await laptop.join()
    old = ticket_of(gate, laptop)
    response = await laptop.request("POST", f"{MOVE}?return=/checkout%3Fitem%3D7%26a%3Db")
    assert response.json["expires_in"] == CODE_LIFE_S
    assert response.headers["Cache-Control"] == "no-store"
    assert set(response.json["qr"]) == {"size", "path"}
    link = response.json["link"]
    assert link.startswith(gate.url + "/.gatekeeper/continue?")
    target = link.removeprefix(gate.url)
    for method in ("GET", "HEAD", "GET"):  # as for a preview of the link
        preview = await gate.visitor().request(method, target, headers=HTML)
        assert preview.status == 200
        assert preview.headers["Referrer-Policy"] == "no-referrer"
    assert (await laptop.status())["position"] == 2
    moved = await take_over(phone, target)
    assert (moved.status, moved.headers["Location"]) == (303, "/checkout?item=7&a=b")
    new = ticket_of(gate, phone)
    assert new.moved_us > old.arrival_us
    assert replace(new, device=None, moved_us=0, issued_at_s=0, expires_at_s=0) == replace(
        old, issued_at_s=0, expires_at_s=0
    )
    assert (await phone.status())["position"] == 2
    assert ticket_of(gate, phone).moved_us == new.moved_us
    for _ in range(2):
        assert await laptop.status() == OTHER_DEVICE
    assert (await laptop.request("POST", MOVE)).status == 403
    assert (await phone.status())["queue_length"] == 2
    page = await laptop.request("GET", "/", headers=HTML)
    assert page.status == 403
    assert "Your place is on another device" in page.text
    await gate.allow(2)
    await first.wait_until_admitted()
    await phone.wait_until_admitted()
    assert (await gate.queue.read_state()).active == 2


async def test_code_is_worth_one_browser(gate: Gate) -> None:
    """Used by several browsers at once, and again by others and by the one that made it."""
    laptop = gate.visitor()
    await laptop.join()
    target = await offer(laptop)
    other_code = await offer(laptop)
    browsers = [gate.visitor() for _ in range(4)]
    responses = await asyncio.gather(*(take_over(each, target) for each in browsers))
    assert sorted(each.status for each in responses) == [303, 403, 403, 403]
    winner = browsers[[each.status for each in responses].index(303)]
    for each in browsers:
        if each is not winner:
            assert gate.cookie_name not in each.cookies()
    for replayed in (target, other_code):
        assert_refused(await take_over(gate.visitor(), replayed))
        bare = await gate.visitor().request("POST", replayed)  # without the page and its cookie
        assert (bare.status, bare.json["reason"]) == (403, "link_invalid")
    stolen = gate.visitor()
    stolen.set_cookie("gatekeeper-continue", "A" * 22)
    assert (await stolen.request("POST", target)).status == 403
    assert (await winner.status())["position"] == 1
    again = await take_over(laptop, target)  # it continues with its token
    assert again.status == 303
    assert await laptop.status() == OTHER_DEVICE
    assert (await gate.queue.read_state()).queue_length == 1


async def test_lost_response_is_asked_for_again(gate: Gate) -> None:
    """The same browser, known by the number of the page, with and without the new cookie."""
    laptop, phone = gate.visitor(), gate.visitor()
    await laptop.join()
    target = await offer(laptop)
    await take_over(phone, target)
    device = ticket_of(gate, phone).device
    phone.session.cookie_jar.clear(lambda cookie: cookie.key == gate.cookie_name)
    assert (await phone.request("POST", target, headers=HTML)).status == 303
    assert ticket_of(gate, phone).device == device
    assert (await phone.request("POST", target, headers=HTML)).status == 303
    assert (await phone.status())["position"] == 1
    await gate.allow(1)
    await phone.wait_until_admitted()
    assert isinstance(gate.token(phone.cookies()[gate.cookie_name]), Pass)
    # After admission it continues with its pass; without the pass no browser gets another.
    assert (await phone.request("POST", target, headers=HTML)).status == 303
    phone.session.cookie_jar.clear(lambda cookie: cookie.key == gate.cookie_name)
    assert_refused(await phone.request("POST", target, headers=HTML))


async def test_place_moves_on_and_back(gate: Gate) -> None:
    laptop, phone = gate.visitor(), gate.visitor()
    await laptop.join()
    there = await offer(laptop)
    await take_over(phone, there)
    back = await offer(phone)
    assert (await take_over(laptop, back)).status == 303
    assert (await laptop.status())["position"] == 1
    assert await phone.status() == OTHER_DEVICE
    for used in (there, back):
        assert_refused(await take_over(gate.visitor(), used))


async def test_tampered_code_opens_nothing(gate: Gate) -> None:
    laptop, phone = gate.visitor(), gate.visitor()
    await laptop.join()
    target = await offer(laptop)
    path, _, query = target.partition("?")
    code = parse_qs(query)["code"][0]
    head, payload, signature = code.split(".")
    ticket = laptop.cookies()[gate.cookie_name]
    for bad in (
        "",
        code[:-1],
        code + "A",
        f"{head}.{payload}.",
        f"{head}.{payload[:-4]}AAAA.{signature}",
        f"eyJhbGciOiJub25lIn0.{payload}.{signature}",
        ticket,
        "x" * 5000,
        "%00",
        "%C3%A9",
    ):
        for method in ("GET", "POST"):
            room = f"room={gate.room_name}"
            response = await phone.request(method, f"{path}?{room}&code={bad}", headers=HTML)
            assert_refused(response)
    # And a code is no ticket, in a cookie or a header.
    phone.set_cookie(gate.cookie_name, code)
    assert await phone.status() == {"state": "none"}
    by_header = await gate.visitor().request(
        "GET", "/.gatekeeper/status", headers={"X-Queue-Token": code}
    )
    assert by_header.json == {"state": "none"}
    assert (await laptop.status())["position"] == 1


async def test_requests_of_other_sites_move_nothing(gate: Gate) -> None:
    laptop, phone = gate.visitor(), gate.visitor()
    await laptop.join()
    target = await offer(laptop)
    for headers in (
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Referer": "https://evil.example/"},
    ):
        assert (await laptop.request("POST", MOVE, headers=headers)).status == 403
        await phone.request("GET", target, headers=HTML | {"Sec-Fetch-Site": "cross-site"})
        assert (await phone.request("POST", target, headers=HTML | headers)).status == 403
    assert gate.cookie_name not in phone.cookies()
    assert (await take_over(phone, target, headers={"Sec-Fetch-Site": "same-origin"})).status == 303


async def test_only_a_place_in_line_is_offered(gate: Gate) -> None:
    """Not with a pass, not without a token, and not by GET."""
    nobody, laptop = gate.visitor(), gate.visitor()
    assert (await nobody.request("POST", MOVE)).status == 403
    assert (await nobody.request("GET", MOVE)).status == 405
    await laptop.join()
    target = await offer(laptop)
    await gate.allow(1)
    await laptop.wait_until_admitted()
    assert (await laptop.request("POST", MOVE)).status == 403
    assert_refused(await take_over(gate.visitor(), target))


async def test_place_that_was_left_is_not_moved(gate: Gate) -> None:
    laptop = gate.visitor()
    await laptop.join()
    target = await offer(laptop)
    await laptop.leave()
    assert_refused(await take_over(gate.visitor(), target))
    assert (await gate.queue.read_state()).queue_length == 0


async def test_earlier_place_of_a_browser_is_kept(gate: Gate) -> None:
    """A link of another person cannot cost an earlier place; a later place is given up."""
    early, middle, late = gate.visitor(), gate.visitor(), gate.visitor()
    for each in (early, middle, late):
        await each.join()
    target = await offer(middle)
    kept = await take_over(early, target)
    assert_refused(kept, text="This browser has an earlier place")
    assert (await take_over(late, target)).status == 303
    assert [(await each.status())["position"] for each in (early, late)] == [1, 2]
    assert await middle.status() == OTHER_DEVICE


async def test_admitted_browser_keeps_its_pass(gate: Gate) -> None:
    phone, laptop = gate.visitor(), gate.visitor()
    await phone.join()
    await gate.allow(1)
    await phone.wait_until_admitted()
    await laptop.join()
    target = await offer(laptop)
    before = phone.cookies()[gate.cookie_name]
    assert (await take_over(phone, target)).status == 303
    assert phone.cookies()[gate.cookie_name] == before
    assert (await laptop.status())["position"] == 1


async def test_code_of_one_room_opens_no_other(
    start_gate: GateStarter, room_name: RoomName
) -> None:
    other_room = f"{room_name}-b"
    own, another = room_toml(room_name, rate="0"), room_toml(other_room, path="/b/", rate="0")
    gate = await start_gate(rooms=own + another)
    laptop = gate.visitor()
    await laptop.join()
    target = await offer(laptop)
    other = target.replace(f"room={gate.room_name}", f"room={other_room}")
    assert other != target
    for method in ("GET", "POST"):
        assert_refused(await gate.visitor().request(method, other, headers=HTML))


async def test_unreachable_store_loses_nothing(gate: Gate) -> None:
    """Both devices are asked to retry, and the same code works afterwards."""
    laptop, phone = gate.visitor(), gate.visitor()
    await laptop.join()
    target = await offer(laptop)
    room = gate.room()

    async def fail(_request: object) -> None:
        raise StoreError("the store did not respond")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room.queue, "move", fail)
        patch.setattr(room.queue, "poll", fail)
        failed = await take_over(phone, target)
        offered = await laptop.request("POST", MOVE)
    await eventually(lambda: room.view.store_up)
    assert (failed.status, offered.status) == (503, 503)
    assert "Your place is kept" in failed.text
    assert "Continue here" in failed.text
    assert failed.headers["Retry-After"]
    assert gate.cookie_name not in phone.cookies()
    assert (await take_over(phone, target)).status == 303
    assert (await phone.status())["position"] == 1


async def test_loss_of_the_store_moves_nothing_again(gate: Gate, store_url: str) -> None:
    """A used code stays used, and the old browser shows the move as soon as the new one has
    polled."""
    laptop, phone = gate.visitor(), gate.visitor()
    await laptop.join()
    target = await offer(laptop)
    await take_over(phone, target)
    async with Redis.from_url(store_url) as store:
        await store.delete(*room_keys(gate.room_name))
    assert_refused(await take_over(gate.visitor(), target))
    assert (await laptop.status())["state"] == "waiting"  # the move is not known yet
    assert (await phone.status())["position"] == 1
    assert await laptop.status() == OTHER_DEVICE
    assert_refused(await take_over(gate.visitor(), target))
    assert (await take_over(laptop, await offer(phone))).status == 303
    assert await phone.status() == OTHER_DEVICE


async def test_page_without_script_shows_link_and_code(gate: Gate) -> None:
    laptop = gate.visitor()
    await laptop.join()
    page = await laptop.request("POST", MOVE, headers=HTML)
    assert page.status == 200
    assert 'href="' + gate.url + "/.gatekeeper/continue?" in page.text
    assert "<svg" in page.text
    assert page.headers["Referrer-Policy"] == "no-referrer"
    german = await laptop.request("POST", MOVE, headers=HTML | {"Accept-Language": "de"})
    assert "Auf einem anderen Gerät weitermachen" in german.text


async def test_link_returns_to_this_site_alone(gate: Gate) -> None:
    laptop = gate.visitor()
    await laptop.join()
    for bad in ("//evil.example/", "https://evil.example/", "/\\evil.example", "/" + "x" * 300):
        target = await offer(laptop, params={"return": bad})
        assert "return" not in parse_qs(target.partition("?")[2])
    for page, known in (
        (f"{gate.url}/checkout?item=7#top", ["/checkout?item=7"]),
        (f"{gate.url}/.gatekeeper/wait?for=/", None),
        (f"{gate.url}//evil.example/", None),
        (gate.url, None),
    ):
        target = await offer(laptop, headers={"Referer": page})
        assert parse_qs(target.partition("?")[2]).get("return") == known, page
    target = await offer(laptop)
    forged = f"{target}&return=//evil.example/"
    moved = await take_over(gate.visitor(), forged)
    assert (moved.status, moved.headers["Location"]) == (303, "/")
