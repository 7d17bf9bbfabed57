"""A head is stored if its route depends only on facts in the key, and found by its key."""

import pytest

from gatekeeper.config.types import RoomName
from gatekeeper.policy.facts import Client, Fact, FactSet, RequestFacts
from gatekeeper.policy.routing import InRoom
from gatekeeper.web.fastpath.head_cache import HeadCache, HeadEntry
from gatekeeper.web.message import GateResponse, Headers
from tests.unit.web.fastpath.lookup_scene import GATES, ONE_ROOM, PEER, exit_of, head, lookup

HEAD = head("/")
A_NEW_FACT = 1 << 20  # of a later release


def entry(*, reads: FactSet = Fact.NONE, keep_alive: bool = True, cors: Headers = ()) -> HeadEntry:
    room = RoomName("default")
    return HeadEntry(
        facts=RequestFacts(Client("192.0.2.7", "http", "shop.example"), "GET", "/"),
        route=InRoom(room, reads=reads),
        gate=GATES[room],
        keep_alive=keep_alive,
        is_status=False,
        creates_place=True,
        cors=cors,
    )


@pytest.mark.parametrize(
    ("reads", "is_kept"),
    [
        (Fact.NONE, True),
        (Fact.SCHEME | Fact.HOST | Fact.METHOD | Fact.TARGET | Fact.FIELDS, True),
        (Fact.CLIENT, False),
        (Fact.COOKIES, False),
        (Fact.TARGET | Fact.COOKIES, False),
        (A_NEW_FACT, False),
    ],
)
def test_head_is_kept_if_the_key_holds_all_facts_of_its_route(
    reads: FactSet, *, is_kept: bool
) -> None:
    heads = HeadCache()
    heads.keep(HEAD, entry(reads=reads), cookie=None, trusted=False)
    assert (heads.recall(HEAD, trusted=False) is not None) is is_kept


@pytest.mark.parametrize("keep_alive", [True, False])
@pytest.mark.parametrize("closes", [True, False])
def test_response_follows_the_head_of_its_request(*, keep_alive: bool, closes: bool) -> None:
    cors = (("Access-Control-Allow-Origin", "https://a.example"), ("Vary", "Origin"))
    own = (("X-Gatekeeper-State", "waiting"),)
    response = GateResponse(200, own, b"x", close=closes)
    completed = entry(keep_alive=keep_alive, cors=cors).completed(response)
    assert completed == GateResponse(200, (*cors, *own), b"x", close=closes or not keep_alive)


@pytest.mark.parametrize(
    ("name", "is_kept"), [("Cookie", True), ("cookie", True), ("COOKIE", False)]
)
def test_head_is_kept_if_its_cookie_is_cut_out(name: str, is_kept: bool) -> None:
    looked = lookup(ONE_ROOM)
    for value in ("a=1", "a=2"):
        data = head("/", "X-Forwarded-For: 192.0.2.1", f"{name}: {value}")
        assert exit_of(looked, data, PEER).way == "respond_page"
    assert (looked._heads.recall(data, trusted=False) is not None) is is_kept
    assert looked._heads.recall(data, trusted=True) is None


@pytest.mark.parametrize(
    "field",
    ["X-Forwarded-For: 192.0.2.2", "x-forwarded-for: 192.0.2.2, 192.0.2.3", "Accept: a/b"],
)
def test_poll_is_recalled_if_its_head_is_known(field: str) -> None:
    looked = lookup(ONE_ROOM)
    status = "/.gatekeeper/status?room=default"
    spelled = field.partition(":")[0]
    first = head(status, f"{spelled}: 192.0.2.1", "Cookie: a=1")
    assert looked.recall(first, PEER) is None
    assert exit_of(looked, first, PEER).way == "respond_status"
    known = spelled != "Accept"  # its value is a part of the key
    again = head(status, field, "Cookie: a=2; b=3")
    assert (looked.recall(again, PEER) is not None) is known
    assert looked.recall(again + b"x", PEER) is None
    assert looked.recall(again + again, PEER) is None
    assert looked.recall(again[:-2], PEER) is None
