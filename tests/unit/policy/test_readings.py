"""Readings of a path: no other spelling bypasses a room, and ordinary paths have one or two
readings."""

from collections.abc import Callable, Iterable
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatekeeper.config.schema import RoomConfig
from gatekeeper.policy import readings
from gatekeeper.policy.access import AccessRule, PathCondition
from gatekeeper.policy.facts import Client, RequestFacts, origin_form
from gatekeeper.policy.readings import TooManyReadings, path_readings
from gatekeeper.policy.routing import Blocked, Bypassed, InRoom, Rejected, Route, Router
from tests.path_spellings import WALKED
from tests.work import calls_of

EVERYTHING = RoomConfig.model_validate({"name": "site"})
SECRET = RoomConfig.model_validate({"name": "secret", "path": "/secret/"})
WEBHOOKS = AccessRule("webhooks", "bypass", (PathCondition(("/webhooks/**",)),))
CLOSED = AccessRule("closed", "block", (PathCondition(("/secret", "/secret/**")),))

DOTS = [".", "%2e", "%2E", "%252e", "%c0%ae", "%c0%2e", "%e0%80%ae", "%f0%80%80%ae"]
DOTS += [
    "%u002e",
    "%25u002e",
    "%ef%bc%8e",
    "%e2%80%a4",
    ".%e2%80%8b",
    "%00.",
    ".%00",
    "%0a.",
    "%7f.",
]
SLASHES = ["/", "%2f", "%252f", "\\", "%5c", "%255c", "%c0%af", "%c1%9c", "%u002f", "%u2215"]
SLASHES += ["%ef%bc%8f", "%e2%88%95", ";a=b/", "%3b/", "/./", "%20/", "/%00/", "//", "/x/../"]
LETTERS = {"s": ["s", "%73", "%2573", "%u0073", "%c1%b3", "%ef%bd%93", "s%00", "%c5%bf"]}

AMBIGUOUS = [
    *("a%00", "a%2500b", "%ff", "%c0%41", "%u0041", "%25u0041", "%", "%zz", ".../x", ".%20./x"),
    *("a%0ab", "a%7f", "%25252e", "x::$DATA", "%20", "a%e2%80%8bb", "%ef%bc%a1", "a%ed%a0%80"),
    *("%ef%bf%bd", "a/ /b", "x#/y"),
]
ORDINARY = [
    *("", "a", "a.b", "a.b.min.js", ".well-known", "a%20b.png", "caf%C3%A9", "%E6%97%A5%E6%9C%AC"),
    *("a+b", "@scope%2fname", "a;v=1.js", "a:b", "100%25", "~a", "a?x=%00", "a?../../secret"),
    *(
        "a..b",
        "a.",
        "./a",
        "b/../a",
        "(a)!$&'*,=",
        "%D0%BF%D1%83%D1%82%D1%8C/",
        "a%2Eb",
        "%E2%82%AC",
    ),
]


def route(target: str, rules: Iterable[AccessRule] = (), *rooms: RoomConfig) -> Route:
    return Router(rooms, rules).route(RequestFacts(Client("", "https", "h"), "GET", target))


def assert_no_way_around(target: str) -> None:
    """The bypass of a neighbouring path does not apply to it; a room and a block do."""
    assert not isinstance(route(target, [WEBHOOKS], EVERYTHING), Bypassed), target
    assert isinstance(route(target, [WEBHOOKS], SECRET), InRoom | Rejected), target
    assert isinstance(route(target, [CLOSED], EVERYTHING), Blocked | Rejected), target


@pytest.mark.parametrize("target", WALKED)
def test_no_spelling_walks_around_a_room_by_a_bypass(target: str) -> None:
    assert_no_way_around(target)
    assert route(target, [CLOSED], EVERYTHING) == Blocked("closed")


@given(st.data())
def test_no_mixture_of_spellings_walks_around_a_room(data: st.DataObject) -> None:
    def spelled(choices: list[str]) -> str:
        return data.draw(st.sampled_from(choices))

    up = spelled(DOTS) + spelled(DOTS)
    word = "".join(spelled(LETTERS.get(letter, [letter])) for letter in "secret")
    assert_no_way_around(
        f"/webhooks{spelled(SLASHES)}{up}{spelled(SLASHES)}{word}{spelled(SLASHES)}"
    )


@pytest.mark.parametrize("path", AMBIGUOUS)
def test_ambiguous_path_bypasses_nothing(path: str) -> None:
    target = f"/webhooks/{path}"
    assert path_readings(target).is_ambiguous
    assert route(target, [WEBHOOKS], EVERYTHING) == InRoom(EVERYTHING.name)
    assert route(target, [AccessRule("all", "bypass", (PathCondition(("/**",)),))], EVERYTHING) == (
        InRoom(EVERYTHING.name)
    )


@pytest.mark.parametrize("path", ORDINARY)
def test_ordinary_path_still_bypasses(path: str) -> None:
    target = f"/webhooks/{path}"
    assert not path_readings(target).is_ambiguous
    assert route(target, [WEBHOOKS], EVERYTHING) == Bypassed("webhooks")


PLAIN = ["/", "", "/a", "/a/b-c_d~e/", "/a/b?x=%2f..", "/.well-known/x", "/a.1b2c.min.js", "/a:b"]


@pytest.mark.parametrize("path", PLAIN)
def test_ordinary_path_has_one_reading(path: str) -> None:
    assert path_readings(path).paths == (path.partition("?")[0],)


@given(st.text(max_size=60))
@example("\ud800\udfff")
@example("%" * 50)
def test_readings_are_distinct_text(path: str) -> None:
    readings = path_readings("/" + path)
    assert len(set(readings.paths)) == len(readings.paths)
    for each in readings.paths:
        each.encode()


LONG = [
    *("/./", "/../", "\\", ";", "/%00", "%252e%252e;x\\/", "/..%c0%af", "/a..", ".", "%20", "%"),
    *("%u002f/.", "/a%252f..;/%00\\ .%c0%ae%ef%bc%8e%u002e%3f", "%cc%80%cc%a3", "/. ", "%ef%bd%93"),
]


# The parts of the work for a path; each reads a text once.
PASSES = [
    *("_by_quoted_printable", "_folded", "_is_ambiguous", "_merged", "_resolved", "_variants"),
    *("_with_overlong", "_with_utf_16", "_without_blank_ends", "_without_parameters"),
]


def characters_read(path: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """The number of characters of all texts that are processed to read a path."""
    read: list[int] = []

    def counted(do: Callable[..., object]) -> Callable[..., object]:
        def count(text: str | bytes) -> object:
            read.append(len(text))
            return do(text)

        return count

    with monkeypatch.context() as patch, suppress(TooManyReadings):
        for name in PASSES:
            patch.setattr(readings, name, counted(getattr(readings, name)))
        path_readings(path)
    return sum(read)


@pytest.mark.parametrize("piece", LONG)
def test_work_for_a_long_path_is_linear(piece: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most 80 times the length for any path, and about twice as much for twice the path."""
    half, whole = (
        characters_read(("/" + piece * length)[:length], monkeypatch) for length in (4000, 8000)
    )
    assert whole <= 80 * 8000
    assert whole <= 2.2 * half


@pytest.mark.parametrize("piece", LONG)
def test_calls_for_a_long_path_are_linear(piece: str) -> None:
    """A few calls for each segment or escape, which has about three characters."""
    path = ("/" + piece * 8000)[:8000]

    def read() -> None:
        with suppress(TooManyReadings):
            path_readings(path)

    assert calls_of(read) < 20_000


def test_raw_bytes_of_a_long_path_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte is an escape, so the path is three times as long."""
    path = origin_form("/" + "\udce9/\udcc0\udcaf" * 2047)
    assert characters_read(path, monkeypatch) <= 80 * 8000


def test_path_with_too_many_readings_is_refused() -> None:
    target = "/a%252f..;/%00\\ .%c0%ae%ef%bc%8e%u002e%3f" * 100
    with pytest.raises(TooManyReadings):
        path_readings(target)
    refused = Rejected(400, "The address can be read in more than one way.")
    assert route(target, [WEBHOOKS], EVERYTHING) == InRoom(EVERYTHING.name), "its path is not read"
    assert route(target, [CLOSED], EVERYTHING) == refused
    assert route(target, [], SECRET) == refused
    assert Router([SECRET]).room_of("h", target) is None


@pytest.mark.parametrize(
    "target", ["//x/secret/", "//x\\secret/a", "/\\x/secret/", "//x:1/%73ecret/"]
)
def test_name_after_two_slashes_hides_no_room(target: str) -> None:
    """Some libraries take `//x/path` for the path of a host `x`."""
    assert_no_way_around(target)


def test_two_slashes_are_one_where_a_room_is_there() -> None:
    site, shop = EVERYTHING, RoomConfig.model_validate({"name": "shop", "path": "/shop/"})
    assert route("//shop/secret/", [], site, shop) == InRoom(shop.name)
    assert route("//secret/", [], SECRET, shop) == InRoom(SECRET.name)
