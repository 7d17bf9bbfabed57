"""A parsed page, the view that it shows, and files of an operator."""

from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

from gatekeeper.pages.renderer import Page, Pages, WaitingView

VIEW = WaitingView(
    title="You are in line",
    room="default",
    position=1284,
    ahead=1283,
    queue_length=4000,
    eta_seconds=154,
    rate_per_minute=500.0,
    refresh_seconds=4,
    arrived_at="2026-11-23T20:30:00Z",
    place_ttl_minutes=10,
)
VOID = {"meta", "link", "input", "img", "path", "circle", "br"}
HIDING = {"head", "template", "script"}


class Reader(HTMLParser):
    """All tags with their attributes, and the text that is visible without script."""

    def __init__(self, page: Page) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.code: dict[str, list[str]] = {"script": [], "style": []}
        self._open: list[tuple[str, bool]] = []  # tag, and whether it hides its content
        self.feed(page.body.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append((tag, "hidden" in dict(attrs) or tag in HIDING))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1][0] in self.code:
            self.code[self._open[-1][0]].append(data)
        if not any(hides for _, hides in self._open):
            self.text += data

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


def unknown_place() -> WaitingView:
    return replace(VIEW, position=None, ahead=None, queue_length=None, eta_seconds=None)


def problem(pages: Pages, *, retry_after_s: int | None = 10) -> Page:
    return pages.problem(
        status=502,
        title="The site does not respond",
        message="Please try again.",
        retry_after_s=retry_after_s,
    )


def write(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return folder


def source_of(code: str) -> str:
    return f"'sha256-{b64encode(sha256(code.encode()).digest()).decode()}'"


def directives(policy: str) -> dict[str, str]:
    return dict(part.strip().partition(" ")[::2] for part in policy.split(";"))
