"""Language negotiation, and formats of numbers and durations."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.pages.languages import language_by_code, languages, preferred


@pytest.mark.parametrize(
    ("accept_language", "code"),
    [
        ("", "en"),
        ("de", "de"),
        ("de-AT", "de"),
        ("de-Latn-DE-1996", "de"),
        ("de-x-goethe", "de"),
        ("DE", "de"),
        ("xx", "en"),
        ("xx, nl", "nl"),
        ("*", "en"),
        ("fr-CH, fr;q=0.9, en;q=0.8, de;q=0.7, *;q=0.5", "fr"),
        ("en;q=0.5, de;q=0.9", "de"),
        ("en;q=0.5,de;q=0.5", "en"),
        ("de;q=0, pl;q=0.1", "pl"),
        ("de ; q=0.2 , it ; Q=0.3", "it"),
        ("de;q=x, it", "it"),
        ("de;q=1.1, it;q=0.1", "it"),
        ("de;q=nan, it;q=0.1", "it"),
        ("pt", "pt-BR"),
        ("pt-PT", "pt-BR"),
        ("zh", "zh-Hans"),
        ("zh-CN", "zh-Hans"),
        ("zh-SG", "zh-Hans"),
        ("zh-TW", "zh-Hant"),
        ("zh-HK", "zh-Hant"),
        ("zh-Hant-HK", "zh-Hant"),
        ("zh-Hans-TW", "zh-Hans"),
        ("iw", "he"),
        ("he-IL", "he"),
        ("de-", "de"),
        ("-de", "en"),
        (";q=1", "en"),
        (",,, ,ja", "ja"),
        ("xx," * 1000 + "de", "en"),
    ],
)
def test_preferred_language_follows_weights_and_truncation(accept_language: str, code: str) -> None:
    assert preferred(accept_language).code == code


@given(st.text() | st.text(alphabet="de-*;q=0.1, AT"))
def test_any_accept_language_has_a_preferred_language(accept_language: str) -> None:
    assert preferred(accept_language) in languages().values()


def test_more_than_ten_languages_are_available() -> None:
    assert len(languages()) > 10
    assert {each.direction for each in languages().values()} == {"ltr", "rtl"}


@pytest.mark.parametrize(
    ("code", "number"),
    [("en", "1,234,567"), ("de", "1.234.567"), ("fr", "1\u202f234\u202f567"), ("ja", "1,234,567")],
)
def test_number_groups_thousands_by_language(code: str, number: str) -> None:
    assert language_by_code(code).number(1_234_567) == number


@pytest.mark.parametrize(
    ("code", "unit", "low", "high", "text"),
    [
        ("en", "minute", 2, 4, "2–4 minutes"),
        ("en", "hour", 0.5, 2, "0.5–2 hours"),
        ("de", "hour", 0.5, 1.5, "0,5–1,5 Stunden"),
        ("fr", "hour", 1, 1.5, "1–1,5 heure"),
        ("pl", "minute", 3, 5, "3–5 minut"),
        ("pl", "minute", 2, 4, "2–4 minuty"),
        ("ru", "minute", 20, 25, "20–25 минут"),
        ("he", "hour", 1, 2, "1–2 שעות"),
        ("ar", "minute", 1, 2, "1–2 دقائق"),
        ("ja", "minute", 3, 5, "3–5 分"),
    ],
)
def test_span_has_the_plural_form_of_its_end(
    code: str, unit: str, low: float, high: float, text: str
) -> None:
    assert language_by_code(code).span(unit, low, high).replace("\xa0", " ") == text


@pytest.mark.parametrize(
    ("code", "seconds", "text"),
    [
        ("en", 1, "1 second"),
        ("en", 89, "89 seconds"),
        ("en", 90, "2 minutes"),
        ("en", 121, "3 minutes"),
        ("pl", 3, "3 sekundy"),
        ("ru", 5, "5 секунд"),
    ],
)
def test_remaining_time_is_rounded_up(code: str, seconds: int, text: str) -> None:
    assert language_by_code(code).remaining(seconds).replace("\xa0", " ") == text


def test_span_has_both_numbers_in_every_language() -> None:
    for each in languages().values():
        for unit in ("minute", "hour"):
            for low, high in ((1, 2), (2, 3), (1, 1.5), (5, 20)):
                text = each.span(unit, low, high)
                assert f"{each.number(low)}–{each.number(high)}" in text
                assert len(text) > len(f"{each.number(low)}–{each.number(high)}")
                assert "duration" not in text
