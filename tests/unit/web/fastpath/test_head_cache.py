"""A head is kept if its route depended on nothing that the key leaves out, and known by its key."""

import pytest

from gatekeeper.config.types import RoomName
from gatekeeper.policy.facts import Client, Fact, FactSet, RequestFacts
from gatekeeper.policy.routing import InRoom
from gatekeeper.web.fastpath.exchanges import StatusExchange
from gatekeeper.web.fastpath.head_cache import HeadCache, HeadEntry
from tests.unit.web.fastpath.lookup_scene import GATES, ONE_ROOM, PEER, exit_of, head, lookup

HEAD = head("/")
A_NEW_FACT = 1 << 20  # of a later release


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
    room = RoomName("default")
    entry = HeadEntry(
        facts=RequestFacts(Client("192.0.2.7", "http", "shop.example"), "GET", "/"),
        route=InRoom(room, reads=reads),
        gate=GATES[room],
        keep_alive=True,
        is_status=False,
        creates_place=True,
    )
    heads = HeadCache()
    heads.keep(HEAD, entry, cookie=None, trusted=False)
    assert (heads.recall(HEAD, trusted=False) is not None) is is_kept


@pytest.mark.parametrize(
    ("name", "is_kept"), [("Cookie", True), ("cookie", True), ("COOKIE", False)]
)
def test_head_is_kept_if_its_cookie_is_cut_out(name: str, is_kept: bool) -> None:
    looked = lookup(ONE_ROOM)
    for value in ("a=1", "a=2"):
        data = head("/", "X-Forwarded-For: 192.0.2.1", f"{name}: {value}")
        assert exit_of(looked, data, PEER).way == "PageExchange"
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
    assert exit_of(looked, first, PEER).way == "StatusExchange"
    known = spelled != "Accept"  # its value is a part of what is known
    again = head(status, field, "Cookie: a=2; b=3")
    assert isinstance(looked.recall(again, PEER), StatusExchange) is known
    assert looked.recall(again + b"x", PEER) is None
    assert looked.recall(again + again, PEER) is None
    assert looked.recall(again[:-2], PEER) is None
