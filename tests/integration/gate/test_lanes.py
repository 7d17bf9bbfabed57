"""Lanes over HTTP: a head start for invited visitors, never before a released turn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt
import pytest

from gatekeeper import metrics
from gatekeeper.policy.draw_record import parse_record
from gatekeeper.policy.draw_verification import DrawVerification
from gatekeeper.policy.planned_events import SigningKeys
from gatekeeper.policy.schedule import Event, Schedule
from gatekeeper.policy.tokens import Ticket, VisitorId
from tests.builders import SECRET
from tests.gates import HTML, Gate, GateStarter
from tests.gates.http_visitor import Visitor
from tests.servers import StoreServer, eventually

SHOP = b"the shop's own secret, of 40 bytes or so"
HEAD_START_US = 15 * 60 * 1_000_000


class Club:
    """A gate with a room with two lanes, and the shop that invites into them."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    @classmethod
    async def open(cls, start_gate: GateStarter, folder: Path, *, more: str = "") -> Club:
        secret = folder / "shop"
        secret.write_bytes(SHOP)
        name = start_gate._room_name
        rooms = (
            f'[[room]]\nname = "{name}"\nrate = 0\ninvitation_secret_file = "{secret}"\n'
            f'[[lane]]\nname = "members"\nroom = "{name}"\nhead_start = "15m"\n'
            f'[[lane]]\nname = "friends"\nroom = "{name}"\nhead_start = "1m"\n{more}'
        )
        return cls(await start_gate(rooms=rooms))

    def invitation(self, sub: str, lane: str | None, **claims: Any) -> str:
        found = {"sub": sub, "room": self.gate.room_name, "exp": self.gate.now_s() + 600} | claims
        return jwt.encode(found | ({"lane": lane} if lane else {}), SHOP)

    async def arrive(self, sub: str, lane: str | None = "members") -> Visitor:
        visitor = self.gate.visitor()
        headers = HTML | {"X-Queue-Invitation": self.invitation(sub, lane)}
        response = await visitor.request("GET", "/", headers=headers)
        assert response.status == 503
        return visitor

    def ticket(self, visitor: Visitor) -> Ticket:
        token = self.gate.token(visitor.cookies()[self.gate.cookie_name])
        assert isinstance(token, Ticket)
        return token


async def test_member_overtakes_those_in_line_and_nobody_released(
    start_gate: GateStarter, tmp_path: Path
) -> None:
    club = await Club.open(start_gate, tmp_path)
    gate = club.gate
    ann, bob, cat = (gate.visitor() for _ in range(3))
    for visitor in (ann, bob, cat):
        await visitor.join()
    await gate.allow(1)
    watermark_us = gate.room().view.decisive.watermark_us
    assert watermark_us == club.ticket(ann).arrival_us
    member = await club.arrive("mia")
    ticket = club.ticket(member)
    assert (ticket.lane, ticket.confirmed) == ("members", False)
    assert ticket.own_turn_us == watermark_us + 1
    found = await member.status()
    assert (found["position"], found["lane"], found["queue_length"]) == (1, "members", 3)
    assert club.ticket(member).confirmed
    await ann.wait_until_admitted()
    assert [(await each.status())["position"] for each in (bob, cat)] == [2, 3]
    assert "lane" not in await bob.status()
    await gate.allow(1)
    await member.wait_until_admitted()
    assert (await bob.status())["position"] == 1


async def test_lanes_stand_apart_and_the_page_names_them(
    start_gate: GateStarter, tmp_path: Path
) -> None:
    club = await Club.open(start_gate, tmp_path)
    ann = club.gate.visitor()
    await ann.join()
    friend, member = await club.arrive("fay", "friends"), await club.arrive("mia")
    for visitor in (friend, member):
        await visitor.status()
    positions = [(await each.status())["position"] for each in (member, friend, ann)]
    assert positions == [1, 2, 3]
    assert await club.gate.queue.count_lanes() == {"members": 1, "friends": 1}
    ticket = club.ticket(member)
    assert ticket.own_turn_us == ticket.arrival_us - HEAD_START_US
    page = await member.request("GET", "/", headers=HTML)
    assert "You are in line with: <strong" in page.text.replace("\n", "")
    assert ">members</strong>" in page.text
    german = await friend.request("GET", "/", headers=HTML | {"Accept-Language": "de"})
    assert "Sie warten zusammen mit:" in german.text
    assert ">friends</strong>" in german.text
    assert 'id="lane"' not in (await ann.request("GET", "/", headers=HTML)).text


@pytest.mark.parametrize("lane", ["nobody", "Members", "", 7, ["members"]])
async def test_no_lane_without_an_invitation_for_it(
    lane: object, start_gate: GateStarter, tmp_path: Path
) -> None:
    """Neither a lane that the room does not have, nor a lane that the client names."""
    club = await Club.open(start_gate, tmp_path)
    visitor = club.gate.visitor()
    sent = jwt.encode(
        {"sub": "eve", "room": club.gate.room_name, "exp": club.gate.now_s() + 60, "lane": lane},
        SHOP,
    )
    refused = await visitor.request(
        "GET", "/", headers=HTML | {"X-Queue-Invitation": sent, "Accept": "application/json"}
    )
    assert refused.json["reason"] == "invitation_invalid"
    await visitor.request(
        "GET", "/?lane=members&gk_lane=members", headers=HTML | {"lane": "members"}
    )
    assert club.ticket(visitor).lane == ""
    guest = await club.arrive("guest", None)
    assert (club.ticket(guest).lane, club.ticket(guest).own_turn_us) == ("", None)


async def test_wait_of_a_lane_is_counted(start_gate: GateStarter, tmp_path: Path) -> None:
    club = await Club.open(start_gate, tmp_path)
    member = await club.arrive("mia")
    await member.status()
    await club.gate.allow(1)
    await member.wait_until_admitted()
    series = metrics.lane_waits.series(club.gate.room_name, "members")
    assert sum(series.counts) == 1
    declared = {
        sample.labels["lane"]
        for metric in metrics.lane_waits._buckets.collect()
        for sample in metric.samples
        if sample.labels["room"] == club.gate.room_name and sample.labels["le"] == "inf"
    }
    assert declared == {"members", "friends"}


async def test_member_keeps_the_head_start_without_the_store(
    private_store: StoreServer, start_gate: GateStarter, tmp_path: Path
) -> None:
    start_gate._store_url = private_store.url
    club = await Club.open(start_gate, tmp_path)
    gate = club.gate
    ann = gate.visitor()
    await ann.join()
    private_store.pause()
    await eventually(lambda: not gate.room().view.store_up)
    member = await club.arrive("mia")
    ticket = club.ticket(member)
    assert ticket.own_turn_us == ticket.arrival_us - HEAD_START_US
    assert not ticket.confirmed
    found = await member.status()
    assert (found["state"], found["reason"], found["lane"]) == (
        "waiting",
        "reconnecting",
        "members",
    )
    private_store.resume()
    await eventually(lambda: gate.room().view.store_up)
    assert (await member.status())["position"] == 1
    assert (await ann.status())["position"] == 2


async def test_draw_keeps_the_lane_apart_and_is_verified(
    start_gate: GateStarter, tmp_path: Path
) -> None:
    club = await Club.open(start_gate, tmp_path)
    gate = club.gate
    await open_draw(gate)
    others = [gate.visitor() for _ in range(4)]
    for visitor in others:
        await visitor.join()
    members = [await club.arrive(f"m{number}") for number in range(3)]
    for visitor in members:
        assert (await visitor.status())["lane"] == "members"
    await start_draw(gate)
    places = {}
    for visitor in (*members, *others):
        found = await visitor.status()
        places[found["position"]] = found["draw"]
        found_by = verified(
            await visitor.request("GET", "/.gatekeeper/draw/sale"),
            await visitor.request("GET", "/.gatekeeper/draw/sale/participants"),
            visitor=club.ticket(visitor).visitor,
            turn_us=found["draw"]["turn"],
        )
        place = found_by.place()
        assert found_by.problems() == []
        assert place is not None
        assert (place.place, place.id_hash) == (found["position"], found["draw"]["id_hash"])
        assert (place.lane == "members") is (visitor in members)
    assert sorted(places) == list(range(1, 8))
    listed = (await members[0].request("GET", "/.gatekeeper/draw/sale/participants")).text
    assert listed.count(" members\n") == 3
    assert [places[n]["turn"] for n in range(1, 8)] == sorted(e["turn"] for e in places.values())
    assert [(await visitor.status())["position"] in {1, 2, 3} for visitor in members] == [True] * 3


async def open_draw(gate: Gate) -> None:
    """Open a sale during its prequeue."""
    queue = gate.room().queue
    state = await queue.read_state()
    event = Event(
        "sale",
        start_us=state.now_us + 600_000_000,
        announced_us=state.now_us,
        prequeue_us=state.now_us - 1_000_000,
    )
    event = SigningKeys((SECRET,)).committed(event, room=gate.room_name)
    assert await queue.change_events(state.schedule, Schedule.of([event])) is not None


async def start_draw(gate: Gate) -> None:
    queue = gate.room().queue
    state = await queue.read_state()
    [event] = state.schedule.events
    changed = replace(event, start_us=max(state.now_us, state.last_arrival_us + 1))
    after = state.schedule.with_event(changed)
    assert await queue.change_events(state.schedule, after) is not None

    def is_drawn() -> bool:
        known = gate.room().view.state
        return (
            known is not None and known.schedule.events[0].drawn is not None and not known.undrawn
        )

    await eventually(is_drawn)


def verified(
    record: Any, participants: Any, *, visitor: VisitorId, turn_us: int
) -> DrawVerification:
    verification = DrawVerification(parse_record(record.json), visitor=visitor, turn_us=turn_us)
    for line in participants.text.splitlines():
        verification.line(line)
    return verification
