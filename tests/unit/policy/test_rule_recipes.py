"""The recipes of `docs/how-to/exempt-requests.md`: each is valid, and exempts only what it
states."""

import re
from pathlib import Path

import pytest

from gatekeeper.config.load import load_config
from gatekeeper.policy.default_rules import access_rules
from gatekeeper.policy.facts import Client, RequestFacts
from gatekeeper.policy.routing import Bypassed, InRoom, Route, Router, Ungated

GUIDE = Path(__file__).parents[3] / "docs/how-to/exempt-requests.md"
HEADING = re.compile(r"^## (.+)\n((?:(?!^## ).*\n?)*)", re.MULTILINE)
TOML = re.compile(r"```toml\n(.*?)```", re.DOTALL)
RECIPES = {title: "".join(TOML.findall(text)) for title, text in HEADING.findall(GUIDE.read_text())}


def router(title: str, tmp_path: Path) -> Router:
    file = tmp_path / "gatekeeper.toml"
    (tmp_path / "list.json").write_text('{"prefixes": [{"ipv4Prefix": "192.0.2.0/24"}]}')
    file.write_text(re.sub(r"file:[^\"]+", f"file:{tmp_path}/list.json", RECIPES[title]))
    config = load_config(file)
    return Router(config.rooms, access_rules(config.rules, default_rules=True))


def route(site: Router, target: str, *, method: str = "GET", client: str = "203.0.113.5") -> Route:
    return site.route(RequestFacts(Client(client, "https", "shop.example"), method, target))


@pytest.mark.parametrize("title", [title for title, text in RECIPES.items() if text])
def test_recipe_is_a_valid_configuration(title: str, tmp_path: Path) -> None:
    site = router(title, tmp_path)
    assert isinstance(route(site, "/checkout/"), InRoom)


def test_static_files_open_no_checkout(tmp_path: Path) -> None:
    site = router("Static files", tmp_path)
    for target in ("/assets/a.css", "/static/a/b.js"):
        assert isinstance(route(site, target), Bypassed)
    for target in (
        "/checkout/x.css",
        "/index.php/checkout/x.css",
        "/checkout/assets/x.css",
        "/assets/../checkout/x.css",
        "/assets/%2e%2e/checkout/x.js",
    ):
        assert isinstance(route(site, target), InRoom), target


PREFLIGHT = {"Origin": ["https://app.example"], "Access-Control-Request-Method": ["POST"]}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"Content-Length": ["0"]},
        {"Content-Length": ["7"]},
        {"Transfer-Encoding": ["chunked"]},
        {"X-HTTP-Method-Override": ["POST"]},
        {"X-HTTP-Method": ["POST"]},
        {"X-Method-Override": ["post"]},
    ],
)
def test_preflight_for_another_method_is_none(more: dict[str, list[str]], tmp_path: Path) -> None:
    """Some origins handle this OPTIONS request as a POST."""
    fields = PREFLIGHT | more
    facts = RequestFacts(
        Client("203.0.113.5", "https", "shop.example"),
        "OPTIONS",
        "/checkout/",
        fields=lambda name: fields.get(name, []),
    )
    is_preflight = more in ({}, {"Content-Length": ["0"]})
    found = router("Static files", tmp_path).route(facts)
    assert isinstance(found, Bypassed if is_preflight else InRoom)


SHOP = "Shopify-like checkouts"


@pytest.mark.parametrize(
    "target",
    [
        "/cart",
        "/cart/",
        "/Cart/change",
        "/checkout",
        "/checkouts/c/1/information",
        "/en/checkouts/c/1",
        "/fr/cart?x=1",
        "/checkouts/1/payments/x",
        "/x/../checkouts/1",
    ],
)
def test_cart_and_checkout_of_a_shop_are_in_the_room(target: str, tmp_path: Path) -> None:
    assert isinstance(route(router(SHOP, tmp_path), target), InRoom)


def test_only_the_provider_passes_by_its_own_request(tmp_path: Path) -> None:
    site, target, provider = router(SHOP, tmp_path), "/checkouts/1/payments/x", "192.0.2.7"
    assert isinstance(route(site, target, method="POST", client=provider), Bypassed)
    assert isinstance(route(site, target, method="POST"), InRoom)
    assert isinstance(route(site, target, client=provider), InRoom)
    assert isinstance(route(site, "/checkouts/1/", method="POST", client=provider), InRoom)
    assert isinstance(
        route(site, "/checkouts/1/payments/../x", method="POST", client=provider), InRoom
    )


@pytest.mark.parametrize("target", ["/", "/products/a", "/cart.js", "/carts", "/collections/cart"])
def test_catalogue_of_a_shop_stays_open(target: str, tmp_path: Path) -> None:
    assert isinstance(route(router(SHOP, tmp_path), target), Ungated)
