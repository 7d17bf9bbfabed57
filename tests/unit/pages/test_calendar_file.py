"""The calendar file of an opening, read by RFC 5545."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.pages.calendar_file import CalendarEntry, calendar_file
from gatekeeper.pages.languages import language_by_code, languages

ENGLISH = language_by_code("en")


def opening(**changes: str) -> CalendarEntry:
    return CalendarEntry(
        **{
            "event": "autumn-sale",
            "room": "default",
            "title": "shop.example.com",
            "host": "shop.example.com",
            "address": "https://shop.example.com/",
            "starts_at": "2026-12-01T09:00:00Z",
            "ends_at": "2026-12-01T11:00:00Z",
            "now": "2026-11-28T17:00:00Z",
        }
        | changes
    )


def unfolded(file: bytes) -> list[str]:
    """The content lines (RFC 5545 section 3.1)."""
    assert file.endswith(b"\r\n")
    for line in file.split(b"\r\n"):
        assert len(line) <= 75
        assert b"\n" not in line
        assert b"\r" not in line
        line.decode()  # no character is split
    return file.decode().replace("\r\n ", "").split("\r\n")[:-1]


def value_of(name: str, file: bytes) -> str:
    """The value of the first line with that name, decoded as TEXT."""
    [value, *_] = [line.partition(":")[2] for line in unfolded(file) if line.startswith(name + ":")]
    out, escaped = "", False
    for character in value:
        if escaped:
            out += "\n" if character in "nN" else character
            escaped = False
        elif character == "\\":
            escaped = True
        else:
            out += character
    return out


def test_file_has_the_event_in_utc_and_a_reminder() -> None:
    assert unfolded(calendar_file(opening(), ENGLISH)) == [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//Gatekeeper//Waiting room//EN",
        "METHOD:PUBLISH",
        "BEGIN:VEVENT",
        "UID:autumn-sale.default@shop.example.com",
        "DTSTAMP:20261128T170000Z",
        "DTSTART:20261201T090000Z",
        "DTEND:20261201T110000Z",
        "SUMMARY:shop.example.com: Opening",
        "URL:https://shop.example.com/",
        "BEGIN:VALARM",
        "ACTION:DISPLAY",
        "TRIGGER:-PT10M",
        "DESCRIPTION:shop.example.com: Opening",
        "END:VALARM",
        "END:VEVENT",
        "END:VCALENDAR",
    ]


def test_event_without_an_end_has_no_end() -> None:
    lines = unfolded(calendar_file(opening(ends_at="", address=""), ENGLISH))
    assert not [line for line in lines if line.startswith(("DTEND", "URL"))]


def test_delayed_opening_is_the_same_entry() -> None:
    later = opening(starts_at="2026-12-02T09:00:00Z", now="2026-11-29T17:00:00Z")
    uids = {value_of("UID", calendar_file(each, ENGLISH)) for each in (opening(), later)}
    assert len(uids) == 1


@pytest.mark.parametrize("lang", list(languages()))
def test_file_is_valid_in_every_language(lang: str) -> None:
    title = "Très long; «Ausverkauf», \\ 大売り出し 🎟 " * 4
    file = calendar_file(opening(title=title), language_by_code(lang))
    assert value_of("SUMMARY", file).startswith(title)


@given(st.text(max_size=200), st.text(max_size=80))
def test_no_text_adds_a_line(title: str, address: str) -> None:
    plain = len(unfolded(calendar_file(opening(), ENGLISH)))
    file = calendar_file(opening(title=title, address=address or "x"), ENGLISH)
    assert len(unfolded(file)) == plain


@pytest.mark.parametrize("newline", ["\n", "\r", "\r\n"])
def test_line_break_in_a_title_is_escaped(newline: str) -> None:
    title = f"Sale{newline}END:VEVENT"
    file = calendar_file(opening(title=title), ENGLISH)
    assert value_of("SUMMARY", file) == "Sale\nEND:VEVENT: Opening"
    assert unfolded(file).count("END:VEVENT") == 1
