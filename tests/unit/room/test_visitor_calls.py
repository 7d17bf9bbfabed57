"""The calls of a replica about one visitor."""

from __future__ import annotations

from dataclasses import replace

from gatekeeper.config.types import RoomName
from gatekeeper.policy.lanes import Lane
from gatekeeper.policy.tokens import Ticket, VisitorId
from gatekeeper.room.visitor_calls import PollRequest, poll_arguments, poll_of

ANN, BOB = VisitorId("A" * 22), VisitorId("B" * 22)


def ticket(*, lane: str = "", device: str | None = None) -> Ticket:
    return Ticket(RoomName("shop"), ANN, 7, 1.0, 2.0, lane=lane, device=device)


def test_poll_keeps_the_arrival_with_and_without_a_lane() -> None:
    for each in (ticket(), ticket(lane="fan"), ticket(device="d" * 8)):
        request = poll_of(each, 3, connected=True)
        assert (request.turn_us, request.arrival_us) == (3, 7)
        assert (request.lane, request.device) == (each.lane, each.device)
        assert request.letter == "c"


def test_batch_of_plain_tickets_has_no_lanes_and_no_devices() -> None:
    batch = [PollRequest(ANN, 5, has_pass=False), PollRequest(BOB, 6, has_pass=False)]
    turns = "0000000000000005" + "0000000000000006"
    assert poll_arguments(batch, ticket_life_s=1) == ["tt", turns, "", ANN, BOB]


def test_one_special_visitor_gives_the_whole_batch_its_words() -> None:
    plain, turns = PollRequest(ANN, 5, has_pass=False), "0000000000000005" * 2
    for special, expected in (
        (replace(plain, has_pass=True), ["te", turns, "", ANN, ANN]),
        (replace(plain, by_proxy=True), ["ts", turns, "", ANN, ANN]),
        (replace(plain, connected=True), ["tc", turns, "", ANN, ANN]),
        (replace(plain, lane="fan", arrival_us=4), ["tt", turns, "-/ fan/4/0", ANN, ANN]),
        (replace(plain, device="d"), ["tt", turns, "", ANN, ANN, "1000000", "2", "d", "0", "0"]),
        (
            replace(plain, device="d", invited_until_us=7, moved_us=8),
            ["tt", turns, "", ANN, ANN, "1000000", "2", "d", "7", "8"],
        ),
    ):
        assert poll_arguments([plain, special], ticket_life_s=1) == expected


def test_lanes_have_the_numbers_of_the_room() -> None:
    lanes = (Lane("fan", 1), Lane("vip", 2))
    batch = [
        PollRequest(ANN, 5, has_pass=False, lane=lane, arrival_us=4, confirmed=lane != "vip")
        for lane in ("vip", "", "fan", "gone")
    ]
    words = poll_arguments(batch, ticket_life_s=1, lanes=lanes)[2]
    assert words == "vip:4/2 -/ fan/4/1 gone/4/0"
