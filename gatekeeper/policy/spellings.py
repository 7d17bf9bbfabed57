"""Other spellings under which an origin may serve a path that a room or a rule names.

Rules. Pure. Each spelling is routed like a request, so a warning lists only spellings that are not
covered. Rooms and the rules that tighten (`queue`, `block`) are checked: a spelling that a `bypass`
does not cover stays in the queue, which is safe.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from gatekeeper.config.problems import shown
from gatekeeper.config.rule_schema import RuleConfig
from gatekeeper.config.schema import Config, RoomConfig
from gatekeeper.policy.access import AccessRule
from gatekeeper.policy.facts import Client, RequestFacts
from gatekeeper.policy.request_readings import RequestReadings
from gatekeeper.policy.routing import Router

_LETTER = re.compile(r"[A-Za-z]")
_INDEX = "/index.php"
_SAMPLE = "x"  # stands for what a wildcard matches
_REMEDY = "expected them in path as well, if the origin serves them"


def path_warnings(config: Config) -> list[str]:
    """The paths of rooms and rules with spellings that are outside of them."""
    return [*_of_rooms(config), *_of_rules(config)]


def spellings(path: str) -> Iterator[str]:
    """Other spellings of `path`, which may be a glob: in another letter case, with its index file,
    with or without the trailing slash, with two slashes, with an encoded letter."""
    letter = _LETTER.search(path)
    if letter:
        yield path.swapcase()
    if not path.startswith(_INDEX):
        yield _INDEX + path
    if not path.endswith("*"):
        yield path.removesuffix("/") if path.endswith("/") else f"{path}/"
    yield f"/{path}"
    if letter:
        yield f"{path[: letter.start()]}%{ord(letter[0]):02x}{path[letter.end() :]}"


def _of_rooms(config: Config) -> Iterator[str]:
    router = Router(config.rooms)
    for index, room in enumerate(config.rooms):
        for path in room.path:
            if path == "/":
                continue

            def is_covered(spelled: str, room: RoomConfig = room) -> bool:
                return room.name in router.rooms_of(RequestReadings(_request(spelled, room)))

            if is_covered(path):  # else another room has this path
                yield from _warning(f"room[{index}].path", path, is_covered)


def _of_rules(config: Config) -> Iterator[str]:
    for index, rule in enumerate(config.rules):
        if rule.action == "bypass" or not rule.path:
            continue
        by_path = AccessRule.of(RuleConfig(name=rule.name, action=rule.action, path=rule.path))

        def is_covered(spelled: str, rule: AccessRule = by_path) -> bool:
            sample = spelled.replace("**", _SAMPLE).replace("*", _SAMPLE)
            return rule.evaluate(RequestReadings(_request(sample)))[0]

        for glob in rule.path:
            if glob.startswith("/"):  # else it begins anywhere
                yield from _warning(f"rule[{index}].path", glob, is_covered)


def _warning(where: str, path: str, is_covered: Callable[[str], bool]) -> Iterator[str]:
    outside = [shown(each) for each in spellings(path) if not is_covered(each)]
    if outside:
        yield f"{where}: {shown(path)} does not cover {', '.join(outside)}; {_REMEDY}"


def _request(path: str, room: RoomConfig | None = None) -> RequestFacts:
    """A request for `path`, on the first host of the room and with its parameter."""
    host = room.host[0].replace("*", _SAMPLE) if room is not None and room.host else ""
    query = f"?{room.query.replace('*', _SAMPLE)}" if room is not None and room.query else ""
    return RequestFacts(Client("", "", host), "GET", path + query)
