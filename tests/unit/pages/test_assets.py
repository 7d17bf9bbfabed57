"""Static files under hashed names, built in and of the operator."""

import re
from gzip import decompress
from pathlib import Path

from gatekeeper.pages.assets import Assets
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
    """Around signs between which they mean nothing; no text in quotes has such a sign."""
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
