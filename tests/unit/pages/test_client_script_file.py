"""The composed `client.js`: its texts, and files of an operator."""

import re
from pathlib import Path

import pytest

from gatekeeper.errors import ConfigError
from gatekeeper.pages.assets import built_in
from gatekeeper.pages.languages import languages
from gatekeeper.pages.renderer import Pages
from tests.unit.pages.page_reader import write

SOURCE = Path(built_in("static"), "client.js").read_text("utf-8")


def test_script_is_small_and_loads_nothing(pages: Pages) -> None:
    for code in languages():
        assert len(pages.client_script(code).gzip) < 5 * 1024
    assert re.findall(r"\bimport\b|\beval\b|innerHTML|https?://", SOURCE) == []


def test_operator_may_replace_the_script(tmp_path: Path) -> None:
    folder = write(tmp_path / "static", "client.js", "const T = { /* texts */ };")
    own = Pages(static=folder).client_script("de")
    assert own.body.startswith(b'const T = {"ending": "Ihr Besuch')
    assert own.body != Pages().client_script("de").body


def test_script_without_place_for_texts_stops_the_start(tmp_path: Path) -> None:
    folder = write(tmp_path / "static", "client.js", "const T = {};")
    with pytest.raises(ConfigError, match="expected the place of the texts"):
        Pages(static=folder)
