"""`gatekeeper explain`: the route is that of the router, and each rule has the reason why it does
not match."""

from pathlib import Path

import pytest

from gatekeeper.config.load import load_config
from gatekeeper.config.schema import Config
from gatekeeper.policy.explain import (
    explain_request,
    parse_client_address,
    parse_header,
    parse_method,
    parse_request_url,
)
from tests.builders import parse_config

TOML = """
[[rule]]
name = "hooks"
action = "bypass"
method = "POST"
path = "/hooks/**"
header = { "Signature" = "*" }

[[rule]]
name = "closed"
action = "block"
path = "/closed/**"

[[rule]]
name = "pay"
action = "queue"
path = "/pay/**"

[[room]]
name = "shop"
host = "shop.example.com"
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return parse_config(TOML, folder=tmp_path_factory.mktemp("config"))


@pytest.mark.parametrize(
    ("request_line", "headers", "last"),
    [
        (
            "POST /hooks/a",
            ["Signature: x"],
            'forwarded by rule "hooks", without counting and without a token',
        ),
        ("POST /hooks/a", [], 'in room "shop"'),
        ("GET /closed/x", [], '403 by rule "closed"'),
        ("GET /pay/x", [], 'in room "shop"'),
        ("GET /robots.txt", [], 'forwarded by rule "robots", without counting and without a token'),
    ],
)
def test_last_line_is_the_route(
    config: Config, request_line: str, headers: list[str], last: str
) -> None:
    method, path = request_line.split()
    url = f"https://shop.example.com{path}"
    assert [*explain_request(config, method, url, headers=headers, client="192.0.2.1")][-1] == last


def test_reason_names_the_condition_and_the_reading(config: Config) -> None:
    url = "https://shop.example.com/hooks/%2e%2e/x"
    lines = [*explain_request(config, "POST", url, headers=["Signature: x"], client="192.0.2.1")]
    assert lines[0] == "interpretations of the path: /hooks/%2e%2e/x, /hooks/../x, /x"
    assert lines[1] == (
        'rule "hooks" (bypass) does not hold: '
        "path matches in one reading, and a bypass needs every reading"
    )
    assert lines[2] == 'rule "closed" (block) does not hold: path does not match'


def test_rule_that_holds_ends_the_list(config: Config) -> None:
    url = "https://shop.example.com/pay/1"
    lines = [*explain_request(config, "GET", url, headers=[], client="192.0.2.1")]
    assert lines[-2:] == [
        'rule "pay" holds: the request goes on to the rooms',
        'in room "shop"',
    ]


def test_other_host_is_misdirected(config: Config) -> None:
    lines = [*explain_request(config, "GET", "http://other.example/", headers=[], client="")]
    assert lines[-1] == "421: This host is not served here."


@pytest.mark.parametrize(
    ("url", "headers", "lines"),
    [
        (
            "http://gate:8080/.gatekeeper/auth",
            ["X-Forwarded-Uri: /closed/x", "X-Forwarded-Host: shop.example.com"],
            ["the original request: GET http://shop.example.com/closed/x", '403 by rule "closed"'],
        ),
        (
            "http://shop.example.com/.gatekeeper/auth/cart?a=b",
            ["X-Forwarded-Proto: https"],
            ["the original request: GET https://shop.example.com/cart?a=b", 'in room "shop"'],
        ),
        (
            "http://gate/.gatekeeper/auth?nginx",
            ["X-Original-URL: https://shop.example.com/pay/1", "X-Original-Method: POST"],
            ["the original request: POST https://shop.example.com/pay/1", 'in room "shop"'],
        ),
        (
            "http://gate/.gatekeeper/auth",
            ["X-Forwarded-Uri: /a", "X-Original-URL: http://gate/b"],
            ["400: X-Forwarded-Uri and X-Original-URL name different addresses"],
        ),
        (
            "http://gate/.gatekeeper/auth/.gatekeeper/status",
            [],
            ["403: an endpoint of the gate; the proxy has to route it to the gate"],
        ),
    ],
)
def test_check_is_explained_by_its_original_request(
    config: Config, url: str, headers: list[str], lines: list[str]
) -> None:
    said = [*explain_request(config, "GET", url, headers=headers, client="192.0.2.1")]
    assert said[0].startswith("a forward-auth check: only a proxy in server.trusted_proxies")
    assert set(lines) <= set(said)
    assert said[-1] == lines[-1]


def test_gate_without_origin_says_so_first(tmp_path: Path) -> None:
    server = '[server]\ntrusted_proxies = ["10.0.0.1"]\n[origin]\nurl = "none"\n'
    config = parse_config(server + TOML, folder=tmp_path)
    url = "https://shop.example.com/cart"
    said = [*explain_request(config, "GET", url, headers=[], client="192.0.2.1")]
    assert said[0].startswith("no origin: the gate responds with 421")
    assert said[-1] == 'in room "shop"'


def test_default_configuration_has_one_room() -> None:
    config = load_config(environ={})
    lines = [*explain_request(config, "GET", "http://x?a=b", headers=[], client="::1")]
    assert lines[-1] == 'in room "default"'


@pytest.mark.parametrize("url", ["", "shop.example.com", "/x", "ftp://x/", "https://"])
def test_text_that_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="is not a URL; expected"):
        parse_request_url(url)


@pytest.mark.parametrize(
    "host",
    [
        "[x",
        "[::1",
        "::1",
        "u:p@x",
        "x:",
        "x:999999",
        ":80",
        "x y",
        "x\\",
        "x\x01",
        "%78",
        "b\u00fc",
    ],
)
def test_url_without_a_host_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="is not a host; expected"):
        parse_request_url(f"http://{host}/")


@pytest.mark.parametrize("target", ["/a b", "/a#b", "/\x01", "/a\n", "/\x7f", "?a b", "/a\r\nX: y"])
def test_url_that_no_request_has_is_refused(target: str) -> None:
    with pytest.raises(ValueError, match=r"is not a (path with a query|URL); expected"):
        parse_request_url(f"http://x{target}")


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("HTTPS://X/", ("https", "X", "/")),
        ("http://[::1]:80?a=b", ("http", "[::1]:80", "/?a=b")),
        ("http://x./\u00e9?\u20ac", ("http", "x.", "/%C3%A9?%E2%82%AC")),
        ("http://xn--bcher-kva.example//a", ("http", "xn--bcher-kva.example", "//a")),
        ("http://x", ("http", "x", "/")),
    ],
)
def test_url_is_read_as_the_request_that_it_makes(url: str, parts: tuple[str, str, str]) -> None:
    assert parse_request_url(url) == parts


@pytest.mark.parametrize("text", ["X-Evil", "", ": a", "X Evil: 1", "X-Evil : 1", "a\u00e9: 1"])
def test_text_that_is_no_field_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a header field; expected"):
        parse_header(text)


def test_field_is_read_up_to_the_first_colon() -> None:
    assert parse_header("X-Time: 10:30 ") == ("X-Time", "10:30")
    assert parse_header("X-Empty:") == ("X-Empty", "")


@pytest.mark.parametrize("text", ["nope", "", "192.0.2", "192.0.2.1:80", "192.0.2.0/24", "[::1]"])
def test_text_that_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an IP address; expected"):
        parse_client_address(text)
    assert parse_client_address("2001:db8::1") == "2001:db8::1"


@pytest.mark.parametrize("text", ["", "G T", "GET,", "G\u00cbT", "GET/"])
def test_text_that_is_no_method_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a method; expected"):
        parse_method(text)
    assert parse_method("FOO") == "FOO"


@pytest.mark.parametrize("path", ["/", "/closed/x", "/.gatekeeper/status"])
@pytest.mark.parametrize("method", ["CONNECT", "connect"])
def test_method_that_the_gate_refuses_is_reported(config: Config, method: str, path: str) -> None:
    url = f"https://shop.example.com{path}"
    lines = [*explain_request(config, method, url, headers=[], client="192.0.2.1")]
    assert lines == [f"400: {method} is not supported"]


@pytest.mark.parametrize("method", ["FOO", "get", "PURGE", "M-SEARCH", "PRI"])
def test_any_other_method_takes_its_route(config: Config, method: str) -> None:
    url = "https://shop.example.com/"
    lines = [*explain_request(config, method, url, headers=[], client="192.0.2.1")]
    assert not lines[-1].startswith("400")


ABUSE = """
[[rule]]
name = "abuse"
action = "block"
client = "198.51.100.0/24"

[[rule]]
name = "closed"
action = "block"
path = "/**"
"""


@pytest.mark.parametrize(
    ("path", "client", "last"),
    [
        ("status", "198.51.100.1", '403 by rule "abuse"'),
        ("enqueue?room=default", "198.51.100.1", '403 by rule "abuse"'),
        ("continue?code=a", "198.51.100.1", '403 by rule "abuse"'),
        ("status", "192.0.2.1", 'in room "default"'),
        ("health", "198.51.100.1", "for every client: it gives no place"),
        ("client.js", "198.51.100.1", "for every client: it gives no place"),
    ],
)
def test_endpoint_of_the_gate_has_rules_of_its_own(
    path: str, client: str, last: str, tmp_path: Path
) -> None:
    config = parse_config(ABUSE, folder=tmp_path)
    url = f"https://shop.example.com/.gatekeeper/{path}"
    assert [*explain_request(config, "GET", url, headers=[], client=client)][-1] == last


def test_ambiguous_and_unreadable_paths_are_named(config: Config) -> None:
    url = "https://shop.example.com/hooks/a%00b"
    lines = [*explain_request(config, "POST", url, headers=["Signature: x"], client="192.0.2.1")]
    assert lines[1].startswith("the path is ambiguous")
    assert lines[2].endswith("path does not bypass with an ambiguous path")
    assert lines[-1] == 'in room "shop"'
    url = "https://shop.example.com/" + "a%252f..;/%00\\%20.%c0%ae%ef%bc%8e%u002e%3f/" * 50
    lines = [*explain_request(config, "GET", url, headers=[], client="192.0.2.1")]
    assert lines == ["400: The address can be read in more than one way."]


OFFICE = """
[[rule]]
name = "school"
action = "queue"
method = "GET"
path = "/shop/**"
client = "198.51.100.0/24"
room = "shop"

[[room]]
name = "shop"
path = "/shop/"

[[room]]
name = "side"
"""


@pytest.mark.parametrize(
    ("request_line", "client", "is_exempt"),
    [
        ("GET /shop/a", "198.51.100.7", True),
        ("POST /shop/a", "198.51.100.7", True),  # the client is exempt
        ("POST /.gatekeeper/enqueue?room=shop", "198.51.100.7", True),
        ("GET /shop/a", "198.51.101.7", False),
        ("POST /.gatekeeper/enqueue?room=side", "198.51.100.7", False),
        ("GET /side", "198.51.100.7", False),
    ],
)
def test_client_that_a_queue_rule_names_is_reported_as_exempt(
    request_line: str, client: str, is_exempt: bool, tmp_path: Path
) -> None:
    config = parse_config(OFFICE, folder=tmp_path)
    method, path = request_line.split(" ")
    lines = [*explain_request(config, method, f"http://x{path}", headers=[], client=client)]
    assert any("newcomers_per_address" in line for line in lines[:-1]) is is_exempt
