"""The fields that the gate adds to a response of the origin for a request without a token."""

import pytest

from gatekeeper.config.types import RoomName
from gatekeeper.policy.facts import Client, RequestFacts
from gatekeeper.policy.routing import Bypassed, InRoom, Route, Ungated
from gatekeeper.proxy.response import parse_response_head
from gatekeeper.web.added_fields import added_fields
from gatekeeper.web.outcome import Admit
from gatekeeper.web.pipeline import Visit

OWN = frozenset({"gatekeeper", "__Host-gatekeeper"})
ROUTES: list[Route] = [Ungated(), Bypassed("hooks"), InRoom(RoomName("default"))]


def added(route: Route, field: str, *cookies: str) -> list[tuple[str, str]] | None:
    response = parse_response_head(f"HTTP/1.1 200 OK\r\n{field}\r\n\r\n".encode())
    assert response is not None
    facts = RequestFacts(Client("", "http", "shop"), "POST", "/return", cookies=cookies)
    fields = added_fields(Visit(facts, route), Admit(None, changed=False), response, own=OWN)
    return None if fields is None else [(name.decode(), value.decode()) for name, value in fields]


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    ("field", "left"),
    [
        ('Clear-Site-Data: "cookies"', ""),
        ('clear-site-data: "cache" , "cookies"', '"cache"'),
        ('CLEAR-SITE-DATA:"storage"\r\nClear-Site-Data: "cookies"', '"storage"'),
    ],
)
def test_no_response_clears_a_pass_that_the_request_kept_back(
    route: Route, field: str, left: str
) -> None:
    """A browser does not send a Lax cookie with another site's form, and would clear it here."""
    assert added(route, field) == [("Clear-Site-Data", left)]
    assert added(route, field, "sid=1; gatekeeper=x") == [
        ("Clear-Site-Data", left),
        ("Set-Cookie", "sid=; Max-Age=0; Path=/"),
    ]


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    "field", ['Clear-Site-Data: "cache"', "Clear-Site-Data: cookies", "X-Clear: 1", 'A: "*"']
)
def test_response_that_clears_no_cookies_stays_as_it_is(route: Route, field: str) -> None:
    assert added(route, field, "sid=1; gatekeeper=x") is None
