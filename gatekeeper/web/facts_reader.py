"""The two adapters from a request to its facts: aiohttp's request, and a raw plain head.

The third, for the request that a proxy asks about, is `gatekeeper.policy.original_request`.

Rules. A test verifies that both return the same facts for the same bytes. They decide nothing, and
do not raise for a request that its parser accepted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from aiohttp.web import BaseRequest

from gatekeeper.policy.facts import Client, RequestFacts, members_of, origin_form
from gatekeeper.policy.parameters import underscored_values
from gatekeeper.proxy.client_address import Network, client_behind, client_of
from gatekeeper.proxy.plain_head import PlainRequest
from gatekeeper.web.message import PAGE_TICKET, QUEUE_TOKEN

_MAX_TOKENS = 8  # parsed per field
_HTMX = "HX-Request"
# For a head that `parse_plain_head` accepted: one space follows each colon.
_READ = re.compile(rb"\r\n(accept(?:-encoding|-language)?|hx-request): ([^\r]*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FactsReader:
    """Reads facts for one listener: `trusted` are the peers whose `X-Forwarded-*` count, and `tls`
    whether it serves TLS itself."""

    trusted: Sequence[Network]
    tls: bool

    def of_request(self, request: BaseRequest) -> RequestFacts:
        """The facts of a request that aiohttp parsed."""
        headers = request.headers
        return RequestFacts(
            client=client_of(request, trusted=self.trusted, tls=self.tls),
            method=request.method,
            target=origin_form(request.raw_path),
            accept=",".join(headers.getall("Accept", ())),
            accept_encoding=",".join(headers.getall("Accept-Encoding", ())),
            accept_language=",".join(headers.getall("Accept-Language", ())),
            cookies=tuple(headers.getall("Cookie", ())),
            queue_tokens=_members(headers.getall(QUEUE_TOKEN, ())),
            page_tickets=_members(headers.getall(PAGE_TICKET, ())),
            has_body=request.body_exists,
            is_htmx=_HTMX in headers,
            fields=lambda name: headers.getall(name, ()),
            underscored=lambda name: underscored_values(headers.items(), name),
        )

    def of_plain_head(self, head: bytes, request: PlainRequest, peer: str) -> RequestFacts:
        """The facts of a plain request from `peer`; `head` is its head, unparsed."""
        found = {"accept": "", "accept-encoding": "", "accept-language": ""}
        for name, value in _READ.findall(head):
            key = name.decode("ascii").lower()
            text = value.decode("utf-8", "surrogateescape")
            before = found.get(key)
            found[key] = f"{before},{text}" if before else text
        return RequestFacts(
            client=self.client_of_plain(request, peer),
            method=request.method,
            target=request.target.decode("ascii"),
            accept=found["accept"],
            accept_encoding=found["accept-encoding"],
            accept_language=found["accept-language"],
            cookies=() if request.cookie is None else (_text(request.cookie),),
            page_tickets=()
            if request.page_ticket is None
            else _members([_text(request.page_ticket)]),
            is_htmx="hx-request" in found,
            fields=partial(field_values, head),
        )

    def client_of_plain(self, request: PlainRequest, peer: str) -> Client:
        return client_behind(
            peer,
            request.host.decode("ascii"),
            request.forwarded_values,
            trusted=self.trusted,
            tls=self.tls,
        )


def field_values(head: bytes, name: str) -> list[str]:
    """The values of a field of a plain head, in their order. Its first line is not looked at."""
    wanted = name.lower().encode("ascii")
    lines = [line.partition(b": ") for line in head.split(b"\r\n")[1:]]
    return [_text(value) for field, _, value in lines if field.lower() == wanted]


class FieldTable:
    """The fields of a plain head by name, for a request with many lookups. Larger than the head:
    not for caches."""

    __slots__ = ("_values",)

    def __init__(self, head: bytes) -> None:
        self._values: dict[str, list[str]] = {}
        for line in _text(head).split("\r\n")[1:]:
            name, _, value = line.partition(": ")
            self._values.setdefault(name.lower(), []).append(value)

    def __call__(self, name: str) -> Sequence[str]:
        return self._values.get(name.lower(), ())


def _members(lines: Sequence[str]) -> tuple[str, ...]:
    """The first `_MAX_TOKENS` members of a field that a proxy may have joined (RFC 9110 section
    5.3). An empty field is one empty member: its client is an app."""
    if not lines:
        return ()
    members = [member.strip(" \t") for line in lines for member in members_of(line)]
    return tuple(each for each in members if each)[:_MAX_TOKENS] or ("",)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
