"""Compatibility with Cloudflare Waiting Room: its JSON, and its variables in custom pages."""

import gzip
from dataclasses import replace
from pathlib import Path

import pytest

from gatekeeper.config.schema import RoomConfig
from gatekeeper.errors import ConfigError
from gatekeeper.pages.cloudflare import waiting_room
from gatekeeper.pages.renderer import Pages
from gatekeeper.pages.samples import SAMPLE_POSITIONS, SAMPLE_VIEWS
from gatekeeper.policy.decision import QueuePosition
from gatekeeper.policy.facts import Client, RequestFacts
from gatekeeper.policy.phase import Mode
from gatekeeper.policy.rules import Rules
from gatekeeper.web.message import GateResponse
from gatekeeper.web.responses import Responses
from gatekeeper.web.waiting_status import waiting_status_of
from tests.builders import TICKET, room_state

VIEW = replace(SAMPLE_VIEWS["waiting"], eta_seconds=570, now_s=1596498360.0, refresh_seconds=20)

# As its documentation shows it for a room whose queueing method is "fifo", with no event active.
DOCUMENTED = {
    "inWaitingRoom": True,
    "waitTimeKnown": True,
    "waitTime": 10,
    "waitTime25Percentile": 0,
    "waitTime50Percentile": 0,
    "waitTime75Percentile": 0,
    "waitTimeFormatted": "10 minutes",
    "queueIsFull": False,
    "queueAll": False,
    "lastUpdated": "2020-08-03T23:46:00.000Z",
    "refreshIntervalSeconds": 20,
    "queueingMethod": "fifo",
    "isFIFOQueue": True,
    "isRandomQueue": False,
    "isPassthroughQueue": False,
    "isRejectQueue": False,
    "isEventActive": False,
    "isEventPrequeueing": False,
    "timeUntilEventStart": 0,
    "timeUntilEventStartFormatted": "unavailable",
    "timeUntilEventEnd": 0,
    "timeUntilEventEndFormatted": "unavailable",
    "shuffleAtEventStart": False,
}

# From the example template of its documentation.
CUSTOM = """<!doctype html><title>Queue</title><style>h2 { color: teal }</style>
<h2 id="time-remaining"><noscript>
{{#waitTimeKnown}}Your estimated wait time is {{waitTimeFormatted}}...{{/waitTimeKnown}}
{{^waitTimeKnown}}{{#queueIsFull}}The estimated wait time is greater than a day.{{/queueIsFull}}
{{^queueIsFull}}Your estimated wait time is unavailable.{{/queueIsFull}}{{/waitTimeKnown}}
</noscript></h2>
<p>{{waitTimeHours}} h {{waitTimeHourMinutes}} min, {{lastUpdated}}, {{refreshIntervalSeconds}}</p>
<script>var waitTime = {{waitTime}}; var waitTimeKnown = {{waitTimeKnown}};</script>
{{{turnstile}}}{{#queueAll}}Nobody enters.{{/queueAll}}"""


def folder(path: Path, text: str = CUSTOM) -> Path:
    (path / "queue.mustache").write_text(text)
    return path


def pages(path: Path) -> Pages:
    return Pages(templates=path, waiting=["queue.mustache"])


# The JSON.


def test_json_has_the_documented_names_types_and_values() -> None:
    room_json = waiting_room(VIEW)
    assert {name: room_json[name] for name in DOCUMENTED} == DOCUMENTED
    assert {name: type(room_json[name]) for name in DOCUMENTED} == {
        name: type(value) for name, value in DOCUMENTED.items()
    }
    assert room_json.keys() - DOCUMENTED.keys() == {"turnstile", "infiniteQueue"}


@pytest.mark.parametrize(
    ("eta_seconds", "minutes", "formatted"),
    [
        (0, 1, "1 minute"),
        (60, 1, "1 minute"),
        (61, 2, "2 minutes"),
        (3600, 60, "1 hour"),
        (7500, 125, "2 hours 5 minutes"),
    ],
)
def test_wait_is_in_whole_minutes_and_in_english(
    eta_seconds: int, minutes: int, formatted: str
) -> None:
    room_json = waiting_room(replace(VIEW, eta_seconds=eta_seconds, lang="de"))
    assert (room_json["waitTime"], room_json["waitTimeFormatted"]) == (minutes, formatted)


def test_unknown_wait_is_unavailable() -> None:
    room_json = waiting_room(replace(VIEW, eta_seconds=None))
    assert room_json["waitTimeKnown"] is False
    assert room_json["waitTime"] == 0
    assert room_json["waitTimeFormatted"] == "unavailable"


@pytest.mark.parametrize("name", ["held", "ended"])
def test_stopped_line_queues_all(name: str) -> None:
    assert waiting_room(SAMPLE_VIEWS[name])["queueAll"] is True  # type: ignore[index]


CLIENT = Client("192.0.2.1", "https", "shop.example")


def response_to(request: RequestFacts, path: Path | None = None, **keys: object) -> GateResponse:
    room = RoomConfig.model_validate({"max_active": 10} | keys)
    placed = QueuePosition(10**15, ahead=1283)
    place = waiting_status_of(TICKET, placed, room_state(Mode.AUTO), rules=Rules.of(room))
    responses = Responses(Pages() if path is None else pages(path))
    return responses.waiting(request, place, room=room, now_s=1596498360.0, headers=())


def test_json_format_of_the_room_selects_the_json() -> None:
    request = RequestFacts(CLIENT, "GET", "/", accept="application/json")
    response = response_to(request, json_format="cloudflare", status=202)
    assert response.status == 202
    assert b'{"cfWaitingRoom": {"inWaitingRoom": true, ' in response.body
    assert dict(response.headers)["Content-Type"] == "application/json"
    assert b'"state": "waiting"' in response_to(request).body


# Pages.


def test_page_made_for_cloudflare_renders_as_there(tmp_path: Path) -> None:
    body = pages(folder(tmp_path)).waiting(VIEW, "queue.mustache").body.decode()
    assert "Your estimated wait time is 10 minutes..." in body
    assert "greater than a day" not in body
    assert "unavailable" not in body
    assert "<p>0 h 10 min, 2020-08-03T23:46:00.000Z, 20</p>" in body
    assert "var waitTime = 10; var waitTimeKnown = true;" in body
    assert "Nobody enters." not in body
    held = pages(tmp_path).waiting(SAMPLE_VIEWS["held"], "queue.mustache").body.decode()
    assert "Your estimated wait time is unavailable." in held
    assert "var waitTime = 0; var waitTimeKnown = false;" in held
    assert "Nobody enters." in held


def test_mustache_page_is_composed(tmp_path: Path) -> None:
    made = pages(folder(tmp_path))
    for view in (*SAMPLE_VIEWS.values(), *SAMPLE_POSITIONS):
        page = made.waiting(view, "queue.mustache")
        assert gzip.decompress(page.gzip) == page.body
        assert page.body == made.waiting_page("queue.mustache").rendered(view).body
    assert made.waiting_page("queue.mustache").composes


def test_mustache_page_has_refresh_and_an_open_policy(tmp_path: Path) -> None:
    request = RequestFacts(CLIENT, "GET", "/", accept="text/html", accept_language="de")
    headers = dict(response_to(request, folder(tmp_path), template="queue.mustache").headers)
    assert 10 <= int(headers["Refresh"]) <= 36
    assert headers["Content-Security-Policy"] == "frame-ancestors 'self'; base-uri 'self'"
    assert "Content-Language" not in headers  # only its author knows the language
    own = dict(response_to(request).headers)
    assert "Refresh" not in own
    assert own["Content-Language"] == "de"


def test_message_is_escaped_in_mustache(tmp_path: Path) -> None:
    made = pages(folder(tmp_path, "{{message}}"))
    page = made.waiting(replace(VIEW, message="<script>"), "queue.mustache")
    assert page.body == b"&lt;script&gt;"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{{#waitTimeKnown}}", "never closed"),
        ("{{/waitTimeKnown}}", "not opened"),
        ("{{#a}}{{^b}}{{/a}}{{/b}}", 'last open tag is "b"'),
        ("{{waitTime", "unclosed tag"),
    ],
)
def test_broken_mustache_stops_the_start(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        pages(folder(tmp_path, text))
    assert problem in caught.value.problems[0]
    assert caught.value.source.endswith("queue.mustache")


def test_missing_page_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        pages(tmp_path)
    with pytest.raises(ConfigError, match=r"server\.templates"):
        Pages(waiting=["queue.mustache"])
    with pytest.raises(ConfigError, match=r"nowhere\.html"):
        Pages(waiting=["nowhere.html"])
