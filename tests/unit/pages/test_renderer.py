"""Templates of the operator: replacements, errors at the start, and the fallback."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gatekeeper.errors import ConfigError
from gatekeeper.pages.languages import languages
from gatekeeper.pages.renderer import Pages
from gatekeeper.pages.templates import Templates
from tests.unit.pages.page_reader import VIEW, Reader, problem, source_of, write


def test_built_in_pages_pass_the_check_of_templates(pages: Pages) -> None:
    """A start without files of the operator does not repeat it."""
    pages.check(source="templates", built_in={each.code for each in languages().values()})
    assert pages.waiting_page().composes
    german, english = (pages.waiting(replace(VIEW, lang=lang)).body for lang in ("de", "en"))
    assert german != english


def test_running_gate_reads_no_replaced_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """An upgrade of the installed files changes no page of a running process."""
    languages.cache_clear()
    pages = Pages()

    def no_io(path: Path, *_: object, **__: object) -> None:
        raise AssertionError(f"{path} was read after the start")

    monkeypatch.setattr(Path, "read_bytes", no_io)
    monkeypatch.setattr(Path, "read_text", no_io)
    for code in languages():
        assert pages.waiting(replace(VIEW, lang=code)).language.lower() == code
        assert pages.left(lang=code).language.lower() == code
        assert pages.client_script(code).body


def test_template_of_the_operator_replaces_one_page(tmp_path: Path) -> None:
    templates = write(tmp_path, "waiting.html", "<h1>Warte, {{ view.title }}</h1>")
    pages = Pages(templates=templates)
    assert pages.waiting(VIEW).body == b"<h1>Warte, You are in line</h1>"
    assert b"One moment, please" in problem(pages).body


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("ok\n{% if %}", "waiting.html:2: "),
        ("{{ view.positoin }}", "positoin"),
        ("{{ nobody }}", "'nobody' is undefined"),
        ("{{ 1 // (view.position or 0) }}", "ZeroDivisionError"),
        ("{{ view.position + 1 }}", "TypeError"),
        ("{{ asset_url('no.css') }}", "no.css"),
        ('{% extends "nowhere.html" %}', "nowhere.html"),
        ("{% if view.rate_per_minute == 0 %}{{ held }}{% endif %}", "'held' is undefined"),
    ],
)
def test_broken_template_stops_the_start_with_its_place(
    tmp_path: Path, text: str, problem: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        Pages(templates=write(tmp_path, "waiting.html", text))
    assert caught.value.source == str(tmp_path)
    assert len(caught.value.problems) == 1
    assert "waiting.html" in caught.value.problems[0]
    assert problem in caught.value.problems[0]


def test_all_broken_templates_are_reported_at_once(tmp_path: Path) -> None:
    write(tmp_path, "waiting.html", "{{ nobody }}")
    write(tmp_path, "left.html", "{% endif %}")
    with pytest.raises(ConfigError) as caught:
        Pages(templates=tmp_path)
    assert [text.partition(".html")[0] for text in caught.value.problems] == ["waiting", "left"]


def test_broken_template_that_others_extend_is_reported(tmp_path: Path) -> None:
    write(tmp_path, "notice.html", "{{ nobody }}")
    with pytest.raises(ConfigError) as caught:
        Pages(templates=tmp_path)
    names = {text.partition(":")[0] for text in caught.value.problems}
    assert names == {"continue.html", "left.html", "move.html", "not_sent.html"}


def test_start_checks_the_pages_that_the_operator_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    render, rendered = Templates.render, set()

    def note(self: Templates, name: str, *rest: Any) -> str:
        rendered.add(name)
        return render(self, name, *rest)

    monkeypatch.setattr(Templates, "render", note)
    Pages(templates=write(tmp_path, "left.html", '{% extends "builtin/left.html" %}'))
    assert rendered == {"left.html"}
    Pages(static=write(tmp_path / "static", "waiting.css", "h1 { color: red }"))
    assert rendered > {"dashboard.html", "move.html", "problem.html", "waiting.html"}


def test_template_that_is_not_utf8_is_reported(tmp_path: Path) -> None:
    (tmp_path / "waiting.html").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"waiting\.html"):
        Pages(templates=tmp_path)


def test_missing_folder_of_assets_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        Pages(static=tmp_path / "nowhere")


def test_template_that_fails_on_data_falls_back_to_built_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, "waiting.html", "own{% if view.position == 777 %}{{ 1 // 0 }}{% endif %}")
    write(tmp_path, "left.html", "own{% if path == '/x' %}{{ 1 // 0 }}{% endif %}")
    static = write(tmp_path / "static", "waiting.css", "h1 { color: red }")
    pages = Pages(templates=tmp_path, static=static)
    assert pages.waiting(VIEW).body == b"own"
    for _ in range(2):
        reader = Reader(pages.waiting(replace(VIEW, position=777)))
        assert "777" in reader.words
        assert pages.left(path="/x").body == Pages().left(path="/x").body
    # Its style is the built-in one, and its own policy allows that.
    [style] = reader.code["style"]
    assert source_of(style) in pages.waiting(replace(VIEW, position=777)).csp
    assert pages.waiting(VIEW).body == b"own"
    assert capsys.readouterr().out.count("template_failed") == 2
