"""The keys of `[[rule]]`, and lists of networks from files.

Rules: field names are the keys of the file. Every key but `name`, `action` and `room` is a
condition; all conditions of a rule have to hold, and a list means any of its members.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PrivateAttr

from gatekeeper.config.files import read_file
from gatekeeper.config.patterns import Network, network_of, regex_matcher, with_single_slashes
from gatekeeper.config.problems import shown
from gatekeeper.config.section import KeyConflict, Section
from gatekeeper.config.types import Hosts, Parameters, RoomName, text_or_list

_FILE = "file:"
_MAX_NETWORKS = 100_000
_MAX_REGEX = 1000
_FIELD_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}"  # RFC 9110 section 5.6.2


def _table(value: object) -> object:
    """The values of a table, each a text or a list of texts."""
    if not isinstance(value, dict):
        return value
    return {name: text_or_list(each) for name, each in value.items()}


def _rule_name(value: object) -> str:
    text = value if isinstance(value, str) else ""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,62}", text):
        raise ValueError(
            f"{shown(value)} is not a rule name; "
            "expected 1 to 63 of a-z, 0-9, - and _, starting with a letter or digit"
        )
    return text


def _method(value: object) -> str:
    text = value if isinstance(value, str) else ""
    if not re.fullmatch(_FIELD_NAME, text) or text != text.upper():
        raise ValueError(f'{shown(value)} is not a method; expected e.g. "GET" or "POST"')
    return text


def _path_glob(value: object) -> str:
    text = value if isinstance(value, str) else ""
    if not re.fullmatch(r"(/|\*\*)[!-~]*", text) or re.search(r"[?#]", text):
        raise ValueError(
            f'{shown(value)} is not a path; expected e.g. "/webhooks/**", without "?" or "#"'
        )
    return with_single_slashes(text)


def _regex(value: object) -> str:
    text = value if isinstance(value, str) and len(value) <= _MAX_REGEX else ""
    try:
        if text or value == "":
            regex_matcher(text)
            return text
        reason = "not a text of at most 1000 characters"
    except ValueError as error:
        reason = f"not a regular expression of RE2 ({error})"
    raise ValueError(f'{shown(value)} is {reason}; expected e.g. "/orders/[0-9]+"')


def _name(value: object) -> str:
    text = value if isinstance(value, str) else ""
    if not re.fullmatch(_FIELD_NAME, text):
        raise ValueError(f'{shown(value)} is not a name; expected e.g. "Stripe-Signature"')
    return text


def _client(value: object) -> str:
    text = value if isinstance(value, str) else ""
    if text.startswith(_FILE):
        networks_in(Path(text.removeprefix(_FILE)))
        return text
    return str(_network(text))


def _network(text: str) -> Network:
    try:
        return network_of(text)
    except ValueError:
        raise ValueError(
            f'{shown(text)} is not a network; expected e.g. "10.0.0.0/8", "192.0.2.1" or "file:…"'
        ) from None


Glob = Annotated[str, Field(min_length=1, max_length=1000)]
Globs = Annotated[tuple[Glob, ...], BeforeValidator(text_or_list), Field(strict=False)]
GlobTable = Annotated[
    dict[Annotated[str, BeforeValidator(_name)], Annotated[tuple[Glob, ...], Field(strict=False)]],
    BeforeValidator(_table),
]


class RuleConfig(Section):
    """One [[rule]]."""

    name: Annotated[str, BeforeValidator(_rule_name)]
    action: Literal["bypass", "queue", "block"]
    method: Annotated[
        tuple[Annotated[str, BeforeValidator(_method)], ...],
        BeforeValidator(text_or_list),
        Field(strict=False),
    ] = ()
    host: Hosts = ()
    path: Annotated[
        tuple[Annotated[str, BeforeValidator(_path_glob)], ...],
        BeforeValidator(text_or_list),
        Field(strict=False),
    ] = ()
    path_regex: Annotated[str, BeforeValidator(_regex)] = ""
    query: Parameters = ()
    header: GlobTable = Field(default_factory=dict)
    cookie: GlobTable = Field(default_factory=dict)
    user_agent: Globs = ()
    client: Annotated[
        tuple[Annotated[str, BeforeValidator(_client)], ...],
        BeforeValidator(text_or_list),
        Field(strict=False),
    ] = ()
    room: RoomName = RoomName("")

    _networks: tuple[Network, ...] = PrivateAttr(default=())

    def model_post_init(self, _context: Any, /) -> None:
        found: list[Network] = []
        for client in self.client:
            if client.startswith(_FILE):
                found += networks_in(Path(client.removeprefix(_FILE)))
            else:
                found.append(ipaddress.ip_network(client))
        self._networks = tuple(found)

    @property
    def networks(self) -> tuple[Network, ...]:
        """The networks of `client`, with those of its files."""
        return self._networks

    def conflicts(self) -> Iterator[KeyConflict]:
        conditions = type(self).model_fields.keys() - {"name", "action", "room"}
        if not any(getattr(self, key) for key in conditions):
            problem = 'no condition; expected at least one, e.g. path = "/**" for every request'
            yield KeyConflict((*conditions, "action"), problem, is_missing_key=True)


def networks_in(path: Path) -> list[Network]:
    """The networks in a file: one per line, `#` begins a comment; or the JSON that Google and Bing
    publish of their crawlers (`{"prefixes": [{"ipv4Prefix": …}, {"ipv6Prefix": …}]}`). Raises
    ValueError."""
    try:
        data = read_file(path)
    except OSError as error:
        reason = error.strerror or "cannot be read"
        raise ValueError(f"{shown(str(path))}: {reason}; expected a list of networks") from None
    text = data.decode("utf-8", "replace")
    texts = _published(text, path) if text.lstrip().startswith("{") else _lines(text)
    networks = []
    for number, each in texts:
        try:
            networks.append(network_of(each))
        except ValueError:
            raise ValueError(
                f"{shown(str(path))}, {number}: {shown(each)} is not a network; "
                'expected e.g. "66.249.64.0/27"'
            ) from None
    if not networks or len(networks) > _MAX_NETWORKS:
        raise ValueError(
            f"{shown(str(path))} has {len(networks)} networks; expected 1 to {_MAX_NETWORKS}"
        )
    return networks


def _lines(text: str) -> list[tuple[str, str]]:
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    return [(f"line {number}", line) for number, line in enumerate(lines, 1) if line]


def _published(text: str, path: Path) -> list[tuple[str, str]]:
    expected = '{"prefixes": [{"ipv4Prefix": "…"}]}'
    problem = f"{shown(str(path))} is not a published list; expected {expected}"
    try:
        prefixes = json.loads(text)["prefixes"]
        return [
            (f"prefix {number}", str(prefix.get("ipv4Prefix") or prefix["ipv6Prefix"]))
            for number, prefix in enumerate(prefixes, 1)
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError(problem) from None
