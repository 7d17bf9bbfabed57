"""Which media types a request accepts by name."""

import pytest

from gatekeeper.policy.facts import Client, RequestFacts


def accepting(accept: str) -> RequestFacts:
    return RequestFacts(Client("192.0.2.1", "https", "shop.test"), "GET", "/", accept=accept)


@pytest.mark.parametrize(
    "accept",
    [
        "text/html",
        "application/xhtml+xml",
        "a/b;q=0, Text/HTML ;q=0.8",
        "text/html;q=0.001",
        "text/html;level=1;q=1",
        "text/html;xq=0",
        "text/html;q=0.8,*/*;q=0",
        "text/html;q=0, application/xhtml+xml",
    ],
)
def test_html_that_is_named_is_accepted(accept: str) -> None:
    assert accepting(accept).accepts_html


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "text/*",
        "text/html;q=0",
        "text/html; q=0.000",
        "text/html;Q=0. ",
        "text/html;level=1;q=0.0;x=1",
        "application/json, text/html;q=0",
    ],
)
def test_html_that_is_refused_or_not_named_is_not_accepted(accept: str) -> None:
    facts = accepting(accept)
    assert not facts.accepts_html
    assert not facts.accepts("text/html")
