"""Extracts the texts of the pages and updates the catalogues: `make messages`.

Rules: texts come from the templates, and from calls of `N_` in the packages. An update keeps
translations of unchanged English texts and drops the others. It writes no dates and no line
numbers, so a catalogue changes only with its texts.
"""

from collections.abc import Iterator
from functools import cache
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.pofile import read_po, write_po

from gatekeeper.pages.languages import DOMAIN, LOCALE_FOLDER

Extracted = tuple[str | tuple[str, ...], list[str], str | None]

_ROOT = Path(__file__).parents[1]
_HEADERS = ("Language", "Plural-Forms", "MIME-Version", "Content-Type", "Content-Transfer-Encoding")


def catalogue_files() -> list[Path]:
    return sorted(LOCALE_FOLDER.glob(f"*/LC_MESSAGES/{DOMAIN}.po"))


def read(path: Path) -> Catalog:
    with path.open("rb") as file:
        return read_po(file, locale=path.parts[-3], abort_invalid=True)


@cache
def _texts() -> list[Extracted]:
    """All texts of the pages, in English, with their comments and contexts."""
    found = []
    for folder, kinds in (
        ("templates", [("**.html", "jinja2")]),
        ("gatekeeper/pages", [("**.py", "python")]),
        ("gatekeeper/web", [("**.py", "python")]),
        ("gatekeeper/proxy", [("**.py", "python")]),
        ("gatekeeper/policy", [("**.py", "python")]),
    ):
        found += [
            each[2:]
            for each in extract_from_dir(
                _ROOT / folder,
                method_map=kinds,
                options_map={"**.html": {"trimmed": "true", "silent": "false"}},
                keywords=DEFAULT_KEYWORDS | {"N_": None},
            )
        ]
    return found


def words() -> Catalog:
    """All texts of the pages, in English."""
    found = Catalog()
    for message, comments, context in _texts():
        found.add(message, auto_comments=comments, context=context)
    return found


def updated(path: Path) -> bytes:
    """The catalogue at `path`, updated to the current texts."""
    catalogue = read(path)
    catalogue.update(words(), no_fuzzy_matching=True)
    catalogue.obsolete.clear()
    return "\n".join(_lines(catalogue)).encode()


def _lines(catalogue: Catalog) -> Iterator[str]:
    written = BytesIO()
    write_po(written, catalogue, width=0, no_location=True)
    head, _, rest = written.getvalue().decode().partition("\n\n")
    yield 'msgid ""'
    yield 'msgstr ""'
    for name in _HEADERS:
        yield from (line for line in head.splitlines() if line.startswith(f'"{name}: '))
    yield ""
    yield rest.rstrip("\n") + "\n"


if __name__ == "__main__":
    for file in catalogue_files():
        file.write_bytes(updated(file))
