"""axe-core on the current page: WCAG 2.2 at levels A and AA, and its best practices."""

from importlib.resources import files
from typing import Any

from playwright.async_api import Page

_SCRIPT = (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
# Evaluated by the browser, since the page's policy forbids script elements. axe yields to the
# browser by timers, so it needs the real ones on a stage with a stopped clock.
_RUN = """
async (only) => {
    const stopped = window.setTimeout;
    window.setTimeout = window.realTimeout || stopped;
    const { violations } = await axe.run(document, {
        resultTypes: ["violations"],
        ...only.length ? { runOnly: only } : { rules: { "target-size": { enabled: true } } },
    });
    window.setTimeout = stopped;
    return violations.map(({ id, help, nodes }) => [id, help, nodes.map(({ html }) => html)]);
}
"""


async def complaints(page: Page, *only: str) -> list[Any]:
    """Violations of all axe rules, or `only` of some: the rule and the elements."""
    if not await page.evaluate("() => 'axe' in window"):
        await page.evaluate(_SCRIPT)
    found: list[Any] = await page.evaluate(_RUN, only)
    return found
