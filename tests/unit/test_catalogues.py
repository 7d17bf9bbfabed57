"""The catalogues: what they say fits what the pages ask of them."""

from collections import Counter
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog

from gatekeeper.pages.languages import language_by_code
from tests.catalogues import catalogue_files, read

FILES = catalogue_files()


def code(path: Path) -> str:
    return path.parts[-3].replace("_", "-")


def pairs(catalogue: Catalog) -> list[tuple[str, str]]:
    """English and each of its translations, form by form, where there is one."""
    found = []
    for message in catalogue:
        if message.id and isinstance(message.id, str):
            found.append((message.id, str(message.string)))
        elif message.id:
            found += [(message.id[1], each) for each in message.string or ()]
    return [(english, said) for english, said in found if said]


@pytest.mark.parametrize("path", FILES, ids=code)
def test_a_translation_has_the_signs_that_its_english_has_and_no_markup(path: Path) -> None:
    for english, said in pairs(read(path)):
        assert said.count("#") == english.count("#"), said
        assert said.count("%") == said.count("%(n)s"), said
        assert not set("<>") & set(said), said
        assert said == said.strip(), said
        assert said.endswith("…") == english.endswith("…"), said


@pytest.mark.parametrize("path", FILES, ids=code)
def test_a_plural_has_its_forms_and_tells_its_number_wherever_a_form_serves_several(
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


def test_what_was_not_translated_or_only_guessed_is_said_in_english() -> None:
    german = language_by_code("de")
    assert german.translate("Nobody ever translated this") == "Nobody ever translated this"
    assert not any(message.fuzzy for path in FILES for message in read(path))


def test_a_number_picks_its_form() -> None:
    page = "This page reloads every second.", "This page reloads every %(n)s seconds."
    russian = language_by_code("ru").translations
    said = {number: russian.ngettext(*page, number).split()[-1] for number in (1, 3, 11, 21)}
    assert said == {1: "секунду.", 3: "секунды.", 11: "секунд.", 21: "секунду."}
