"""Escaping, the Content-Security-Policy, and what every page must have."""

import re
from dataclasses import replace
from gzip import decompress
from pathlib import Path

import pytest

from gatekeeper.errors import ConfigError
from gatekeeper.pages.languages import languages
from gatekeeper.pages.renderer import Page, Pages
from gatekeeper.pages.samples import SAMPLE_EVENTS, SAMPLE_VIEWS
from tests.unit.pages.conftest import PAGE_NAMES
from tests.unit.pages.page_reader import VIEW, Reader, directives, source_of, write

HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(1)>'{{ 7*7 }}"


def test_hostile_title_is_escaped(pages: Pages) -> None:
    page = pages.waiting(replace(VIEW, title=HOSTILE))
    reader = Reader(page)
    assert HOSTILE in reader.text
    assert len(reader.attributes("script")) == 2
    assert reader.attributes("img") == []
    assert reader.attributes("html")[0]["data-title"] == HOSTILE


def test_hostile_room_is_escaped_in_attribute_and_query(pages: Pages) -> None:
    reader = Reader(pages.waiting(replace(VIEW, room='a"&b=#')))
    data = reader.attributes("html")[0]
    assert data["data-room"] == 'a"&b=#'
    assert data["data-status"] == "/.gatekeeper/status?room=a%22%26b%3D%23"
    assert reader.attributes("form")[0]["action"] == "/.gatekeeper/leave?room=a%22%26b%3D%23"


def test_hostile_message_is_escaped(pages: Pages) -> None:
    page = pages.problem(status=502, title=HOSTILE, message=HOSTILE, retry_after_s=None)
    assert Reader(page).attributes("script") == []
    assert Reader(page).text.count(HOSTILE) == 1


def test_page_has_only_code_with_a_hash_and_no_external_files(any_page: Page, pages: Pages) -> None:
    reader = Reader(any_page)
    for kind, codes in reader.code.items():
        for code in codes:
            assert source_of(code) in directives(pages.csp)[f"{kind}-src"]
    for _, attributes in reader.tags:
        for name, value in attributes.items():
            assert name != "style"
            assert not name.startswith("on")
            if name in {"src", "href", "action"}:
                assert value is not None
                assert not re.match(r"(?!data:image/svg\+xml,)[a-z]+:|//", value)


def test_policies_deny_by_default_and_name_all_code(pages: Pages) -> None:
    for policy in (pages.csp, pages.dashboard_csp):
        allowed = directives(policy)
        assert allowed["default-src"] == allowed["base-uri"] == "'none'"
        for kind in ("script-src", "style-src"):
            own, *hashes = allowed[kind].split()
            assert own == "'self'"
            assert all(each.startswith("'sha256-") for each in hashes)
        assert allowed["form-action"] == "'self'"
        assert "frame-ancestors" in allowed
        assert "unsafe" not in policy
    assert directives(pages.dashboard_csp)["script-src"] == "'self'"


def test_style_of_the_operator_is_embedded_with_its_hash(tmp_path: Path) -> None:
    own = Pages(static=write(tmp_path, "waiting.css", "h1 { color: red }\r\n"))
    [style] = Reader(own.waiting(VIEW)).code["style"]
    assert style == "h1 { color: red }\n"
    assert source_of(style) in own.csp


@pytest.mark.parametrize("text", ["/* </style> */", "/* </SCRIPT */", "/* <!-- */"])
def test_style_that_ends_its_element_stops_the_start(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"waiting\.css"):
        Pages(static=write(tmp_path, "waiting.css", text))


def test_page_has_robots_viewport_and_color_scheme(any_page: Page) -> None:
    named = {tag.get("name"): tag.get("content") for tag in Reader(any_page).attributes("meta")}
    assert named["robots"] == "noindex"
    assert named["viewport"] == "width=device-width, initial-scale=1"
    assert named["color-scheme"] == "light dark"


@pytest.mark.parametrize(
    "any_page", [name for name in PAGE_NAMES if name != "dashboard"], indirect=True
)
def test_page_is_loaded_whole_where_turbo_asked_for_a_part(any_page: Page) -> None:
    """Otherwise Turbo shows "Content missing" in a frame for a page without that frame."""
    named = {tag.get("name"): tag.get("content") for tag in Reader(any_page).attributes("meta")}
    assert named["turbo-visit-control"] == "reload"


def test_page_has_heading_language_title_and_landmark(any_page: Page) -> None:
    reader = Reader(any_page)
    assert len(reader.attributes("h1")) == 1
    assert len(reader.attributes("main")) == 1
    assert reader.attributes("html")[0]["lang"] == "en"
    assert b"<title>" in any_page.body


def test_waiting_page_is_below_15_kib_in_every_language(pages: Pages) -> None:
    """And below 17 KiB with an event, below 8 KiB without a place."""
    for each in languages().values():
        assert len(pages.waiting(replace(VIEW, lang=each.code)).gzip) < 15 * 1024
        for view in (*SAMPLE_VIEWS.values(), *SAMPLE_EVENTS.values()):
            limit_kib = 8 if view.without_place else 17 if view.event else 15
            size = len(pages.waiting(replace(view, lang=each.code)).gzip)
            assert size < limit_kib * 1024, (view.state, each.code)


def test_gzip_of_a_page_decompresses_to_its_body(pages: Pages) -> None:
    page = pages.waiting(VIEW)
    assert decompress(page.gzip) == page.body
