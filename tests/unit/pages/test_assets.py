"""Static files under hashed names: built-in ones and those of the operator."""

import re
from gzip import decompress
from pathlib import Path

import pytest

from gatekeeper.pages.assets import Assets, built_in
from gatekeeper.pages.renderer import Pages
from tests.repository import ROOT, text_of
from tests.unit.pages.page_reader import VIEW, Reader, write


def test_asset_has_only_its_hashed_name(pages: Pages) -> None:
    url = pages.asset_url("waiting.css")
    assert re.fullmatch(r"/\.gatekeeper/static/waiting\.[0-9a-f]{12}\.css", url)
    asset = pages.asset(url.rpartition("/")[2])
    assert asset is not None
    assert asset.content_type == "text/css; charset=utf-8"
    assert decompress(asset.gzip) == asset.body
    assert pages.asset("waiting.css") is None
    assert pages.asset("../templates/waiting.html") is None


def test_changed_asset_has_another_name(pages: Pages, tmp_path: Path) -> None:
    static = write(tmp_path, "waiting.css", "h1 { color: red }")
    other = Pages(static=static)
    assert other.asset_url("waiting.css") != pages.asset_url("waiting.css")
    assert other.asset_url("waiting.js") == pages.asset_url("waiting.js")


def test_script_of_parts_is_one_file_and_one_scope(pages: Pages) -> None:
    asset = pages.asset(pages.asset_url("waiting.js").rpartition("/")[2])
    assert asset is not None
    embedded = pages.waiting(VIEW).body.decode()
    names = [path.name for path in (built_in("static") / "waiting").iterdir()]
    assert len(names) >= 6
    for text in (asset.body.decode(), embedded):
        # `page.js`, `words.js` and `waiting.js` itself
        order = [text.index(f"const {name} = ") for name in ("rows", "numbers", "MAX_BACKOFF_S")]
        assert order == sorted(order)
        assert text.rindex("(() => {", 0, order[0]) < order[0] < text.index("})();", order[-1])
    for name in names:
        with pytest.raises(KeyError):
            pages.asset_url(name)


def test_operators_script_replaces_all_parts(pages: Pages, tmp_path: Path) -> None:
    static = write(tmp_path, "waiting.js", 'console.log("of the shop")\n')
    embedded = Pages(static=static).waiting(VIEW).body.decode()
    assert '<script>console.log("of the shop")\n</script>' in embedded
    assert "MAX_BACKOFF_S" not in embedded


def test_files_of_the_operator_are_served_too(tmp_path: Path) -> None:
    static = write(tmp_path / "static", "logo.png", "not really")
    write(static, ".hidden", "of an editor")
    (static / "folder").mkdir()
    extended = '{% extends "builtin/waiting.html" %}{% block main %}'
    extended += '<img src="{{ asset_url("logo.png") }}">{{ super() }}{% endblock %}'
    templates = write(tmp_path / "templates", "waiting.html", extended)
    pages = Pages(templates=templates, static=static)
    reader = Reader(pages.waiting(VIEW))
    logo = reader.attributes("img")[0]["src"]
    assert logo is not None
    asset = pages.asset(logo.rpartition("/")[2])
    assert asset is not None
    assert (asset.content_type, asset.body) == ("image/png", b"not really")
    assert "1,284" in reader.words


def test_css_of_a_page_lacks_only_blanks() -> None:
    """Blanks around some characters have no meaning; no quoted text contains these characters."""
    assets = Assets(overrides=None, prefix="/")
    for name in ("waiting.css", "admin.css", "shop.css"):
        file = re.sub(r"/\*.*?\*/", "", text_of(ROOT / "static" / name), flags=re.DOTALL)
        embedded = assets.text(name)
        assert not re.search(r"\s[{};,]|[{};,]\s", embedded)
        assert re.sub(r"\s", "", embedded) == re.sub(r"\s", "", file)
        assert not re.search(r"[{};,]", "".join(re.findall(r"\"[^\"]*\"|'[^']*'", embedded)))
        assert embedded.count(" ") > 100


def test_css_of_the_operator_is_left_as_it_is(tmp_path: Path) -> None:
    assets = Assets(
        overrides=write(tmp_path, "waiting.css", 'a::before { content: "{ , }" }'), prefix="/"
    )
    assert assets.text("waiting.css") == 'a::before { content: "{ , }" }'


def test_asset_prefix_can_be_set() -> None:
    pages = Pages(asset_prefix="/static/")
    assert b'src="/static/admin.' in pages.dashboard().body
    assert b"/.gatekeeper/" not in pages.dashboard().body
