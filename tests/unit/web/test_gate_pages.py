"""The gate's own responses as values: pages, JSON, the script, and the common fields."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import pytest

from gatekeeper.config.schema import RoomConfig
from gatekeeper.pages.problem_states import DENIED
from gatekeeper.pages.renderer import Pages
from gatekeeper.pages.samples import SAMPLE_EVENTS
from gatekeeper.policy.decision import DeniedReason, WaitingReason
from gatekeeper.policy.facts import Client, RequestFacts
from gatekeeper.policy.phase import Phase
from gatekeeper.web.message import GateResponse
from gatekeeper.web.responses import Responses
from gatekeeper.web.waiting_status import WaitingStatus
from tests.unit.pages.page_reader import Reader, directives

RESPONSES = Responses(Pages())
ROOM = RoomConfig()
PLACE = WaitingStatus(
    room=ROOM.name,
    phase=Phase.RUNNING,
    position=3,
    ahead=2,
    queue_length=9,
    eta_seconds=60,
    rate_per_minute=60.0,
    refresh_seconds=7,
    arrived_at="2026-11-23T20:30:00Z",
    reason="line",
    message=None,
    starts_at=None,
    reference="4Q7K-92ZD",
)
HTML, JSON = "text/html,*/*;q=0.8", "application/json"


def facts(
    accept: str = HTML,
    *,
    method: str = "GET",
    target: str = "/cart?step=2",
    fields: Mapping[str, Sequence[str]] | None = None,
    is_htmx: bool = False,
) -> RequestFacts:
    found = fields or {}
    return RequestFacts(
        Client("192.0.2.1", "http", "shop.example"),
        method,
        target,
        accept=accept,
        has_body=method == "POST",
        is_htmx=is_htmx,
        fields=lambda name: found.get(name, ()),
    )


def waiting(request: RequestFacts, room: RoomConfig = ROOM) -> GateResponse:
    return RESPONSES.waiting(request, PLACE, room=room, now_s=0.0, headers=())


def turned_away(request: RequestFacts, room: RoomConfig = ROOM) -> GateResponse:
    return RESPONSES.without_place(request, room=room, retry_after_s=5, now_s=0.0)


def header(response: GateResponse, name: str) -> str | None:
    values = [value for key, value in response.headers if key == name]
    assert len(values) <= 1
    return values[0] if values else None


def page_of(response: GateResponse) -> Reader:
    class Body:
        body = response.body

    return Reader(Body())  # type: ignore[arg-type]  # only the body is read


# No place before an opening, and in a full line.

EVENT = SAMPLE_EVENTS["announced"].event


def kept_out(request: RequestFacts, reason: WaitingReason, room: RoomConfig = ROOM) -> GateResponse:
    return RESPONSES.without_place(
        request,
        room=room,
        retry_after_s=321,
        now_s=0.0,
        reason=reason,
        message="Doors at 9",
        event=EVENT if reason == "before" else None,
    )


@pytest.mark.parametrize("reason", ["before", "queue_full", "address_limit"])
def test_page_without_a_place_renews_itself(reason: WaitingReason) -> None:
    response = kept_out(facts(), reason)
    assert response.status == 503
    assert header(response, "Retry-After") == "321"
    assert header(response, "Cache-Control") == "no-store"
    assert header(response, "Set-Cookie") is None
    reader = page_of(response)
    assert reader.attributes("html")[0]["data-state"] == reason
    [refresh] = [each for each in reader.attributes("meta") if each.get("http-equiv")]
    assert refresh["content"] == "321"
    assert "Doors at 9" in reader.words


@pytest.mark.parametrize("reason", ["before", "queue_full", "address_limit"])
def test_json_without_a_place_has_reason_and_opening(reason: WaitingReason) -> None:
    body = json.loads(kept_out(facts(JSON), reason).body)
    expected = {
        "state": "waiting",
        "room": "default",
        "refresh_seconds": 321,
        "reason": reason,
        "message": "Doors at 9",
        "starts_at": None,
    }
    if reason == "before":
        assert EVENT is not None
        expected |= {
            "starts_at": EVENT.starts_at,
            "event": "autumn-sale",
            "starts_in_seconds": EVENT.starts_in_s,
            "commitment": EVENT.commitment,
        }
    assert body == expected


@pytest.mark.parametrize("reason", ["before", "queue_full", "address_limit"])
def test_form_is_never_sent_twice_by_a_page_without_a_place(reason: WaitingReason) -> None:
    reader = page_of(kept_out(facts(method="POST"), reason))
    assert reader.attributes("html")[0]["data-state"] == "not_sent"
    assert not [each for each in reader.attributes("meta") if each.get("http-equiv")]


def test_cloudflare_json_says_that_the_line_is_full() -> None:
    room = RoomConfig.model_validate({"json_format": "cloudflare"})
    body = json.loads(kept_out(facts(JSON), "queue_full", room).body)
    assert body["cfWaitingRoom"]["queueIsFull"] is True
    body = json.loads(kept_out(facts(JSON), "before", room).body)
    assert body["cfWaitingRoom"]["queueIsFull"] is False


@pytest.mark.parametrize(
    ("target", "policy"),
    [
        ("/admin/?gk_invitation=a.b.c", "no-referrer"),
        ("/x/%2e%2e/sale?a=1&GK%5Finvitation=a.b.c", "no-referrer"),
        ("/admin/?item=7", "same-origin"),
    ],
)
def test_link_of_a_refused_address_has_no_invitation(target: str, policy: str) -> None:
    """A blocked or malformed request keeps its address, and its page links to the site."""
    for status in (400, 403, 421):
        response = RESPONSES.problem(facts(target=target), "No.", status=status)
        found = [value for name, value in response.headers if name == "Referrer-Policy"]
        assert found == [policy]


# A request that creates no place.


@pytest.mark.parametrize("status", [200, 202, 429, 503])
def test_form_that_was_turned_away_says_it_was_not_sent(
    status: Literal[200, 202, 429, 503],
) -> None:
    response = turned_away(facts(method="POST"), RoomConfig(status=status))
    page = page_of(response)
    assert response.status == status
    assert "Your form was not sent" in page.words
    assert header(response, "X-Gatekeeper-State") == "waiting"
    assert header(response, "Retry-After") == "5"
    assert header(response, "Cache-Control") == "no-store"
    assert response.close  # the body is not read


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_not_sent_page_leads_to_its_address_by_get(method: str) -> None:
    page = page_of(turned_away(facts(method=method, target="/cart?a=1&b=%22")))
    assert [link["href"] for link in page.attributes("a")] == ["/cart?a=1&b=%22"]
    assert page.attributes("form") == []


def test_not_sent_page_never_reloads_itself() -> None:
    response = turned_away(facts(method="POST"))
    assert header(response, "Refresh") is None
    assert b"http-equiv" not in response.body
    assert b"<script" not in response.body


def test_form_of_a_waiting_visitor_is_not_sent_either() -> None:
    """The waiting page reloads its address, and would send the form again."""
    cookie = ("Set-Cookie", "gatekeeper=ticket")
    response = RESPONSES.waiting(
        facts(method="POST"), PLACE, room=ROOM, now_s=0.0, headers=[cookie]
    )
    assert "Your form was not sent" in page_of(response).words
    assert b"<script" not in response.body
    assert cookie in response.headers
    assert header(response, "Retry-After") == "7"
    assert header(response, "Refresh") is None


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_page_of_an_origin_that_fails_loads_again(method: str) -> None:
    response = RESPONSES.problem(facts(method=method), "x", status=502, retry=True)
    assert b"http-equiv" in response.body


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_page_of_an_origin_that_fails_sends_no_form_twice(method: str) -> None:
    response = RESPONSES.problem(facts(method=method), "x", status=502, retry=True)
    assert b"http-equiv" not in response.body
    assert b"<script" not in response.body
    assert header(response, "Retry-After") == "5"


@pytest.mark.parametrize("target", ["//evil.example", "/\\evil.example", "javascript:x", "*"])
def test_not_sent_page_leads_to_no_other_site(target: str) -> None:
    page = page_of(turned_away(facts(method="POST", target=target)))
    assert [link["href"] for link in page.attributes("a")] == ["/"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_safe_request_without_place_speaks_of_no_form(method: str) -> None:
    words = page_of(turned_away(facts(method=method))).words
    assert "Please join the line" in words
    assert "form" not in words


def test_app_that_was_turned_away_receives_json() -> None:
    response = turned_away(facts(JSON, method="POST"))
    assert header(response, "Content-Type") == "application/json"
    assert response.body == b'{"state": "waiting", "room": "default", "refresh_seconds": 5}'
    room = RoomConfig(json_format="cloudflare")
    assert b'"cfWaitingRoom"' in turned_away(facts(JSON, method="POST"), room).body


# Fields.


def test_htmx_loads_the_whole_page_again() -> None:
    for response in (
        waiting(facts(is_htmx=True)),
        waiting(facts(JSON, is_htmx=True)),
        turned_away(facts(method="POST", is_htmx=True)),
        RESPONSES.problem(facts(is_htmx=True), "x", status=502, retry=True),
    ):
        assert header(response, "HX-Refresh") == "true"


def test_no_other_response_makes_htmx_reload() -> None:
    """A part of a page that is always refused would reload its page endlessly."""
    for response in (
        waiting(facts()),
        turned_away(facts(method="POST")),
        RESPONSES.problem(facts(), "x", status=502, retry=True),
        RESPONSES.problem(facts(is_htmx=True), "x", status=403),
    ):
        assert header(response, "HX-Refresh") is None


def test_every_response_names_its_state() -> None:
    pages = Pages()
    name = pages.asset_url("waiting.css").rpartition("/")[2]
    states = {
        "waiting": waiting(facts()),
        "waiting json": waiting(facts(JSON)),
        "waiting place": RESPONSES.place(PLACE),
        "waiting stream": RESPONSES.stream(headers=()),
        "waiting without place": turned_away(facts(method="POST")),
        "error": RESPONSES.problem(facts(), "x", status=403),
        "error json": RESPONSES.problem(facts(JSON), "x", status=405),
        "none": RESPONSES.left(facts(), path="/", headers=()),
        "none asset": RESPONSES.asset(facts(), name),
        "none script": RESPONSES.script(facts()),
        "none preflight": RESPONSES.no_content(()),
        "admitted": RESPONSES.redirect("/", headers=()),
    }
    for expected, response in states.items():
        assert response is not None
        assert header(response, "X-Gatekeeper-State") == expected.split()[0], expected


# Cloudflare's rule for Accept.


@pytest.mark.parametrize(
    ("accept", "is_json"),
    [
        ("application/json", True),
        ("application/json, text/plain, */*", False),
        ("application/json;q=1", False),
        ("application/json; charset=utf-8", False),
        ("application/json,application/json", False),
        ("Application/JSON", False),
        ("application/*", False),
        ("*/*", False),
        ("", False),
        ("text/html", False),
        ("text/html, application/json", False),
    ],
)
def test_cloudflare_room_sends_json_for_exactly_its_accept(accept: str, is_json: bool) -> None:
    room = RoomConfig(json_format="cloudflare")
    for response in (waiting(facts(accept), room), turned_away(facts(accept), room)):
        assert response.body.startswith(b'{"cfWaitingRoom"') == is_json
        assert (header(response, "Content-Type") == "application/json") == is_json


# Sites that embed a page.


@pytest.mark.parametrize(
    "ancestors", [("'self'",), ("'none'",), ("'self'", "https://*.partner.example")]
)
def test_pages_of_a_room_name_who_may_embed_them(ancestors: tuple[str, ...]) -> None:
    room = RoomConfig(frame_ancestors=ancestors)
    for response in (
        waiting(facts(), room),
        turned_away(facts(method="POST"), room),
        RESPONSES.problem(facts(), "x", status=502, room=room),
    ):
        policy = directives(header(response, "Content-Security-Policy") or "")
        assert policy["frame-ancestors"] == " ".join(ancestors)
        assert policy["default-src"] == "'none'"


def test_page_outside_of_rooms_is_embedded_by_its_own_site() -> None:
    policy = header(RESPONSES.problem(facts(), "x", status=400), "Content-Security-Policy") or ""
    assert directives(policy)["frame-ancestors"] == "'self'"


# client.js


def test_script_is_stored_by_no_cache() -> None:
    for fields in ({}, {"If-None-Match": ["*"]}):
        response = RESPONSES.script(facts("*/*", fields=fields))
        assert (response.status, header(response, "Cache-Control")) == (200, "no-store")
        assert response.body


def test_script_speaks_the_language_of_the_visitor() -> None:
    pages = Pages()
    english, german = pages.client_script("en"), pages.client_script("de")
    assert b"Your visit here ends at #" in english.body
    assert b"Ihr Besuch hier endet um #" in german.body
    assert english.body != german.body
    assert b'"dir": "rtl"' in pages.client_script("he").body
    assert pages.client_script("xx").body == english.body


# No place at all.


@pytest.mark.parametrize("reason", DENIED)
def test_denied_visitor_reads_why(reason: DeniedReason) -> None:
    """As page or JSON, and never in a subresource of a page or in a cache."""
    row = DENIED[reason]
    page = RESPONSES.denied(facts(), reason, room=ROOM)
    app = RESPONSES.denied(facts(JSON), reason, room=ROOM)
    for response in (page, app):
        assert response.status == 403
        assert header(response, "Retry-After") is None
        assert header(response, "Referrer-Policy") == "no-referrer"
        assert header(response, "Cache-Control") == "no-store"
        assert header(response, "X-Gatekeeper-State") == "none"
    words = page_of(page).words
    assert row.heading in words
    assert row.lead in words
    assert "403" not in words
    assert json.loads(app.body) == {
        "state": "none",
        "room": ROOM.name,
        "reason": reason,
        "error": row.lead,
    }


def test_denied_part_of_a_page_loads_the_whole_page() -> None:
    request = replace(facts(), is_htmx=True)
    assert header(RESPONSES.denied(request, "other_device", room=ROOM), "HX-Refresh") == "true"
    assert header(RESPONSES.denied(facts(), "other_device", room=ROOM), "HX-Refresh") is None
