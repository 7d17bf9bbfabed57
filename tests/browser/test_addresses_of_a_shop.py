"""One place at all addresses of a shop: http and https, with and without www.

Rules: every name resolves to this machine. A gate without TLS and one with it share the store, as
replicas behind two ports of a load balancer do; a browser sends its cookies to either port.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest
import pytest_asyncio
import trustme
from playwright.async_api import Browser, Page, expect

from gatekeeper.config.types import RoomName
from tests.browser.app_site import AppSite
from tests.browser.conftest import launch_options, launched_browser
from tests.gates import running_gate

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(60)]

APEX, WWW = "shop.example", "www.shop.example"
BOTH = f'cookie_domain = "{APEX}"\n'


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The keys of [server] for a certificate that the browser does not check."""
    folder = tmp_path_factory.mktemp("tls")
    pair = trustme.CA().issue_cert(APEX, WWW)
    pair.private_key_and_cert_chain_pem.write_to_path(folder / "pair.pem")
    return f'tls_cert = "{folder}/pair.pem"\ntls_key = "{folder}/pair.pem"\n'


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def browser_of_names() -> AsyncIterator[Browser]:
    """A browser that resolves every name to this machine."""
    options = launch_options(whole=False)
    options["args"] = [*options["args"], "--host-resolver-rules=MAP * 127.0.0.1"]
    async with launched_browser(options) as browser:
        yield browser


@dataclass
class Shop:
    """A browser and the addresses of the shop that it opens."""

    page: Page
    ports: dict[str, str]

    async def place_at(self, scheme: str, host: str) -> str:
        """The reference of the visitor in line, as the page shows it once it has polled."""
        await self.page.goto("about:blank")  # so that the previous page does not poll meanwhile
        async with self.page.expect_response("**/.gatekeeper/status?*") as polled:
            await self.page.goto(f"{scheme}://{host}:{self.ports[scheme]}/tickets")
        status = await (await polled.value).json()
        assert status["state"] == "waiting", status
        await expect(self.page.locator("#position")).to_have_text(str(status["position"]))
        return str(status["reference"])


@pytest_asyncio.fixture(loop_scope="session")
async def shop(
    tokens: str, browser_of_names: Browser, room_name: RoomName, store_url: str, certificate: str
) -> AsyncIterator[Shop]:
    """`tokens`: the keys of [tokens], a parameter of each test."""
    async with AsyncExitStack() as stack:
        origin = await stack.enter_async_context(AppSite())
        ports = {}
        for scheme, keys in (("http", ""), ("https", certificate)):
            toml = f'[server]\nshutdown_timeout = "500ms"\n{keys}[tokens]\n{tokens}'
            toml += f'[[room]]\nname = "{room_name}"\nrate = 0\n'
            gate = running_gate(toml, store_url=store_url, origin_url=origin.url)
            ports[scheme] = (await stack.enter_async_context(gate)).url.rpartition(":")[2]
        context = await browser_of_names.new_context(ignore_https_errors=True, locale="en-US")
        stack.push_async_callback(context.close)
        yield Shop(await context.new_page(), ports)


@pytest.mark.parametrize(
    ("tokens", "addresses"),
    [
        ("", [("http", APEX), ("https", APEX)]),
        ("partitioned = true\n", [("http", APEX), ("https", APEX)]),
        (BOTH, [("http", APEX), ("https", APEX), ("https", WWW)]),
        (BOTH, [("http", WWW), ("https", APEX)]),
        (BOTH, [("https", APEX), ("https", WWW), ("https", APEX)]),
    ],
)
async def test_place_is_kept_at_the_other_address(
    addresses: list[tuple[str, str]], shop: Shop
) -> None:
    first, *others = [await shop.place_at(*address) for address in addresses]
    assert others == [first] * len(others)


@pytest.mark.parametrize(
    ("tokens", "one", "other"),
    [
        ("", ("https", APEX), ("https", WWW)),
        (BOTH, ("https", APEX), ("https", "badshop.example")),
        (BOTH, ("https", APEX), ("http", APEX)),
    ],
    ids=["no cookie_domain", "another site", "without TLS"],
)
async def test_place_is_not_shown_where_the_cookie_does_not_belong(
    one: tuple[str, str], other: tuple[str, str], shop: Shop
) -> None:
    assert await shop.place_at(*one) != await shop.place_at(*other)


@pytest.mark.parametrize("tokens", ["", BOTH])
async def test_host_with_a_dot_at_its_end_keeps_a_place(shop: Shop) -> None:
    """For a browser it is not the same host as the one without the dot."""
    first = await shop.place_at("https", f"{APEX}.")
    assert await shop.place_at("https", f"{APEX}.") == first
