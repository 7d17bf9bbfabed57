"""Pages of an event: before it, in its prequeue, during and after its draw."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from gatekeeper.pages.cloudflare import waiting_room
from gatekeeper.pages.renderer import Pages
from gatekeeper.pages.samples import SAMPLE_EVENTS, SAMPLE_VIEWS
from tests.unit.pages.page_reader import VIEW, Reader, write

PREQUEUE, BEFORE = SAMPLE_VIEWS["prequeue"], SAMPLE_VIEWS["before"]
DRAWN = SAMPLE_EVENTS["drawn"]
ID_HASH = "3f2a91c4" + "0d" * 28


def scripts(reader: Reader) -> int:
    return len(reader.attributes("script"))


def refreshes(reader: Reader) -> list[str | None]:
    return [tag["content"] for tag in reader.attributes("meta") if tag.get("http-equiv")]


def test_prequeue_page_counts_down_and_shows_no_place(pages: Pages) -> None:
    reader = Reader(pages.waiting(PREQUEUE))
    for text in (
        "You are in line; when you came does not matter.",
        "Time until the opening 00:12:34",
        "January 1, 2000, 13:00 UTC",
        "How the order is drawn",
        "9f" * 32,
    ):
        assert text in reader.words
    assert "Your place in line" not in reader.words
    [opening] = [tag for tag in reader.attributes("section") if tag.get("id") == "opening"]
    assert opening["data-starts-in"] == "754000"
    assert {"role": "timer"}.items() <= reader.attributes("strong")[0].items()


def test_prequeue_by_arrival_shows_the_place_and_the_countdown(pages: Pages) -> None:
    words = Reader(pages.waiting(SAMPLE_VIEWS["prequeue_place"])).words
    for text in ("Your place in line 1,284", "00:12:34", "your place is kept"):
        assert text in words
    assert "drawn" not in words


@pytest.mark.parametrize("order", ["draw", "arrival"])
@pytest.mark.parametrize("position", [None, 7])
def test_first_page_of_a_prequeue_promises_nothing_yet(
    pages: Pages, order: Literal["draw", "arrival"], position: int | None
) -> None:
    event = replace(PREQUEUE.event, order=order) if PREQUEUE.event else None
    view = replace(PREQUEUE, is_new=True, position=position, event=event)
    reader = Reader(pages.waiting(view))
    assert "your place is being confirmed" in reader.words
    assert "00:12:34" in reader.words
    for promise in ("You are in line;", "You are in line,", "Your place in line"):
        assert promise not in reader.words
    assert refreshes(reader) == ["5"]


def test_opening_is_a_time_for_programs_and_a_calendar(pages: Pages) -> None:
    reader = Reader(pages.waiting(replace(PREQUEUE, room="a&b")))
    assert {"id": "starts", "datetime": "2000-01-01T13:00:00Z"} in reader.attributes("time")
    links = [tag["href"] for tag in reader.attributes("a")]
    assert "/.gatekeeper/calendar/autumn-sale.ics?room=a%26b" in links


def test_page_before_an_opening_reloads_with_and_without_script(pages: Pages) -> None:
    reader = Reader(pages.waiting(BEFORE))
    assert refreshes(reader) == ["760"]
    assert reader.attributes("html")[0]["data-renew"] == "760"
    for text in ("The sale has not started yet", "00:12:34", "You can join from"):
        assert text in reader.words
    assert "shortly before the opening" in reader.text  # the options of that page
    assert reader.attributes("form") == []
    assert b"waiting.js" not in pages.waiting(BEFORE).body
    assert scripts(reader) == 3  # renewal, options and countdown: nothing polls
    assert reader.attributes("title") != []


def test_page_of_a_full_line_tries_again_without_script(pages: Pages) -> None:
    reader = Reader(pages.waiting(SAMPLE_VIEWS["queue_full"]))
    assert refreshes(reader) == ["45"]
    assert scripts(reader) == 1
    assert "nobody else can join right now" in reader.words
    for text in ("Your place", "opening", "Reference"):
        assert text not in reader.words


@pytest.mark.parametrize(
    ("lang", "words"),
    [
        ("en", "Time until the next try 50 seconds"),
        ("de", "Zeit bis zum nächsten Versuch 50 Sekunden"),
        ("ja", "次の再試行までの時間 50 秒"),
    ],
)
def test_page_without_script_says_when_it_tries_again(pages: Pages, lang: str, words: str) -> None:
    """The text has the same number of seconds as the reload."""
    for state in ("queue_full", "address_limit"):
        view = replace(SAMPLE_VIEWS[state], refresh_seconds=50, lang=lang)
        reader = Reader(pages.waiting(view))
        assert words in " ".join(reader.words.split())
        assert refreshes(reader) == ["50"]
    assert "Time until the next try" not in Reader(pages.waiting(BEFORE)).words


@pytest.mark.parametrize("state", ["before", "queue_full", "address_limit"])
def test_page_without_a_place_has_no_words_of_the_line(pages: Pages, state: str) -> None:
    body = pages.waiting(SAMPLE_VIEWS[state]).body.decode()  # type: ignore[index]
    for text in ("Leave the line", "Your place in line", "You are in line", "It is your turn"):
        assert text not in body


def test_page_after_the_draw_shows_number_turn_and_record(pages: Pages) -> None:
    reader = Reader(pages.waiting(DRAWN))
    for text in ("Your number in the draw", "3f2a 91c4", ID_HASH, "946731600000000", "1,284"):
        assert text in reader.words
    links = [tag["href"] for tag in reader.attributes("a")]
    assert "/.gatekeeper/draw/autumn-sale?room=default" in links
    assert "Time until the opening" not in reader.words


def test_page_before_the_draw_shows_no_number(pages: Pages) -> None:
    words = Reader(pages.waiting(SAMPLE_EVENTS["announced"])).words
    assert "Your number" not in words
    assert "3 days 00:00:07" in words


def test_event_by_arrival_has_no_draw_on_its_page(pages: Pages) -> None:
    body = pages.waiting(SAMPLE_EVENTS["arrival"]).body.decode()
    assert "/draw/" not in body
    assert "Fingerprint" not in body


def test_page_without_an_event_has_nothing_of_one(pages: Pages) -> None:
    page = pages.waiting(VIEW)
    for text in ("opening", "drawn", "calendar", "Fingerprint"):
        assert text not in Reader(page).text
    assert b"prequeue" not in page.body.partition(b"data-states")[2].partition(b"<head>")[0]
    assert scripts(Reader(page)) == 2


def test_reference_is_shown_to_be_copied(pages: Pages) -> None:
    reader = Reader(pages.waiting(replace(VIEW, reference="7K3F-9QXD")))
    assert "Reference for support 7K3F-9QXD" in reader.words
    assert "Reference" not in Reader(pages.waiting(VIEW)).words


def test_countdown_stays_left_to_right_in_arabic(pages: Pages) -> None:
    reader = Reader(pages.waiting(replace(PREQUEUE, lang="ar")))
    assert reader.attributes("html")[0]["dir"] == "rtl"
    assert {"id": "clock", "dir": "ltr"} in reader.attributes("bdi")


def test_values_of_one_visitor_never_reach_another(tmp_path: Path) -> None:
    """A template prints the values of the view: another visitor's page has that visitor's
    values."""
    text = "{{ view.ticket }} {{ view.reference }} {{ view.now_s }} {{ view.event }}"
    pages = Pages(templates=write(tmp_path, "waiting.html", text))
    one = replace(DRAWN, ticket="eyJ.one", reference="AAAA-AAAA", now_s=1.0)
    other = replace(DRAWN, ticket="eyJ.two", reference="BBBB-BBBB", now_s=2.0)
    assert pages.waiting(one).body == b"eyJ.one AAAA-AAAA 1.0 None"
    assert pages.waiting(other).body == b"eyJ.two BBBB-BBBB 2.0 None"


def test_cloudflare_json_has_the_prequeue() -> None:
    known = waiting_room(replace(PREQUEUE, now_s=1.0))
    assert known["isEventPrequeueing"] is True
    assert known["isEventActive"] is False
    assert (known["timeUntilEventStart"], known["timeUntilEventStartFormatted"]) == (
        13,
        "13 minutes",
    )
    assert known["shuffleAtEventStart"] is True
    assert known["queueIsFull"] is False


def test_cloudflare_json_has_the_active_event() -> None:
    known = waiting_room(replace(DRAWN, now_s=1.0))
    assert (known["isEventActive"], known["isEventPrequeueing"]) == (True, False)
    assert (known["timeUntilEventStart"], known["timeUntilEventEnd"]) == (0, 84)
    assert known["shuffleAtEventStart"] is False
    assert waiting_room(SAMPLE_VIEWS["queue_full"])["queueIsFull"] is True


def test_cloudflare_page_follows_the_event(tmp_path: Path) -> None:
    text = "{{#isEventPrequeueing}}{{timeUntilEventStart}} min{{/isEventPrequeueing}}"
    text += "{{#queueIsFull}}full{{/queueIsFull}}"
    (tmp_path / "queue.mustache").write_text(text)
    pages = Pages(templates=tmp_path, waiting=["queue.mustache"])
    assert pages.waiting_page("queue.mustache").composes
    assert pages.waiting(PREQUEUE, "queue.mustache").body == b"13 min"
    assert PREQUEUE.event is not None
    sooner = replace(PREQUEUE, event=replace(PREQUEUE.event, starts_in_s=60.0))
    assert pages.waiting(sooner, "queue.mustache").body == b"1 min"
    assert pages.waiting(SAMPLE_VIEWS["queue_full"], "queue.mustache").body == b"full"
    assert pages.waiting(VIEW, "queue.mustache").body == b""
