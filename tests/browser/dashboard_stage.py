"""An hour of a sale in the control room, for the tests of its page."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from playwright.async_api import Locator, Page, expect

from gatekeeper.admin.audit import AuditLog
from gatekeeper.admin.auth import Credential
from gatekeeper.admin.edge_status import EdgeStatus
from tests.browser.sale import Sale

Show = Callable[..., Awaitable["Control"]]
CREDENTIALS = (
    Credential.of("maria", "full", secret=b"the secret of maria"),
    Credential.of("otto", "read", secret=b"the secret of otto"),
)


@dataclass
class Control:
    """A listener whose monitor holds an hour of the sale."""

    sale: Sale
    audit: AuditLog
    url: str
    edge: list[EdgeStatus]  # none, or one
    asked: int = 0


async def second(page: Page) -> None:
    """Let a second pass, in which the page polls once and handles the response."""
    handled = page.locator("html:not([data-polling])")
    await expect(handled).to_be_attached()  # a poll in progress starts no timer before its end
    async with page.expect_response("**/admin/overview?*"):
        await page.clock.run_for(1000)
    await expect(handled).to_be_attached()


def fact(page: Page, name: str) -> Locator:
    return page.locator(f"[data-fact={name}]").first


async def points(page: Page, name: str) -> list[tuple[float, float]]:
    """The points of a curve: x from 0 (oldest) to 600 (now), y from 100 (bottom) to 0 (top)."""
    drawn = await page.locator(f"path.line.{name}").first.get_attribute("d") or ""
    pairs = re.findall(r"[ML]([\d.]+) ([\d.]+)", drawn)
    return [(float(x), float(y)) for x, y in pairs]
