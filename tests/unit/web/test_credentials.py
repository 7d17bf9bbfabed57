"""Cookies of the gate: names, attributes, and which one of several counts."""

import re
import time
from dataclasses import replace
from itertools import permutations

import pytest

from gatekeeper.config.types import RoomName
from gatekeeper.policy.facts import Client, RequestFacts
from gatekeeper.policy.tokens import Keyring, Pass, Ticket, Token, Tokens, VisitorId
from gatekeeper.web.credentials import (
    CookiePolicy,
    Credentials,
    PresentedToken,
    all_cookie_names,
)
from gatekeeper.web.message import QUEUE_TOKEN
from tests.builders import (
    PLACE_TTL_S,
    SECRET,
    SESSION_ABSOLUTE_S,
    make_pass,
    make_ticket,
)

ROOM = RoomName("sale")
NOW_S = round(time.time(), 3)
TOKENS = Tokens(Keyring([SECRET]), ROOM)
TICKET = make_ticket(ROOM, now_s=NOW_S)
PASS = make_pass(ROOM, now_s=NOW_S)


def facts(
    cookies: str = "", *, scheme: str = "https", host: str = "shop.example.com"
) -> RequestFacts:
    return RequestFacts(
        Client("192.0.2.1", scheme, host), "GET", "/", cookies=(cookies,) if cookies else ()
    )


def credentials(policy: CookiePolicy | None = None) -> Credentials:
    return Credentials(TOKENS, cookie="gatekeeper", room=ROOM, policy=policy)


def cookie_set(
    policy: CookiePolicy, *, scheme: str = "https", host: str = "shop.example.com"
) -> tuple[str, str]:
    """Name and attributes of the cookie that a response sets."""
    [(_, value)] = credentials(policy).headers(
        TICKET, facts=facts(scheme=scheme, host=host), held=PresentedToken(None), now_s=NOW_S
    )
    pair, _, attributes = value.partition("; ")
    return pair.partition("=")[0], attributes.partition("; ")[2]


@pytest.mark.parametrize(
    ("policy", "scheme", "expected"),
    [
        (CookiePolicy(), "https", "Path=/; HttpOnly; SameSite=None; Secure"),
        (CookiePolicy(), "http", "Path=/; HttpOnly; SameSite=Lax"),
        (CookiePolicy("lax"), "https", "Path=/; HttpOnly; SameSite=Lax; Secure"),
        (CookiePolicy("strict"), "http", "Path=/; HttpOnly; SameSite=Strict"),
        (CookiePolicy("none"), "http", "Path=/; HttpOnly; SameSite=Lax"),
        (
            CookiePolicy(partitioned=True),
            "https",
            "Path=/; HttpOnly; SameSite=None; Secure; Partitioned",
        ),
        (CookiePolicy(partitioned=True), "http", "Path=/; HttpOnly; SameSite=Lax"),
    ],
)
def test_attributes_follow_policy_and_scheme(
    policy: CookiePolicy, scheme: str, expected: str
) -> None:
    name, attributes = cookie_set(policy, scheme=scheme)
    assert attributes == expected
    assert name == ("__Host-gatekeeper-sale" if scheme == "https" else "gatekeeper-sale")


@pytest.mark.parametrize(
    ("host", "has_domain"),
    [
        ("example.com", True),
        ("www.example.com:8443", True),
        ("WWW.example.com", True),
        ("www.example.com.", False),  # for a browser not the host without the dot
        ("example.org", False),
        ("badexample.com", False),
        ("127.0.0.1", False),
    ],
)
def test_cookie_domain_is_set_for_its_own_hosts(host: str, has_domain: bool) -> None:
    """A browser refuses a cookie whose Domain does not cover the host."""
    name, attributes = cookie_set(CookiePolicy(domain="example.com"), host=host)
    assert name == "__Secure-gatekeeper-sale"
    assert attributes.startswith("Domain=example.com; ") is has_domain


@pytest.mark.parametrize(
    ("form", "is_found"),
    [
        ("NAME=TOKEN", True),
        ("a=1; NAME=TOKEN; b=2", True),
        ("a=1;NAME=TOKEN;b=2", True),
        ("a=1; \tNAME=TOKEN", True),
        ('NAME="TOKEN"', True),
        ("NAME=; NAME=TOKEN", True),
        ("NAME=other; NAME=TOKEN", True),
        ("other-NAME=1; NAME=TOKEN", True),
        ("a=NAME=TOKEN", False),
        ("other-NAME=TOKEN", False),
        ("a=1, NAME=TOKEN", False),
        ("NAME =TOKEN", False),
        ("NAME=TOKENx", False),
        ("NAME=", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("secure", [True, False])
def test_token_is_found_in_every_form_of_a_cookie_field(
    form: str, secure: bool, is_found: bool
) -> None:
    name = "__Host-gatekeeper-sale" if secure else "gatekeeper-sale"
    cookies = form.replace("NAME", name).replace("TOKEN", TOKENS.mint(TICKET))
    found = credentials().read_cookie(cookies, secure=secure, now_s=NOW_S)
    assert found.token == (TICKET if is_found else None)


def test_secure_cookie_counts_before_a_plain_one() -> None:
    other = TOKENS.mint(make_ticket(ROOM, now_s=NOW_S))
    cookies = f"gatekeeper-sale={other}; __Host-gatekeeper-sale={TOKENS.mint(TICKET)}"
    assert credentials().read(facts(cookies), now_s=NOW_S).token == TICKET


@pytest.mark.parametrize("token", [TICKET, PASS])
@pytest.mark.parametrize("prefix", ["", "__Host-", "__Secure-"])
def test_place_survives_http_and_a_new_cookie_domain(token: Token, prefix: str) -> None:
    cookie = f"{prefix}gatekeeper-sale={TOKENS.mint(token)}"
    assert credentials().read(facts(cookie), now_s=NOW_S).token == token
    is_read_by_http = credentials().read(facts(cookie, scheme="http"), now_s=NOW_S).token == token
    assert is_read_by_http is (prefix == "")


@pytest.mark.parametrize("planted", [TICKET, PASS])
def test_planted_cookie_without_the_prefix_hides_no_other(planted: Token) -> None:
    own = make_ticket(ROOM, now_s=NOW_S)
    cookies = f"gatekeeper-sale={TOKENS.mint(planted)}; __Host-gatekeeper-sale={TOKENS.mint(own)}"
    assert credentials().read(facts(cookies), now_s=NOW_S).token == own


# Several tokens in one request.


def ticket(*, ago_s: float, letter: str) -> Ticket:
    return replace(make_ticket(ROOM, now_s=NOW_S, ago_s=ago_s), visitor=VisitorId(letter * 22))


EARLY, LATE, LAST = (
    ticket(ago_s=ago_s, letter=letter) for ago_s, letter in ((30, "E"), (20, "L"), (10, "Z"))
)
EXPIRED = make_pass(ROOM, now_s=NOW_S, ago_s=2000, expires_in_s=-1)


@pytest.mark.parametrize("other", [TICKET, PASS])
@pytest.mark.parametrize("prefix", ["", "__Secure-"])
@pytest.mark.parametrize("is_revoked", [True, False])
def test_session_that_ended_over_tls_hides_no_later_one(
    other: Token, prefix: str, is_revoked: bool
) -> None:
    """A visitor whose session ended, and who arrived again by http, continues over TLS."""
    ended = make_pass(ROOM, now_s=NOW_S) if is_revoked else EXPIRED
    revoked = frozenset({ended.visitor} if is_revoked else ())
    pairs = [
        f"{prefix}gatekeeper-sale={TOKENS.mint(other)}",
        f"__Host-gatekeeper-sale={TOKENS.mint(ended)}",
    ]
    for cookies in map("; ".join, permutations(pairs)):
        found = credentials().read(facts(cookies), now_s=NOW_S, revoked=revoked)
        assert found.token == other
    alone = credentials().read(facts(pairs[1]), now_s=NOW_S, revoked=revoked)
    assert alone == PresentedToken(ended)


def cookies_of(*tokens: Token) -> str:
    return "; ".join(f"gatekeeper-sale={TOKENS.mint(token)}" for token in tokens)


Sent = Token | str | list[Token | str] | None


def read(
    *stored: Token,
    sent: Sent = None,
    page: Sent = None,
    revoked: frozenset[VisitorId] = frozenset(),
) -> PresentedToken:
    """Which tokens count of those in cookies, in `X-Queue-Token` and in `X-Queue-Ticket`."""
    request = replace(
        facts(cookies_of(*stored), scheme="http"),
        queue_tokens=texts_of(sent),
        page_tickets=texts_of(page),
    )
    return credentials().read(request, now_s=NOW_S, revoked=revoked)


def texts_of(sent: Sent) -> tuple[str, ...]:
    """The values of a field with one token, several or none."""
    match sent:
        case None:
            return ()
        case str():
            return (sent,)
        case Ticket() | Pass():
            return (TOKENS.mint(sent),)
        case _:
            return tuple(text for each in sent for text in texts_of(each))


@pytest.mark.parametrize("sent", list(permutations((EARLY, LATE, "", "x.y.z"))))
def test_any_valid_token_of_a_repeated_field_counts(sent: tuple[Token | str, ...]) -> None:
    found = read(sent=list(sent))
    assert (found.token, found.others, found.by_header) == (EARLY, (LATE,), True)


@pytest.mark.parametrize("sent", list(permutations((PASS, LATE, "x.y.z"))))
def test_pass_of_a_repeated_field_counts_before_tickets(sent: tuple[Token | str, ...]) -> None:
    found = read(EARLY, sent=list(sent))
    assert found == PresentedToken(PASS, by_header=True, senders=(QUEUE_TOKEN,))


def test_app_with_several_tokens_gets_no_cookie() -> None:
    request = replace(facts("", scheme="http"), queue_tokens=texts_of([LATE, EARLY]))
    held = credentials().read(request, now_s=NOW_S)
    headers = credentials().headers(EARLY, facts=request, held=held, now_s=NOW_S)
    assert headers == ((QUEUE_TOKEN, TOKENS.mint(EARLY)),)


@pytest.mark.parametrize("stored", list(permutations((EARLY, LATE, LAST))))
def test_earliest_of_several_cookies_counts(stored: tuple[Ticket, ...]) -> None:
    assert read(*stored) == PresentedToken(EARLY, others=(LATE, LAST))


@pytest.mark.parametrize("stored", list(permutations((EARLY, PASS, LATE))))
def test_pass_counts_before_tickets(stored: tuple[Token, ...]) -> None:
    assert read(*stored) == PresentedToken(PASS)


SHORT = replace(PASS, visitor=VisitorId("S" * 22), ends_at_s=PASS.ends_at_s - 1)


@pytest.mark.parametrize(
    "stored", list(permutations((SHORT, PASS, replace(SHORT, ends_at_s=NOW_S + 1))))
)
def test_pass_of_the_longest_session_counts(stored: tuple[Token, ...]) -> None:
    """Otherwise a planted pass that ends soon would replace the visitor's own."""
    assert read(*stored) == PresentedToken(PASS)


def test_pass_in_the_header_counts_before_cookies() -> None:
    assert read(PASS, sent=SHORT) == PresentedToken(SHORT, True, senders=APP)


LEFT = replace(PASS, visitor=VisitorId("R" * 22))


@pytest.mark.parametrize("stored", list(permutations((LEFT, PASS, EARLY))))
def test_revoked_pass_does_not_hide_a_valid_one(stored: tuple[Token, ...]) -> None:
    assert read(*stored, revoked=frozenset({LEFT.visitor})) == PresentedToken(PASS)


def test_revoked_pass_counts_last() -> None:
    revoked = frozenset({LEFT.visitor})
    assert read(PASS, sent=LEFT, revoked=revoked).token == PASS
    assert read(EARLY, sent=LEFT, revoked=revoked).token == EARLY
    assert read(LEFT, revoked=revoked).token == LEFT  # so that it is refused, not a newcomer


@pytest.mark.parametrize("count", [1, 9, 40])
def test_no_number_of_dead_tokens_hides_another(count: int) -> None:
    """Only the store knows which of them are void."""
    tickets = [replace(EARLY, visitor=VisitorId(f"{at:022}")) for at in range(count)]
    passes = [
        replace(PASS, visitor=VisitorId(f"{at:021}p"), expires_at_s=NOW_S) for at in range(count)
    ]
    found = read(*passes, *tickets, LATE)
    assert (found.token, *found.others) == (*tickets, LATE)
    assert found.ended == tuple(passes)
    assert read(*passes, *tickets, PASS) == PresentedToken(PASS)
    found = read(*passes)
    assert (found.token, *found.ended) == tuple(passes)


APP, PAGE = ("X-Queue-Token",), ("X-Queue-Ticket",)


def test_earliest_of_header_and_cookie_counts() -> None:
    assert read(LATE, sent=EARLY) == PresentedToken(EARLY, True, (LATE,), APP)
    assert read(EARLY, sent=LATE) == PresentedToken(EARLY, False, (LATE,), APP)
    assert read(PASS, sent=EARLY) == PresentedToken(PASS, senders=APP)
    assert read(EARLY, sent=PASS) == PresentedToken(PASS, True, senders=APP)


def test_earliest_of_page_and_cookie_counts() -> None:
    assert read(LATE, page=EARLY) == PresentedToken(EARLY, False, (LATE,), PAGE)
    assert read(EARLY, page=LATE) == PresentedToken(EARLY, False, (LATE,), PAGE)
    assert read(PASS, page=EARLY) == PresentedToken(PASS, senders=PAGE)


@pytest.mark.parametrize("page", [EARLY, PASS, "", "junk"])
def test_ticket_of_a_page_counts_only_beside_a_cookie(page: Token | str) -> None:
    """A browser that stores no cookies has no place, and its page has to show that."""
    assert read(page=page) == PresentedToken(None)


@pytest.mark.parametrize("page", [PASS, "", "junk"])
def test_page_sends_a_ticket_and_nothing_else(page: Token | str) -> None:
    assert read(LATE, page=page) == PresentedToken(LATE)


def test_same_ticket_by_header_and_cookie_is_one() -> None:
    renewed = replace(EARLY, issued_at_s=NOW_S)
    assert read(EARLY, sent=EARLY) == PresentedToken(EARLY, senders=APP)
    assert read(EARLY, page=EARLY) == PresentedToken(EARLY, senders=PAGE)
    assert read(EARLY, sent=renewed) == PresentedToken(renewed, senders=APP)
    assert read(EARLY, renewed, LATE) == PresentedToken(renewed, others=(LATE,))


@pytest.mark.parametrize("sent", ["", "junk", TOKENS.mint(TICKET)[:-3]])
def test_invalid_header_never_outranks_a_cookie(sent: str) -> None:
    assert read(EARLY, sent=sent) == PresentedToken(EARLY)
    assert read(sent=sent) == PresentedToken(None, by_header=True, is_app=True)


@pytest.mark.parametrize("own_turn_us", [1, 2**53 - 1])
def test_arrival_chooses_among_tickets_not_the_turn(own_turn_us: int) -> None:
    """Otherwise several tabs of one browser would have several chances in a draw."""
    drawn = replace(LAST, own_turn_us=own_turn_us)
    assert read(drawn, EARLY) == PresentedToken(EARLY, others=(drawn,))
    drawn = replace(EARLY, own_turn_us=own_turn_us)
    assert read(LAST, drawn) == PresentedToken(drawn, others=(LAST,))


def headers_of(token: Token | None, held: PresentedToken) -> dict[str, str]:
    fields = credentials().headers(token, facts=facts(scheme="http"), held=held, now_s=NOW_S)
    return dict(fields)


def test_merged_tickets_set_the_cookie_and_return_to_the_sender() -> None:
    """With only a header a page could not set its cookie; with only a cookie it would not
    notice."""
    for held, name in (
        (read(LATE, page=EARLY), "X-Queue-Ticket"),
        (read(EARLY, page=LATE), "X-Queue-Ticket"),
        (read(LATE, sent=EARLY), "X-Queue-Token"),
        (read(EARLY, sent=LATE), "X-Queue-Token"),
    ):
        fields = headers_of(EARLY, held)
        assert fields["Set-Cookie"].startswith(f"gatekeeper-sale={TOKENS.mint(EARLY)};")
        assert fields[name] == TOKENS.mint(EARLY)
        assert len(fields) == 2
    assert list(headers_of(EARLY, read(EARLY, LATE))) == ["Set-Cookie"]
    assert list(headers_of(EARLY, read(EARLY, sent=EARLY))) == ["Set-Cookie"]
    assert list(headers_of(EARLY, read(EARLY, page=EARLY))) == ["Set-Cookie"]
    assert list(headers_of(EARLY, read(sent=EARLY))) == ["X-Queue-Token"]


def test_no_page_receives_a_pass() -> None:
    """A script of the same origin could read it in a header, but not in the gate's cookie."""
    for held in (read(LATE, page=EARLY), read(EARLY, page=LATE)):
        fields = headers_of(PASS, held)
        assert fields["Set-Cookie"].startswith(f"gatekeeper-sale={TOKENS.mint(PASS)};")
        assert len(fields) == 1
    assert headers_of(PASS, read(LATE, sent=EARLY))["X-Queue-Token"] == TOKENS.mint(PASS)


def test_cookie_of_a_pass_lasts_to_the_end_of_its_session() -> None:
    """With an expired pass, the store is asked whether a stream kept its slot."""
    life = re.compile(r"Max-Age=(\d+);")

    def max_age(token: Token | None) -> int:
        match = life.search(headers_of(token, PresentedToken(None))["Set-Cookie"])
        assert match is not None
        return int(match[1])

    assert max_age(PASS) == int(SESSION_ABSOLUTE_S)
    assert max_age(replace(PASS, confirmed=False, expires_at_s=NOW_S + 20)) == SESSION_ABSOLUTE_S
    assert max_age(TICKET) == int(PLACE_TTL_S)
    assert max_age(None) == 0


def test_no_cookie_of_the_gate_reaches_the_origin() -> None:
    assert all_cookie_names("gatekeeper", [ROOM, RoomName("default")]) == {
        prefix + name
        for prefix in ("", "__Host-", "__Secure-")
        for name in ("gatekeeper", "gatekeeper-sale")
    }
