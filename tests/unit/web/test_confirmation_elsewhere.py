"""The pass of a visitor who was admitted at once is confirmed by any later request with it."""

from dataclasses import dataclass, field, replace
from typing import cast

import pytest

from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.policy.facts import Client, RequestFacts
from gatekeeper.policy.routing import InRoom, Router, Ungated
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.tokens import Keyring, Pass, Tokens
from gatekeeper.room.replica import RoomReplica
from gatekeeper.room.view import ReplicaView
from gatekeeper.web.admission import Admission
from gatekeeper.web.credentials import CookiePolicy, Credentials
from gatekeeper.web.pipeline import Pipeline
from gatekeeper.web.room_gate import RoomGate
from tests.builders import SECRET, make_pass, make_ticket, sign_token

DEFAULT, CHECKOUT, TICKETS = map(RoomName, ("default", "checkout", "tickets"))
CONFIGS = {
    CHECKOUT: RoomConfig(name=CHECKOUT, path=("/checkout/",)),
    TICKETS: RoomConfig(name=TICKETS, path=("/tickets/",)),
}


@dataclass
class FakeRoom:
    """A room that records which visitors were touched."""

    rules: Rules
    view: ReplicaView = field(default_factory=ReplicaView)
    touched: list[Pass] = field(default_factory=list)

    def touch_soon(self, pass_: Pass) -> None:
        self.touched.append(pass_)


@dataclass
class Site:
    """Two rooms, and paths outside of them."""

    rooms: dict[RoomName, FakeRoom]
    pipeline: Pipeline

    def request(self, path: str, *cookies: str, scheme: str = "http", method: str = "GET") -> None:
        facts = RequestFacts(Client("", scheme, "shop"), method, path, cookies=cookies)
        visit = self.pipeline.visit(facts)
        assert isinstance(visit.route, InRoom if path != "/login" else Ungated)

    def pass_(self, *, ago_s: float = 1, expires_in_s: float = 19, confirmed: bool = False) -> Pass:
        now_s = self.rooms[CHECKOUT].view.now_s()
        return make_pass(
            CHECKOUT, now_s=now_s, ago_s=ago_s, expires_in_s=expires_in_s, confirmed=confirmed
        )

    @property
    def touched(self) -> list[Pass]:
        return self.rooms[CHECKOUT].touched


@pytest.fixture
def site() -> Site:
    rooms = {name: FakeRoom(Rules.of(config)) for name, config in CONFIGS.items()}
    gates = {
        name: RoomGate(
            Admission(cast(RoomReplica, room), CONFIGS[name]),
            Credentials(
                Tokens(Keyring([SECRET]), name),
                cookie="gatekeeper",
                room=name,
                policy=CookiePolicy(),
            ),
        )
        for name, room in rooms.items()
    }
    return Site(rooms, Pipeline(Router(CONFIGS.values()), gates))


def cookie(pass_: Pass, *, prefix: str = "") -> str:
    return f"{prefix}gatekeeper-checkout={sign_token(pass_)}"


@pytest.mark.parametrize("path", ["/login", "/tickets/"])
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
@pytest.mark.parametrize("before", ["", "a=1; ", "gatekeeper=x; gatekeeper-other=y;"])
def test_request_out_of_the_room_confirms_its_pass(
    path: str, method: str, before: str, site: Site
) -> None:
    """As after a redirect from the checkout to a sign-in."""
    held = site.pass_()
    site.request(path, before + cookie(held), method=method)
    assert [each.visitor for each in site.touched] == [held.visitor]
    assert site.touched[0].expires_at_s > held.expires_at_s
    assert site.touched[0].ends_at_s == pytest.approx(held.ends_at_s, abs=0.01)
    assert not site.rooms[TICKETS].touched


def test_cookie_behind_tls_confirms_too(site: Site) -> None:
    site.request("/login", cookie(site.pass_(), prefix="__Host-"), scheme="https")
    assert len(site.touched) == 1


def test_pass_is_confirmed_once_for_many_requests(site: Site) -> None:
    held = site.pass_()
    for _ in range(20):
        site.request("/login", cookie(held))
    assert len(site.touched) == 1


def test_request_in_the_room_takes_its_usual_way(site: Site) -> None:
    """In the room the pass is renewed, and the renewal confirms it."""
    site.request("/checkout/", cookie(site.pass_()))
    assert not site.touched


@pytest.mark.parametrize("path", ["/login", "/tickets/"])
def test_nothing_else_confirms(path: str, site: Site) -> None:
    now_s = site.rooms[CHECKOUT].view.now_s()
    held = site.pass_()
    good = cookie(held)
    forged = good[:-2] + ("BA" if good.endswith("AA") else "AA")
    ticket = f"gatekeeper-checkout={sign_token(make_ticket(CHECKOUT, now_s=now_s))}"
    other_room = f"gatekeeper-checkout={sign_token(replace_room(held))}"
    for sent in (
        cookie(site.pass_(confirmed=True)),
        cookie(site.pass_(ago_s=30, expires_in_s=-1)),
        forged,
        ticket,
        other_room,
        f"x{cookie(held)}",
        cookie(held, prefix="__Host-"),  # but over http
        f"gatekeeper-unknown={sign_token(held)}",
        "gatekeeper-checkout=",
    ):
        site.request(path, sent)
    assert not site.touched


def test_revoked_visitor_is_not_confirmed(site: Site) -> None:
    held, view = site.pass_(), site.rooms[CHECKOUT].view
    view.revoke([held.visitor], until_s=view.now_s() + 60, count=1)
    site.request("/login", cookie(held))
    assert not site.touched


def replace_room(pass_: Pass) -> Pass:
    return replace(pass_, room=TICKETS)
