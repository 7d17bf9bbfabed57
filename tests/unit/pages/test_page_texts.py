"""The texts of the pages, in the language of the visitor."""

from dataclasses import replace

import pytest

from gatekeeper.pages.renderer import Pages
from tests.unit.pages.page_reader import VIEW, Reader, problem, unknown_place


def test_waiting_page_shows_place_wait_and_speed(pages: Pages) -> None:
    words = Reader(pages.waiting(VIEW)).words
    for text in ("1,284", "1,283", "2–4 minutes", "500 per minute", "20:30 UTC", "10 minutes"):
        assert text in words


def test_meta_refresh_is_only_for_pages_without_script(
    pages: Pages,
) -> None:
    body = pages.waiting(replace(VIEW, refresh_seconds=12)).body.decode()
    assert '<noscript><meta http-equiv="refresh" content="12"></noscript>' in body
    assert body.count("http-equiv") == 1


def test_meta_refresh_leaves_time_to_read(pages: Pages) -> None:
    body = pages.waiting(replace(VIEW, refresh_seconds=1)).body.decode()
    assert '<meta http-equiv="refresh" content="10">' in body


def test_held_line_is_called_paused(pages: Pages) -> None:
    words = Reader(
        pages.waiting(replace(VIEW, reason="held", rate_per_minute=0.0, eta_seconds=None))
    ).words
    assert "The line is paused" in words
    assert "not known yet" in words


def test_unknown_place_shows_no_number(pages: Pages) -> None:
    words = Reader(pages.waiting(unknown_place())).words
    assert "Reconnecting, your place is kept" in words
    assert "None" not in words
    assert "Your place in line –" in words


def test_page_has_the_language_and_direction_of_the_visitor(pages: Pages) -> None:
    for lang, direction, said in (
        ("de", "ltr", ("Sie stehen in der Warteschlange", "1.284", "2–4 Minuten", "10 Minuten")),
        ("he", "rtl", ("מקומך בתור נשמר", "1,284", "10 דקות")),
        ("ru", "ltr", ("1\xa0284", "2–4 минуты", "500 в минуту")),
    ):
        page = pages.waiting(replace(VIEW, lang=lang))
        reader = Reader(page)
        html = reader.attributes("html")[0]
        assert (html["lang"], html["dir"], page.language) == (lang, direction, lang)
        text = reader.text.replace("\u202f", " ")
        for each in said:
            assert each in text.replace("\xa0", " ") or each in text


def test_title_of_the_operator_is_not_translated(pages: Pages) -> None:
    page = pages.waiting(replace(VIEW, title="Not in line", lang="de"))
    assert "Not in line" in Reader(page).words


def test_problem_is_in_the_language_of_the_visitor(pages: Pages) -> None:
    page = pages.problem(
        status=502,
        title="Bad Gateway",
        message="The site is not responding right now. Your place is kept.",
        retry_after_s=5,
        lang="fr",
    )
    assert "Votre place est gardée." in Reader(page).words


def test_slow_line_has_its_speed_per_hour(pages: Pages) -> None:
    assert "30 per hour" in Reader(pages.waiting(replace(VIEW, rate_per_minute=0.5))).words


@pytest.mark.parametrize(
    ("minutes", "lang", "text"),
    [
        (1, "en", "kept for 1 minute."),
        (30, "en", "kept for 30 minutes."),
        (60, "en", "kept for 1 hour."),
        (90, "en", "kept for 90 minutes."),
        (120, "en", "kept for 2 hours."),
        (60, "pl", "przez 1 godzinę."),
        (120, "ru", "сохранится 2 часа."),
        (120, "de", "2 Stunden lang"),
        (120, "ar", "لمدة ساعتين"),
    ],
)
def test_place_ttl_has_its_unit_and_plural_form(
    pages: Pages, minutes: int, lang: str, text: str
) -> None:
    view = replace(VIEW, place_ttl_minutes=minutes, lang=lang)
    assert text in Reader(pages.waiting(view)).words


def test_place_ttl_of_zero_gives_up_the_place(pages: Pages) -> None:
    words = Reader(pages.waiting(replace(VIEW, place_ttl_minutes=0))).words
    assert "you give up your place" in words


def test_problem_page_shows_status_message_and_retry(pages: Pages) -> None:
    page = problem(pages)
    words = Reader(page).words
    for text in ("502", "One moment, please", "Please try again.", "tries again automatically"):
        assert text in words
    assert b'<meta http-equiv="refresh" content="10">' in page.body


def test_problem_page_without_retry_has_no_refresh(pages: Pages) -> None:
    assert b"http-equiv" not in problem(pages, retry_after_s=None).body


@pytest.mark.parametrize("path", ["//evil.example", "/\\evil.example", "javascript:x", "", "/a\nb"])
def test_link_back_into_line_stays_on_the_site(pages: Pages, path: str) -> None:
    links = Reader(pages.left(path=path)).attributes("a")
    assert [link["href"] for link in links] == ["/"]


def test_link_back_into_line_leads_to_the_path(pages: Pages) -> None:
    links = Reader(pages.left(path='/checkout/?a=1&b="')).attributes("a")
    assert [link["href"] for link in links] == ['/checkout/?a=1&b="']
