"""The language lint: which words, sentences and class names it refuses, and what it checks."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


def _load_lint() -> ModuleType:
    spec = importlib.util.spec_from_file_location("plain_english", ROOT / ".ci/plain_english.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


_LINT = _load_lint()
_WORDS = _LINT.WordList(ROOT / ".ci/plain_english.toml")


def _found(path: str, text: str) -> list[tuple[int, str]]:
    return [(line, word) for line, word, _ in _LINT.problems(path, text, _WORDS)]


@pytest.mark.parametrize(
    ("path", "text", "line"),
    [
        ("a.md", "fine\n\nAsk whoever is there.\n", 3),
        ("a.md", "one of those\nwho wait\n", 1),
        ("a.html", "<p>\nlasts for\n  ever</p>", 2),
        ("a.lua", "local n = 1\n-- counted for\n-- ever\n", 2),
        ("a.js", "// read\n// anew\n", 2),
        ("a.toml", "# fine\n# anew\n", 2),
        ("a.po", '#: x.html\nmsgid ""\n"Ask "\n"whoever waits"\nmsgstr "anew"\n', 4),
        ("a.py", '"""Fine.\n\nRead anew.\n"""\n', 3),
        ("a.py", "x = 1  # anew\n", 1),
        ("a.py", 'x = (\n    "for "\n    "ever"\n)\n', 2),
        ("a.py", "def test_one_who_waits_is_released() -> None: ...\n", 1),
        ("a.md", "The store did not answer.\n", 1),
        ("a.py", "# It tells the page.\n", 1),
        ("a.py", "# Who waits is ranked.\n", 1),
        ("a.py", "def test_who_waits_is_ranked() -> None: ...\n", 1),
    ],
)
def test_refused_words_are_found_on_their_line(path: str, text: str, line: int) -> None:
    assert [number for number, _ in _found(path, text)] == [line]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a.py", "anew = whoever\n"),  # code is not prose
        ("a.md", "Who may change the rate?\n"),
        ("a.md", "| Who | What |\n"),
        ("docs/decisions/0001-a.md", "The gate tells the page.\n"),
        ("a.md", "heartbeat, renewed, forever, rehearse\n"),
        ("a.po", 'msgid "Read"\nmsgstr "anew"\n'),
        ("a.py", "class Rejected: ...\nclass Seed: ...\nclass ParsedHead: ...\n"),
    ],
)
def test_plain_text_has_no_problems(path: str, text: str) -> None:
    assert _found(path, text) == []


@pytest.mark.parametrize("name", ["Turned", "Gone", "_Loading", "StoreRefused", "Odd"])
def test_class_names_that_are_no_nouns_are_refused(name: str) -> None:
    assert _found("a.py", f"x = 1\n\n\nclass {name}(Exception): ...\n") == [(4, name)]


def test_every_word_has_a_replacement() -> None:
    assert all(instead and instead != word for word, instead in _WORDS.words.items())
    assert all(word == word.lower() for word in _WORDS.words)


def test_main_prints_file_line_word_and_replacement(capsys: pytest.CaptureFixture[str]) -> None:
    assert _LINT.main([".ci/plain_english.py"]) == 0
    assert "0 problems" in capsys.readouterr().err
