"""A head is kept only if its route depended on nothing that the key leaves out."""

import pytest

from gatekeeper.config.types import RoomName
from gatekeeper.policy.facts import Client, Fact, FactSet, RequestFacts
from gatekeeper.policy.routing import InRoom
from gatekeeper.web.fastpath.head_cache import HeadCache, HeadEntry
from tests.unit.web.fastpath.lookup_scene import GATES, head

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
    heads.keep(HEAD, entry, trusted=False)
    assert (heads.recall(HEAD, trusted=False) is not None) is is_kept
