"""The route of a request: one room, for any spelling of its path."""

import re
from functools import partial

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.policy.default_rules import access_rules
from gatekeeper.policy.facts import Client, Fact, RequestFacts
from gatekeeper.policy.request_readings import RequestReadings
from gatekeeper.policy.routing import Bypassed, InRoom, Rejected, Route, Router, Ungated
from tests.linear_time import assert_linear


def room(name: str, *, host: str | None = None, path: str = "/") -> RoomConfig:
    return RoomConfig(name=RoomName(name), host=(host,) if host else (), path=(path,))


def route(router: Router, target: str, *, host: str = "example.com") -> Route:
    return router.route(RequestFacts(Client("192.0.2.1", "http", host), "GET", target))


ONE_ROOM = Router([room("default")])
CHECKOUT = Router([room("checkout", path="/checkout/")])
SITE = Router(
    [
        room("default"),
        room("shop", path="/shop"),
        room("checkout", path="/shop/checkout/"),
        room("tickets", host="tickets.example.com"),
        room("front", host="tickets.example.com", path="/row/1/"),
        room("any-shop", host="*.shop.example.com"),
        room("one-shop", host="one.shop.example.com"),
    ]
)


@pytest.mark.parametrize("path", ["/", "", "*", "/a", "//", "http://x/", "/%", "\0"])
@pytest.mark.parametrize("host", ["example.com", "", "[::1]:80", "a b"])
def test_only_room_holds_every_host_and_path(host: str, path: str) -> None:
    assert ONE_ROOM.room_of(host, path) == "default"


def test_router_without_rooms_gates_nothing() -> None:
    assert Router([]).room_of("example.com", "/") is None


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/", "default"),
        ("/sho", "default"),
        ("/shop", "shop"),
        ("/shopping", "shop"),
        ("/shop/checkou", "shop"),
        ("/shop/checkout", "checkout"),
        ("/shop/checkout/", "checkout"),
        ("/shop/checkout/pay", "checkout"),
        ("/shop/checkouts", "shop"),
        ("/shop?x=/shop/checkout/", "shop"),
        ("/?/shop", "default"),
        ("/#/shop", "default"),
    ],
)
def test_longest_prefix_decides(path: str, name: str) -> None:
    assert SITE.room_of("example.com", path) == name


@pytest.mark.parametrize(
    ("host", "path", "name"),
    [
        ("tickets.example.com", "/", "tickets"),
        ("tickets.example.com", "/shop/checkout/", "tickets"),
        ("tickets.example.com", "/row/1/", "front"),
        ("tickets.example.com:8443", "/", "tickets"),
        ("TICKETS.Example.COM", "/", "tickets"),
        ("tickets.example.com.", "/", "tickets"),
        ("tickets.example.com.:80", "/", "tickets"),
        ("a.tickets.example.com", "/", "default"),
        ("example.com", "/", "default"),
        ("two.shop.example.com", "/", "any-shop"),
        ("one.shop.example.com", "/", "one-shop"),
        ("a.b.shop.example.com", "/", "default"),
        ("shop.example.com", "/", "default"),
        ("", "/shop", "shop"),
    ],
)
def test_host_is_more_specific_than_any_path(host: str, path: str, name: str) -> None:
    assert SITE.room_of(host, path) == name


@pytest.mark.parametrize("host", ["[::1]", "[::1]:8080", "[2001:db8::1]:80", "127.0.0.1:80"])
def test_ip_address_matches_no_named_host(host: str) -> None:
    assert SITE.room_of(host, "/") == "default"
    assert Router([room("named", host="tickets.example.com")]).room_of(host, "/") is None


def test_star_in_a_host_is_one_label() -> None:
    router = Router([room("stars", host="*.example.*")])
    assert router.room_of("a.example.org", "/") == "stars"
    assert router.room_of("a.example.co.uk", "/") is None
    assert router.room_of("example.org", "/") is None


def test_order_of_rooms_does_not_matter() -> None:
    rooms = [room("a", path="/a/"), room("b", path="/a/b/"), room("c", host="h", path="/")]
    for router in (Router(rooms), Router(rooms[::-1])):
        assert router.room_of("x", "/a/b/c") == "b"
        assert router.room_of("h", "/a/b/c") == "c"


RESPELLED = [
    "//checkout/",
    "///checkout//",
    "/%63heckout/",
    "/%63%68%65%63%6b%6f%75%74/",
    "/%63%68%65%63%6B%6F%75%74/",
    "%2fcheckout/",
    "/%2fcheckout/",
    "/checkout%2f",
    "/checkout%2F",
    "/checkout%2Fpay",
    "/checkout%5cpay",
    "/checkout\\pay",
    "\\checkout\\",
    "/./checkout/",
    "/%2e/checkout/",
    "/.//checkout/",
    "/checkout/.",
    "/checkout/./pay",
    "/x/../checkout/",
    "/x/%2e%2e/checkout/",
    "/x/.%2e/checkout/",
    "/x/%2E./checkout/",
    "/x/y/../../checkout/",
    "/../checkout/",
    "/../../../checkout/",
    "/x%2f..%2fcheckout%2f",
    "/x/..;/checkout/",
    "/x/..;a=b/checkout/",
    "/;x/checkout/",
    "/checkout;x/",
    "/checkout;",
    "/checkout;a=b/pay",
    "/checkout/;x",
    "/%2563heckout/",
    "/%252fcheckout/",
    "/checkout%252fpay",
    "/x/%252e%252e/checkout/",
    "/checkout%253b/",
    "/x\\..\\checkout/",
    "/x%5c..%5ccheckout/",
    "/(S(abc))/checkout/",
    "/(A(x)S(y))/(F(z))/checkout/",
    "/%28S(abc)%29/checkout/",
    "/x/(S(abc))/../checkout/",
    "/checkout/../x",
    "/checkout?",
    "/checkout#",
    "/checkout/?x",
    "//checkout/?x=//y",
]


@pytest.mark.parametrize("path", RESPELLED)
def test_respelled_path_is_in_the_room(path: str) -> None:
    assert CHECKOUT.room_of("example.com", path) == "checkout"


SPELLINGS = {
    "/": ["/", "//", "/./", "%2f", "%2F", "%252f", "\\", "%5c", "/x/../", "/;a/", "/.;/"],
    "c": ["c", "%63", "%2563"],
    "k": ["k", "%6b", "%6B", "%256b"],
    "t": ["t", "%74", "t;", "t;v=1", "%74%3b"],
}


@given(st.data())
def test_any_mixture_of_spellings_is_in_the_room(data: st.DataObject) -> None:
    path = "".join(
        data.draw(st.sampled_from(SPELLINGS.get(letter, [letter]))) for letter in "/checkout/"
    )
    # "t" at the end of the segment has a parameter; within a word it would hide the rest.
    assert CHECKOUT.room_of("example.com", path) == "checkout", path


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/check",
        "/checkouts",
        "/checkouts/",
        "/xcheckout/",
        "/x/checkout/",
        "/?/checkout/",
        "/#/checkout/",
        "/x?next=/../checkout/",
        "/checkout.html",
        "/checkout%20x/",
        "/.checkout/",
        "/%25252fcheckouts",
    ],
)
def test_similar_path_is_not_gated(path: str) -> None:
    assert CHECKOUT.room_of("example.com", path) is None


@given(st.text(max_size=100), st.text(max_size=40))
@example("/%ff%fe/", "\udc80")
@example("/%", "[")
@example("/%zz%2", "]:")
@example("#", "")
def test_any_path_and_host_are_routed_without_error(path: str, host: str) -> None:
    assert SITE.room_of(host, "/" + path) is not None
    assert CHECKOUT.room_of(host, path) in (None, "checkout")


@given(st.text(alphabet="/.%2eEfF;\\c", max_size=40))
def test_room_of_any_path_follows_its_readings(path: str) -> None:
    request = RequestReadings(RequestFacts(Client("", "", "h"), "GET", "/" + path))
    assert request.paths[0] == re.sub("/{2,}", "/", "/" + path)
    readings = (*request.paths, *request.paths_beyond_authority)
    gated = any(each == "/c" or each.startswith("/c/") for each in readings)
    assert (Router([room("c", path="/c/")]).room_of("h", "/" + path) == "c") is gated


@pytest.mark.parametrize(
    ("start", "repeated", "end"),
    [
        ("/", "a", "!"),
        ("", "/a", "!"),
        ("", "/", ""),
        ("", "/%2e%2e", ""),
        ("/", "%25", ""),
        ("/", ";", ""),
        ("", "\\", ""),
        ("/", "../", ""),
    ],
    ids=["a long name", "many names", "slashes", "dots", "percents", "semicolons", "back", "up"],
)
def test_long_path_is_routed_in_linear_time(start: str, repeated: str, end: str) -> None:
    def path(size: int) -> str:
        return start + repeated * (size // len(repeated)) + end

    assert_linear(partial(SITE.room_of, "example.com"), path, largest=8000)


@pytest.mark.parametrize(
    "path",
    ["/assets/../buy", "/assets/%2e%2e/buy", "/assets/..%2fbuy", "/assets/%252e%252e/buy"],
)
def test_path_readable_into_two_rooms_is_rejected(path: str) -> None:
    router = Router([room("default"), room("assets", path="/assets/")])
    assert router.room_of("example.com", path) is None
    assert route(router, path) == Rejected(400, "The address can be read in more than one way.")


@pytest.mark.parametrize("path", ["//assets/a.js", "/assets//a.js", "/assets/./a.js"])
def test_untidy_link_is_in_the_intended_room(path: str) -> None:
    router = Router([room("default"), room("assets", path="/assets/")])
    assert router.room_of("example.com", path) == "assets"


def test_route_of_the_only_room_depends_on_nothing() -> None:
    assert route(ONE_ROOM, "/") == InRoom(RoomName("default"))
    assert route(ONE_ROOM, "/").reads == Fact.NONE
    assert ONE_ROOM.reads == Fact.NONE


def test_route_among_rooms_depends_on_host_and_target() -> None:
    assert route(CHECKOUT, "/checkout/") == InRoom(RoomName("checkout"))
    assert route(CHECKOUT, "/") == Ungated()
    assert route(CHECKOUT, "/").reads == Fact.HOST | Fact.TARGET


SHOP = Router(
    [
        room("default"),
        RoomConfig(
            name=RoomName("checkout"),
            path=("/checkout/", "/index.php/checkout/"),
        ),
        RoomConfig(name=RoomName("ajax"), query="wc-ajax=check*"),
        RoomConfig(name=RoomName("exact"), path=("/Exact/",), ignore_case=False),
    ],
    access_rules([], default_rules=True),
)


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("/checkout/pay", "checkout"),
        ("/Checkout/pay", "checkout"),
        ("/CHECKOUT", "checkout"),
        ("/index.php/checkout/", "checkout"),
        ("/INDEX.PHP/Checkout/pay", "checkout"),
        ("/?wc-ajax=checkout", "ajax"),
        ("/?a=b&wc-ajax=checkout", "ajax"),
        ("/?wc%2Dajax=check%6Fut", "ajax"),
        ("/?wc-ajax=other&wc-ajax=checkout", "ajax"),
        ("/?wc-ajax=check%256Fut", "ajax"),
        ("/?wc-ajax=%3Cb%3Echeckout", "ajax"),
        ("/?wc-ajax=%253Cb%3Echeckout", "ajax"),
        ("/?wc-ajax=%2541check%2541out", "ajax"),
        ("/?wc-ajax=%25%254141checkout", "ajax"),
        ("/robots.txt?wc-ajax=checkout", "ajax"),
        ("/favicon.ico?x=1&wc-ajax=checkout", "ajax"),
        ("/.well-known/x?wc-ajax=checkout", "ajax"),
        ("/?wc-ajax=other", "default"),
        ("/?wc-ajax", "default"),
        ("/Exact/x", "exact"),
        ("/exact/x", "default"),
    ],
)
def test_room_covers_its_paths_parameter_and_letter_case(target: str, name: str) -> None:
    assert route(SHOP, target) == InRoom(RoomName(name))


def test_parameter_is_more_specific_than_any_path() -> None:
    assert route(SHOP, "/checkout/?wc-ajax=checkout") == InRoom(RoomName("ajax"))


@pytest.mark.parametrize("target", ["/robots.txt", "/robots.txt?a=b", "/.well-known/x?wc-ajax=no"])
def test_default_rule_yields_only_to_the_parameter_of_a_room(target: str) -> None:
    assert isinstance(route(SHOP, target), Bypassed)


HOSTED = Router(
    [
        RoomConfig(name=RoomName("shop"), host=("shop.example.com", "www.shop.example.com")),
        RoomConfig(name=RoomName("api"), host=("*.api.example.com",), path=("/buy/",)),
    ]
)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("shop.example.com", InRoom(RoomName("shop"))),
        ("WWW.shop.example.com:8443", InRoom(RoomName("shop"))),
        ("eu.api.example.com", Ungated()),
        ("", Rejected(421, "This host is not served here.")),
        ("example.com", Rejected(421, "This host is not served here.")),
        ("shop.example.com.evil.test", Rejected(421, "This host is not served here.")),
        ("[::1]", Rejected(421, "This host is not served here.")),
    ],
)
def test_unknown_host_is_misdirected_where_all_rooms_name_hosts(host: str, expected: Route) -> None:
    assert route(HOSTED, "/", host=host) == expected


@pytest.mark.parametrize("host", ["", "example.com", "[::1]"])
def test_unknown_host_is_misdirected_at_the_endpoints_too(host: str) -> None:
    facts = RequestFacts(Client("", "", host), "POST", "/.gatekeeper/enqueue")
    assert isinstance(HOSTED.route_of_endpoint(facts, RoomName("api")), Rejected)
    known = RequestFacts(Client("", "", "shop.example.com"), "POST", "/.gatekeeper/enqueue")
    assert HOSTED.route_of_endpoint(known, RoomName("api")) == InRoom(RoomName("api"))


def test_unknown_host_is_ungated_where_a_room_serves_any_host() -> None:
    router = Router([room("tickets", host="tickets.example.com"), room("buy", path="/buy/")])
    assert route(router, "/", host="other.example.com") == Ungated()
