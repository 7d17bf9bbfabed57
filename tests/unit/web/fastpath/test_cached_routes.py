"""Under any rules, the route from a cache is the route of a new lookup."""

from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.policy.access import (
    AccessRule,
    Condition,
    CookieCondition,
    FieldCondition,
    HostCondition,
    NamedValue,
    PathCondition,
    QueryCondition,
    RuleAction,
)
from gatekeeper.policy.default_rules import DEFAULT_RULES
from gatekeeper.policy.methods import MethodCondition
from tests.profiles import examples
from tests.unit.web.fastpath.lookup_scene import (
    NAMED_ROOM,
    ONE_ROOM,
    OTHER_PEER,
    PASS_FIELD,
    PASSES,
    PEER,
    ROOMS,
    TRUSTED_PEER,
    block,
    client,
    exit_of,
    head,
    lookup,
)

TICKETS_SECRET = RoomConfig(name=RoomName("tickets"), host=("tickets.example",), path=("/secret",))


@pytest.mark.parametrize(
    ("rooms", "rules", "host", "fields", "peer"),
    [
        (ONE_ROOM, [block(client(OTHER_PEER))], "", ["X-A: b"], OTHER_PEER),
        (
            ONE_ROOM,
            [block(FieldCondition((NamedValue("X-Key", ("yes",)),)))],
            "",
            ["X-Key: yes"],
            PEER,
        ),
        ((RoomConfig(), TICKETS_SECRET), [], "tickets.example", [], PEER),
    ],
    ids=["client", "fields", "host"],
)
def test_cached_route_is_separate_for_every_other_fact(
    rooms: tuple[RoomConfig, ...], rules: list[AccessRule], host: str, fields: list[str], peer: str
) -> None:
    """One visitor's `/secret` is forwarded; that of another visitor with other fields is not."""
    looked = lookup(rooms, rules)
    for path in ("/", "/secret"):
        assert exit_of(looked, head(path, PASS_FIELD), PEER).way == "forward"
    mine = [PASS_FIELD, *fields]
    assert exit_of(looked, head("/", *mine, host=host or "shop.example"), peer).way == "forward"
    assert looked.recall(head("/secret", *mine, host=host or "shop.example"), peer) is None


addresses: list[Condition] = [client(each) for each in ("192.0.2.7", "203.0.113.0/24", "127.0.0.1")]
# By the fact that they depend on.
CONDITIONS: dict[str, list[Condition]] = {
    "host": [HostCondition(("tickets.example",))],
    "method": [MethodCondition(frozenset({"HEAD"})), MethodCondition(frozenset({"GET"}))],
    "target": [
        QueryCondition((NamedValue("free"),)),
        *(PathCondition((glob,)) for glob in ("/free/**", "/secret*", "/**", "/free/*")),
    ],
    "others": [
        FieldCondition((NamedValue("X-Key", ("yes",)),)),
        FieldCondition((NamedValue("X-Forwarded-Proto", ("https",)),)),
        FieldCondition((NamedValue("user-agent", ("*bot*",)),)),
        FieldCondition((NamedValue("Referer", ("*shop.example/",)),)),
    ],
    "cookie": [
        FieldCondition((NamedValue("Cookie", ("*staff=yes*",)),)),
        CookieCondition((NamedValue("staff", ("yes",)),)),
        CookieCondition((NamedValue("gatekeeper"),)),
    ],
    "address": [FieldCondition((NamedValue("x-forwarded-for", ("203.*",)),)), addresses[1]],
    "peer": addresses,
}
actions: st.SearchStrategy[RuleAction] = st.sampled_from(["bypass", "bypass", "queue", "block"])
some_rules = st.lists(
    st.builds(
        AccessRule,
        st.sampled_from(["two", "three"]),
        actions,
        st.lists(
            st.sampled_from([each for some in CONDITIONS.values() for each in some]),
            min_size=1,
            max_size=2,
        ).map(tuple),
        st.none() | st.just(RoomName("checkout")),
    ),
    max_size=2,
)
targets = st.sampled_from(
    [
        "/",
        "/secret",
        "/free/a",
        "//free/a",
        "/free/%2e%2e/secret",
        "/free/../secret",
        "/free/checkout/",
        "/free?free=1",
        "/robots.txt",
        "/.gatekeeper/status",
        "/.gatekeeper/status?room=checkout",
    ]
)
cookies = st.sampled_from(
    [
        "",
        "a=b",
        "staff=yes",
        *PASSES.values(),
        *(each + PASSES["default"] for each in ("staff=no; ", "a=b; ", "c=%s; ", "a=b ;\t", "; ")),
        *(PASSES["default"] + each for each in ("; a=b", ";a=b", "; ", "; gatekeeper", " x; a=b")),
        f"a=b; {PASSES['checkout']}; c=d; {PASSES['default']}; staff=yes",
        f"xgatekeeper=1; {PASSES['default']}",
    ]
)
forwarded = st.sampled_from(["", "203.0.113.9", "198.51.100.1, 192.0.2.7", "198.51.100.1"])
others = st.sampled_from(
    [
        (),
        ("X-Key: yes",),
        ("User-Agent: a bot",),
        ("X-Forwarded-Proto: https",),
        ("Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"),
        ("Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"),
        ("sec-purpose: prefetch",),
        ("X-Queue-Ticket: a.b.c",),
        ("Referer: https://shop.example/",),
        ("Referer: https://shop.example/a%20b",),
        ("referer: https://shop.example/", 'If-None-Match: "a"'),
        ("Referer: https://shop.example/", 'If-None-Match: "b"', 'If-None-Match: "c"'),
        ("Referer:  a",),
        ("Referer: ",),
        ("Referer: \x01",),
    ]
)
methods = st.sampled_from(["GET", "GET", "GET", "HEAD"])
hosts = st.sampled_from(["shop.example", "tickets.example"])
peers = st.sampled_from([TRUSTED_PEER, TRUSTED_PEER, PEER, OTHER_PEER])


class SentRequest(NamedTuple):
    """The facts of one request."""

    target: str
    others: tuple[str, ...]
    cookie: str
    address: str
    method: str
    peer: str
    host: str

    def arrive(self) -> tuple[bytes, str]:
        """Its head and its peer."""
        fields = list(self.others)
        fields += [f"Cookie: {self.cookie}"] if self.cookie else []
        fields += [f"X-Forwarded-For: {self.address}"] if self.address else []
        return head(self.target, *fields, method=self.method, host=self.host), self.peer


often_varied = st.sampled_from(
    [*SentRequest._fields, "address", "address", "cookie", "others", "peer"]
)
sent = st.builds(SentRequest, targets, others, cookies, forwarded, methods, peers, hosts)


@st.composite
def courses(draw: st.DrawFn) -> tuple[list[AccessRule], list[tuple[bytes, str]]]:
    """Rules, and requests that are equal in all facts except one or two, like those of browsers.
    The first rule depends on one of these facts: a cache without it in its key would confuse
    requests."""
    varied = draw(st.lists(often_varied, min_size=1, max_size=2))
    condition = draw(st.sampled_from(CONDITIONS[varied[0]]))
    first = AccessRule("one", draw(actions), (condition,))
    alike, requests = draw(sent), []
    for other in draw(st.lists(sent, min_size=3, max_size=6)):
        one = alike._replace(**{name: getattr(other, name) for name in varied})
        requests += [alike.arrive(), one.arrive()]
    return [first, *draw(some_rules)], requests


@settings(max_examples=examples(300))
@given(
    st.sampled_from([ONE_ROOM, ONE_ROOM, ROOMS, NAMED_ROOM]),
    courses(),
    st.sampled_from([(), DEFAULT_RULES]),
)
def test_cached_route_is_the_fresh_route(
    rooms: tuple[RoomConfig, ...],
    course: tuple[list[AccessRule], list[tuple[bytes, str]]],
    default_rules: tuple[AccessRule, ...],
) -> None:
    """Over generated rule sets, hosts, paths, addresses, methods, cookies and fields."""
    rules = [*course[0], *default_rules]
    looked = lookup(rooms, rules)
    for data, peer in course[1]:
        assert exit_of(looked, data, peer) == exit_of(lookup(rooms, rules), data, peer)
