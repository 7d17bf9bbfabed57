"""The field by which the page of a visitor who was admitted at once confirms itself."""

import pytest

from gatekeeper.config.types import RoomName
from gatekeeper.policy.facts import Client, RequestFacts
from gatekeeper.proxy.response import parse_response_head
from gatekeeper.web.confirmation import confirmation_field

HTML = "Content-Type: text/html; charset=utf-8"
STATUS = "</.gatekeeper/status?room=sale>; rel=preload; as="
FETCH, IMAGE = STATUS + "fetch; crossorigin", STATUS + "image"
STYLE, FONT = STATUS.replace("status", "confirm") + "style", STATUS + "font; crossorigin"
RULES = '"/.gatekeeper/confirm?room=sale"'


def fields_for(
    *fields: str, status: int = 200, method: str = "GET", mode: str | None = "navigate"
) -> dict[str, str]:
    """The fields that are added to a response with these fields."""
    lines = "".join(f"{field}\r\n" for field in fields)
    response = parse_response_head(f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode())
    assert response is not None
    facts = RequestFacts(
        Client("192.0.2.1", "https", "shop.example"),
        method,
        "/",
        accept="text/html" if mode is None else "*/*",
        fields=lambda name: [mode] if mode and name == "Sec-Fetch-Mode" else [],
    )
    added = confirmation_field(facts, RoomName("sale"), response)
    return {name.decode(): value.decode() for name, value in added}


def link(
    *fields: str, status: int = 200, method: str = "GET", mode: str | None = "navigate"
) -> str | None:
    """The value of the only field that is added to a response with these fields."""
    added = fields_for(*fields, status=status, method=method, mode=mode)
    assert len(added) <= 1
    for name, value in added.items():
        assert name == ("Speculation-Rules" if value == RULES else "Link")
        return value
    return None


@pytest.mark.parametrize(
    "fields",
    [
        (HTML,),
        ("content-TYPE:text/HTML",),
        ("Content-Type: application/xhtml+xml",),
        (HTML, "Content-Security-Policy: script-src 'none'"),
        (HTML, "Content-Security-Policy: default-src 'self'"),
        (HTML, "Content-Security-Policy: default-src 'none'; Connect-Src 'SELF'"),
        (HTML, "Content-Security-Policy: connect-src *, default-src 'self'"),
        (HTML, "Content-Security-Policy: sandbox allow-same-origin allow-scripts"),
        (HTML, "Content-Security-Policy-Report-Only: default-src 'none'"),
    ],
)
def test_page_fetches_the_status(fields: tuple[str, ...]) -> None:
    assert link(*fields) == FETCH
    assert link(*fields, mode=None) == FETCH
    assert link(*fields, status=404) == FETCH


def test_page_that_may_not_fetch_loads_the_status_as_an_image() -> None:
    assert link(HTML, "Content-Security-Policy: connect-src 'none'") == IMAGE
    assert link(HTML, "Content-Security-Policy: default-src 'none'; img-src 'self'") == IMAGE


@pytest.mark.parametrize(
    ("policy", "kind"),
    [
        ("default-src 'none'; style-src 'self' 'unsafe-inline'", STYLE),
        ("default-src 'none'; style-src 'none'; style-src-elem 'self'", STYLE),
        ("default-src 'none'; style-src 'self'; style-src-elem 'none'; font-src 'self'", FONT),
        ("default-src 'none'; style-src 'unsafe-inline'; font-src *", FONT),
        ("default-src 'none'; font-src 'self'; style-src 'self'", STYLE),
    ],
)
def test_page_preloads_as_what_its_policy_allows(policy: str, kind: str) -> None:
    assert link(HTML, f"Content-Security-Policy: {policy}") == kind


@pytest.mark.parametrize(
    "policies",
    [
        ("default-src 'none'",),
        ("default-src https:",),
        ("default-src 'self'", "default-src 'none'"),
        ("connect-src 'none'; img-src 'none'", "style-src x.example; font-src 'none'"),
        ("default-src 'self', default-src 'none'",),
        ("default-src 'none'; connect-src api.example; connect-src 'self'",),
        ("default-src 'none'; script-src 'self'; frame-src 'self'",),
    ],
)
def test_page_that_may_load_nothing_names_speculation_rules(policies: tuple[str, ...]) -> None:
    """No directive applies to them."""
    assert link(HTML, *[f"Content-Security-Policy: {policy}" for policy in policies]) == RULES


@pytest.mark.parametrize("policy", ["sandbox allow-scripts", "default-src 'none'; sandbox"])
def test_page_of_another_origin_gets_no_field(policy: str) -> None:
    assert link(HTML, f"Content-Security-Policy: {policy}") is None
    assert link(
        HTML, "Content-Security-Policy: img-src *", f"Content-Security-Policy: {policy}"
    ) is (None)


@pytest.mark.parametrize(
    "content_type", ["application/json", "text/plain", "image/png", "text/htmlx", ""]
)
def test_response_that_is_no_page_gets_no_link(content_type: str) -> None:
    assert link(f"Content-Type: {content_type}") is None
    assert link("Accept: text/html") is None


def test_only_navigations_get_a_link() -> None:
    assert link(HTML, mode="cors") is None
    assert link(HTML, mode="no-cors") is None
    assert link(HTML, method="HEAD") is None
    assert link(HTML, method="POST") is None
    assert link(HTML, status=302) is None
    assert link(status=304, mode="cors") is None
    assert link(status=304, method="HEAD") is None


def test_kept_page_without_a_policy_gets_both_fields() -> None:
    """Its policy is unknown, since a 304 need not repeat it."""
    for mode in ("navigate", None):
        assert fields_for(status=304, mode=mode) == {"Link": FETCH, "Speculation-Rules": RULES}


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("default-src 'self'", FETCH),
        ("connect-src 'none'", IMAGE),
        ("default-src 'none'", RULES),
        ("sandbox", None),
    ],
)
def test_kept_page_with_a_policy_obeys_it(policy: str, expected: str | None) -> None:
    assert link(f"Content-Security-Policy: {policy}", status=304) == expected
