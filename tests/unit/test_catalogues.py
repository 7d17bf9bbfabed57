"""The catalogues: complete, with the placeholders and plural forms that the pages need."""

from collections import Counter
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog

from gatekeeper.pages.languages import language_by_code
from tests.catalogues import catalogue_files, read, updated

FILES = catalogue_files()


def code(path: Path) -> str:
    return path.parts[-3].replace("_", "-")


def pairs(catalogue: Catalog) -> list[tuple[str, str]]:
    """Each English message with its translations, form by form."""
    found = []
    for message in catalogue:
        if message.id and isinstance(message.id, str):
            found.append((message.id, str(message.string)))
        elif message.id:
            found += [(message.id[1], each) for each in message.string or ()]
    return [(english, said) for english, said in found if said]


@pytest.mark.parametrize("path", FILES, ids=code)
def test_catalogue_is_current_and_complete(path: Path) -> None:
    """`make messages` would change nothing, and every text is translated."""
    assert path.read_bytes() == updated(path)
    assert len(FILES) == 16
    for message in read(path):
        forms = [message.string] if isinstance(message.string, str) else message.string
        assert not message.id or all(forms or ()), message.id


@pytest.mark.parametrize("path", FILES, ids=code)
def test_translation_has_the_placeholders_of_its_source(path: Path) -> None:
    for english, said in pairs(read(path)):
        assert said.count("#") == english.count("#"), said
        assert said.count("%") == said.count("%(n)s"), said
        assert not set("<>") & set(said), said
        assert said == said.strip(), said
        assert said.endswith("…") == english.endswith("…"), said


@pytest.mark.parametrize("path", FILES, ids=code)
def test_plural_has_its_forms_with_the_number(
    path: Path,
) -> None:
    catalogue, words = read(path), language_by_code(code(path))
    serves = Counter(words.plural(number) for number in range(1000))
    assert serves.keys() == set(range(catalogue.num_plurals))
    plurals = [each for each in catalogue if not isinstance(each.id, str)]
    assert plurals
    for message in plurals:
        forms = list(message.string or ())
        assert len(forms) == catalogue.num_plurals
        for number, form in enumerate(forms):
            assert not form or serves[number] == 1 or "%(n)s" in form, form


def test_untranslated_message_stays_english_without_fuzzy() -> None:
    german = language_by_code("de")
    assert german.translate("Nobody ever translated this") == "Nobody ever translated this"
    assert not any(message.fuzzy for path in FILES for message in read(path))


def test_number_selects_its_plural_form() -> None:
    page = "This page reloads every second.", "This page reloads every %(n)s seconds."
    russian = language_by_code("ru").translations
    said = {number: russian.ngettext(*page, number).split()[-1] for number in (1, 3, 11, 21)}
    assert said == {1: "секунду.", 3: "секунды.", 11: "секунд.", 21: "секунду."}
