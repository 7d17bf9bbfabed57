"""Pages for unit tests: built once, and each page by its name."""

from dataclasses import replace

import pytest

from gatekeeper.pages.renderer import Page, Pages
from gatekeeper.pages.samples import SAMPLE_EVENTS, SAMPLE_VIEWS
from tests.unit.pages.page_reader import VIEW, problem, unknown_place

PAGE_NAMES = [
    "waiting",
    "held",
    "reconnecting",
    "prequeue",
    "before",
    "queue_full",
    "address_limit",
    "drawn",
    "problem",
    "left",
    "not_sent",
    "no_place",
    "dashboard",
]


@pytest.fixture(scope="session")
def pages() -> Pages:
    return Pages()


@pytest.fixture(params=PAGE_NAMES)
def any_page(request: pytest.FixtureRequest, pages: Pages) -> Page:
    match request.param:
        case "waiting":
            return pages.waiting(VIEW)
        case "held":
            return pages.waiting(
                replace(VIEW, reason="held", rate_per_minute=0.0, eta_seconds=None)
            )
        case "reconnecting":
            return pages.waiting(unknown_place())
        case "prequeue" | "before" | "queue_full" | "address_limit":
            return pages.waiting(SAMPLE_VIEWS[request.param])
        case "drawn":
            return pages.waiting(SAMPLE_EVENTS["drawn"])
        case "problem":
            return problem(pages)
        case "left":
            return pages.left()
        case "not_sent":
            return pages.not_sent(path="/cart")
        case "no_place":
            return pages.not_sent(path="/cart", is_safe=True)
    return pages.dashboard()
