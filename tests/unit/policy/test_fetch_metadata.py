"""Which requests create a place in line, for all variants that browsers and other clients send."""

from dataclasses import replace

import pytest

from gatekeeper.policy.facts import Client, RequestFacts
from gatekeeper.policy.fetch_metadata import creates_place

Fields = dict[str, str | list[str]]

NAVIGATION: Fields = {
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Site": "none",
    "Sec-Fetch-User": "?1",
}
FETCH: Fields = {
    "Sec-Fetch-Mode": "cors",
    "Sec-Fetch-Dest": "empty",
    "Sec-Fetch-Site": "same-origin",
}


# Every destination of the Fetch standard except those of a navigation and of a fetch.
DESTINATIONS = [
    *("audio", "audioworklet", "font", "image", "json", "manifest", "paintworklet", "report"),
    *("script", "serviceworker", "sharedworker", "speculationrules", "style", "track", "video"),
    *("webidentity", "worker", "xslt", "unknown", ""),
    *("document", "iframe"),  # without the mode of a navigation
]


def facts(method: str, fields: Fields) -> RequestFacts:
    by_name = {
        name.lower(): [value] if isinstance(value, str) else value for name, value in fields.items()
    }
    return RequestFacts(
        Client("192.0.2.1", "https", "shop.example"),
        method,
        "/",
        fields=lambda name: by_name.get(name.lower(), []),
    )


def fetch_fields(mode: str | list[str] | None, dest: str | list[str] | None) -> Fields:
    found: Fields = {"Sec-Fetch-Site": "same-origin"}
    if mode is not None:
        found["Sec-Fetch-Mode"] = mode
    if dest is not None:
        found["Sec-Fetch-Dest"] = dest
    return found


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"Accept": "*/*"},
        {"Purpose": "purchase"},
        {"X-Moz": ""},
        NAVIGATION,
        FETCH,
        *[
            fetch_fields("navigate", dest)
            for dest in ("document", "iframe", "frame", "fencedframe", "embed", "object", "empty")
        ],
        fetch_fields("navigate", None),  # Chrome 76 to 79 sent no Sec-Fetch-Dest
        *[fetch_fields(mode, "empty") for mode in ("cors", "no-cors", "same-origin", None)],
        fetch_fields("Navigate", "DOCUMENT"),
        fetch_fields("navigate; x=1", " document "),
        fetch_fields(["navigate", "navigate"], ["document"]),
    ],
    ids=str,
)
def test_request_of_a_person_creates_a_place(fields: Fields) -> None:
    assert creates_place(facts("GET", fields))


# What browsers send for a page (the first three: Chromium, Firefox, Safari), and apps.
ACCEPTS_OF_PEOPLE = [
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/png,image/svg+xml,*/*;q=0.8",
    "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "image/avif, TEXT/HTML",
    "application/xhtml+xml, image/png",
    *("*/*", "", "application/json", "text/plain", "application/json, text/css-like", "imagex/a"),
    *("text/*", "application/image", "image/"),
]
# And for images and style sheets.
ACCEPTS_OF_FILES = [
    "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8",
    "image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5",
    "image/webp,image/avif,video/*;q=0.8,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5",
    "video/webm,video/ogg,video/*;q=0.9,application/ogg;q=0.7,audio/*;q=0.6,*/*;q=0.5",
    *("text/css,*/*;q=0.1", "TEXT/CSS", "image/*", "*/*, Image/PNG", "font/woff2"),
]


@pytest.mark.parametrize("accept", ACCEPTS_OF_PEOPLE)
def test_page_or_app_without_metadata_creates_a_place(accept: str) -> None:
    assert creates_place(facts("GET", {"Accept": accept}))
    assert creates_place(facts("GET", {"Accept": [accept, "*/*"]}))


@pytest.mark.parametrize("accept", ACCEPTS_OF_FILES)
def test_file_of_a_page_without_metadata_creates_no_place(accept: str) -> None:
    """As from browsers on a site without TLS, and from Safari before 16.4 on any site."""
    assert not creates_place(facts("GET", {"Accept": accept}))
    assert not creates_place(facts("GET", {"Accept": ["*/*", accept]}))
    assert not creates_place(replace(facts("GET", {}), accept=accept))
    for metadata in (NAVIGATION, FETCH):  # if sent, it decides
        assert creates_place(facts("GET", metadata | {"Accept": accept}))


def test_service_worker_script_creates_no_place() -> None:
    assert not creates_place(facts("GET", {"Accept": "*/*", "Service-Worker": "script"}))


@pytest.mark.parametrize(
    "method", ["HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get"]
)
@pytest.mark.parametrize("fields", [{}, NAVIGATION, FETCH], ids=["none", "navigation", "fetch"])
def test_other_method_creates_no_place(method: str, fields: Fields) -> None:
    assert not creates_place(facts(method, fields))


def test_preflight_creates_no_place() -> None:
    assert not creates_place(
        facts("OPTIONS", {"Access-Control-Request-Method": "GET", "Origin": "https://a.example"})
    )


@pytest.mark.parametrize(
    "dest",
    DESTINATIONS,
)
@pytest.mark.parametrize("mode", ["no-cors", "cors", "same-origin", None])
def test_subresource_creates_no_place(mode: str | None, dest: str) -> None:
    assert not creates_place(facts("GET", fetch_fields(mode, dest)))


@pytest.mark.parametrize(
    ("mode", "dest"),
    [
        ("navigate", "image"),
        ("navigate", "script"),
        ("navigate", ""),
        ("", "document"),
        ("websocket", "empty"),
        ("websocket", "websocket"),
        ("cors", None),
        ("no-cors", None),
        (None, None),  # Sec-Fetch-Site alone
        (["navigate", "no-cors"], "document"),
        ("navigate, no-cors", "document"),
        ("navigate", ["document", "image"]),
        ("navigate", "document, image"),
        ("cors", ["empty", "image"]),
        (["navigate", ""], "document"),
    ],
)
def test_contradictory_metadata_creates_no_place(
    mode: str | list[str] | None, dest: str | list[str] | None
) -> None:
    assert not creates_place(facts("GET", fetch_fields(mode, dest)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Sec-Purpose", "prefetch"),
        ("Sec-Purpose", "prefetch;prerender"),
        ("Sec-Purpose", "prefetch; anonymous-client-ip"),
        ("Sec-Purpose", "PREFETCH"),
        ("Sec-Purpose", ["", "prefetch"]),
        ("Sec-Purpose", "a purpose of tomorrow"),
        ("Purpose", "prefetch"),
        ("Purpose", "Prefetch;prerender"),
        ("Purpose", "a, prefetch"),
        ("Purpose", ["a", "prefetch"]),
        ("X-Purpose", "preview"),
        ("X-Purpose", "instant"),
        ("X-Moz", "prefetch"),
        ("x-moz", "Prefetch"),
    ],
)
@pytest.mark.parametrize("fields", [{}, NAVIGATION, FETCH], ids=["none", "navigation", "fetch"])
def test_speculative_request_creates_no_place(
    fields: Fields, name: str, value: str | list[str]
) -> None:
    assert not creates_place(facts("GET", fields | {name: value}))


@pytest.mark.parametrize(
    "name", ["Sec-Fetch-Site", "Sec-Fetch-User", "Sec-Fetch-Storage-Access", "Sec-Fetch-Mode"]
)
def test_metadata_without_a_known_kind_creates_no_place(name: str) -> None:
    assert not creates_place(facts("GET", {name: "x"}))


@pytest.mark.parametrize(
    "accept",
    [
        "text/event-stream",
        "Text/Event-Stream",
        "text/event-stream, */*",
        "application/json, text/event-stream;q=0.5",
        ["*/*", "text/event-stream"],
    ],
)
@pytest.mark.parametrize("fields", [{}, NAVIGATION, FETCH], ids=["none", "navigation", "fetch"])
def test_event_source_creates_no_place(fields: Fields, accept: str | list[str]) -> None:
    """An EventSource reconnects after each end of its stream."""
    assert not creates_place(facts("GET", fields | {"Accept": accept}))


@pytest.mark.parametrize(
    "upgrade",
    [
        "websocket",
        "WebSocket",
        " websocket ",
        "websocket/13",
        "h2c, websocket",
        ["h2c", "websocket"],
    ],
)
@pytest.mark.parametrize("fields", [{}, NAVIGATION, FETCH], ids=["none", "navigation", "fetch"])
def test_websocket_handshake_creates_no_place(fields: Fields, upgrade: str | list[str]) -> None:
    """Chromium sends it without any Sec-Fetch-*."""
    assert not creates_place(facts("GET", fields | {"Upgrade": upgrade}))


@pytest.mark.parametrize("upgrade", ["h2c", "websockets", "TLS/1.2", "", "x-websocket"])
def test_other_upgrade_creates_a_place(upgrade: str) -> None:
    assert creates_place(facts("GET", {"Upgrade": upgrade}))


@pytest.mark.parametrize("accept", ["text/event", "application/event-stream", "*/*", "text/*", ""])
def test_other_accepted_types_create_a_place(accept: str) -> None:
    assert creates_place(facts("GET", FETCH | {"Accept": accept}))
