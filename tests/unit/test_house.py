"""House rules of the repository: its layout, and documents that match the code.

Rules: only files in git are checked. A test, command, key or file that a document names exists.
"""

import ast
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Collection, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

from prometheus_client import REGISTRY

from gatekeeper import __version__
from gatekeeper.admin.exposition import exposition
from gatekeeper.cli import app
from gatekeeper.config.event_schema import EventConfig
from gatekeeper.config.lane_schema import LaneConfig
from gatekeeper.config.load import load_config
from gatekeeper.config.rule_schema import RuleConfig
from gatekeeper.config.schema import (
    LIVE_KEYS,
    WAITING_KEYS,
    AdminConfig,
    AdminToken,
    Config,
    RoomConfig,
)
from gatekeeper.metrics import Tally  # and registers what is to be documented

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
_TIMEOUT_S = 60
_MOST_LINES = 400
# Longer files, each with one idea that would read worse in two files.
_LONG = {"gatekeeper/proxy/fastpath/client_connection.py": 535}

# In pieces, so that this file does not match its own patterns.
_OF_ONE_MACHINE = re.compile(
    "|".join(["/wo" + "rk/", "/ro" + r"ot/", "/ho" + r"me/(?!gatekeeper)\w", "/Us" + r"ers/\w"])
)
_REGISTRIES = re.compile(
    "|".join(
        [
            "pypi" + r"\.org",
            "python" + r"hosted\.",
            "npm" + r"js\.",
            "debian" + r"\.org",
            "crates" + r"\.io",
        ]
    )
)


@cache
def _tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, timeout=_TIMEOUT_S, check=True
    )
    paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    return [path for path in paths if path.is_file()]


@cache
def _modules() -> list[Path]:
    return [
        path
        for path in _tracked()
        if _name(path).startswith("gatekeeper/") and path.suffix == ".py"
    ]


@cache
def _test_names() -> frozenset[str]:
    return frozenset(
        name
        for path in _tracked()
        if _name(path).startswith("tests/") and path.suffix == ".py"
        for name in re.findall(r"^ *(?:async )?def (test_\w+)", _text(path), re.MULTILINE)
    )


def _text(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "replace")


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# The tree.


def test_imports_follow_the_layers() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=_TIMEOUT_S
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 kept, 0 broken" in done.stdout


def test_files_name_no_machine() -> None:
    assert [_name(path) for path in _tracked() if _OF_ONE_MACHINE.search(_text(path))] == []


def test_files_name_no_package_registry() -> None:
    assert [_name(path) for path in _tracked() if _REGISTRIES.search(_text(path))] == []


def test_modules_have_at_most_400_lines() -> None:
    lengths = {
        _name(path): len(_text(path).splitlines())
        for path in _tracked()
        if _name(path).startswith("gatekeeper/") and path.suffix in {".py", ".lua"}
    }
    assert lengths
    too_long = {name: n for name, n in lengths.items() if n > _LONG.get(name, _MOST_LINES)}
    assert too_long == {}
    assert {name for name in _LONG if lengths[name] <= _MOST_LINES} == set()


def test_every_package_maps_its_modules() -> None:
    missing = {}
    for package in _modules():
        if package.name == "__init__.py":
            inside = {path.stem for path in _modules() if path.parent == package.parent}
            inside |= {
                path.parent.name
                for path in _modules()
                if path.name == "__init__.py" and path.parent.parent == package.parent
            }
            text = ast.get_docstring(ast.parse(_text(package))) or ""
            unnamed = {
                name for name in inside - {"__init__"} if not re.search(rf"\b{name}\b", text)
            }
            if unnamed:
                missing[_name(package)] = unnamed
    assert missing == {}


def test_modules_have_unique_file_names() -> None:
    names = [path.name for path in _modules() if path.name != "__init__.py"]
    assert {name for name in names if names.count(name) > 1} == set()


def test_test_names_have_at_most_70_characters() -> None:
    """A test is named `subject_condition_result`; a longer sentence goes in its docstring."""
    assert len(_test_names()) > 1000
    assert [name for name in _test_names() if len(name) > 70] == []


def test_numbers_of_examples_follow_the_profile() -> None:
    """`make test-fast` tries a fifth of each."""
    fixed = re.compile("max_" + r"examples=(?!examples\()")
    tests = [path for path in _tracked() if _name(path).startswith("tests/")]
    assert [_name(path) for path in tests if fixed.search(_text(path))] == []


def test_visitor_ids_and_exact_numbers_are_checked_in_one_place() -> None:
    """By `is_visitor_id` and `policy.numbers`; the configuration, below them, has one bound."""

    def found(pattern: str) -> set[str]:
        return {_name(path) for path in _modules() if re.search(pattern, _text(path))}

    assert found(r"2 ?\*\* ?53") == {
        "gatekeeper/config/event_schema.py",
        "gatekeeper/policy/numbers.py",
    }
    assert found(r"\{22\}") == {
        "gatekeeper/policy/move_code.py",  # a nonce
        "gatekeeper/policy/tokens.py",
    }


def test_test_files_have_unique_names() -> None:
    """Among themselves, and no module of the program has the name of one. A benchmark has the name
    of what it measures."""
    names = [
        path.name
        for path in _tracked()
        if _name(path).startswith(("tests/", "gatekeeper/"))
        and path.suffix == ".py"
        and path.name not in {"__init__.py", "__main__.py", "conftest.py"}
    ]
    assert {name for name in names if names.count(name) > 1} == set()


def test_unit_tests_mirror_the_packages() -> None:
    """Each folder of `tests/unit` has the name of the package whose modules it tests."""
    packages = {_name(path.parent).removeprefix("gatekeeper") for path in _modules()}
    tests = [_name(path) for path in _tracked() if _name(path).startswith("tests/unit/")]
    folders = {name.removeprefix("tests/unit").rpartition("/")[0] for name in tests}
    assert folders == packages


def test_unit_tests_of_a_module_are_in_the_folder_of_its_package() -> None:
    homes = {path.stem: _name(path.parent).removeprefix("gatekeeper") for path in _modules()}
    tests = [path for path in _tracked() if _name(path).startswith("tests/unit/")]
    elsewhere = {
        _name(path)
        for path in tests
        if (home := homes.get(path.stem.removeprefix("test_"))) is not None
        and path.stem.startswith("test_")
        and _name(path.parent).removeprefix("tests/unit") != home
    }
    assert elsewhere == set()


def test_benchmarks_import_what_exists() -> None:
    """They run as scripts, and mypy does not read them."""
    files = [path for path in _tracked() if _name(path).startswith("benchmarks/")]
    scripts = {path.stem: path for path in files if path.suffix == ".py"}
    missing = []
    for path in scripts.values():
        for node in ast.walk(ast.parse(_text(path))):
            if not isinstance(node, ast.ImportFrom) or not node.module:
                continue
            top, _, rest = node.module.partition(".")
            name = rest if top == "benchmarks" else node.module
            if name in scripts:
                words = set(re.findall(r"\w+", _text(scripts[name])))
            elif top in {"gatekeeper", "tests"}:
                module = importlib.import_module(node.module)
                words = {each.name for each in node.names if _has(module, each.name)}
            else:
                words = {each.name for each in node.names} if _is_installed(top) else set()
            missing += [(_name(path), each.name) for each in node.names if each.name not in words]
    assert len(scripts) > 10
    assert missing == []


def _has(module: ModuleType, name: str) -> bool:
    return hasattr(module, name) or _is_installed(f"{module.__name__}.{name}")


def _is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def test_ci_runs_the_tests_as_documented() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    lines = script.read_text().splitlines()
    assert "set -euo pipefail" in lines
    assert "make test" in lines
    readme = (ROOT / "README.md").read_text()
    assert "make test" in readme
    # What it installs for the tests is what the README says they need.
    needed = readme.partition("The tests also need")[2].partition("on PATH")[0].lower()
    programs = set(re.findall(r"command -v (\w+)", script.read_text())) - {"make"}
    assert {name for name in programs if name not in needed} == set()


# What the documents say. Each of these tests reads all of them.


def _faults(of: Callable[[Path], Collection[object]]) -> dict[str, Collection[object]]:
    """By document, what `of` finds wrong in it."""
    return {_name(document): found for document in DOCUMENTS if (found := of(document))}


def test_no_file_has_marks_of_a_merge() -> None:
    marks = re.compile(r"^(<{7}|>{7}) ", re.MULTILINE)
    files = [path for path in _tracked() if path.suffix in {".md", ".py", ".toml", ".lua"}]
    assert [path for path in files if marks.search(path.read_text("utf-8"))] == []


def test_document_links_resolve() -> None:
    def dead(document: Path) -> list[str]:
        return [
            target
            for target in re.findall(r"\]\(([^)\s]+)\)", _without_code(_text(document)))
            if not re.match(r"[a-z]+:", target) and not _resolves(target, document)
        ]

    assert _faults(dead) == {}


def _resolves(link: str, document: Path) -> bool:
    path, _, anchor = link.partition("#")
    found = (document.parent / path).resolve() if path else document
    return found.exists() and (not anchor or anchor in _anchors(found))


def test_tables_in_documents_are_whole() -> None:
    """Each has a line of dashes below its header, and all its rows have as many cells."""

    def broken(document: Path) -> list[str]:
        text = re.sub(r"^```.*?^```", "", _text(document), flags=re.MULTILINE | re.DOTALL)
        found = []
        for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
            rows = table.splitlines()
            if len(rows) == 1 or not re.fullmatch(r"\|(?: ?:?-+:? ?\|)+", rows[1]):
                found.append(rows[0])
            cells = [len(re.findall(r"(?<!\\)\|", row)) for row in rows]
            found += [row for row, n in zip(rows, cells, strict=True) if n != cells[0]]
        return found

    assert _faults(broken) == {}


def test_tests_named_in_documents_exist() -> None:
    pattern = {"test_subject_condition_result"}  # the naming rule itself

    def missing(document: Path) -> set[str]:
        named = set(re.findall(r"\btest_[a-z0-9_]+\b(?!\.py)", _text(document)))
        return named - _test_names() - pattern

    assert _faults(missing) == {}


def test_files_named_in_documents_exist() -> None:
    named = r"`((?:gatekeeper|tests|templates|static|deploy|docs|benchmarks)/[\w./-]*)`"
    made_by_the_reader = {"deploy/secret", "deploy/gatekeeper.env"}

    def missing(document: Path) -> set[str]:
        names = set(re.findall(named, _text(document))) - made_by_the_reader
        return {name for name in names if not (ROOT / name).exists()}

    assert _faults(missing) == {}


def test_names_of_code_in_documents_are_in_their_files() -> None:
    """Where a document says `name` in, of or from `a file`, the file has this name."""
    pattern = (
        r"`([\w.]+)(?:\([^`]*\))?`,?\s+(?:in|of|from|\()\s*`((?:gatekeeper|tests)/[\w/.-]+\.\w+)`"
    )

    def stale(document: Path) -> list[tuple[str, str]]:
        return [
            (name, file)
            for name, file in re.findall(pattern, _text(document))
            if not re.search(rf"\b{name.rpartition('.')[2]}\b", _text(ROOT / file))
        ]

    assert _faults(stale) == {}


def test_names_in_documents_are_names_of_the_program() -> None:
    """Log events, fields, settings and functions, as `name_of_words`; metrics have a test below."""
    of_others = {  # documents that name what is another program's
        "CHANGELOG.md",
        "docs/how-to/behind-a-cdn.md",
        "docs/how-to/in-front.md",
        "docs/how-to/move-from-cloudflare.md",
        "docs/how-to/move-from-queue-it.md",
    }
    places = ("gatekeeper/", "static/", "templates/", "deploy/", "benchmarks/")
    kinds = {".py", ".lua", ".js", ".html", ".toml", ".yaml", ".json", ".css"}
    sources = [
        _text(path)
        for path in _tracked()
        if _name(path).startswith((*places, "gatekeeper.toml")) and path.suffix in kinds
    ]
    known = set(re.findall(r"\w+", "\n".join(sources))) | {"post_action"}  # of nginx
    stale = {
        (_name(document), name)
        for document in DOCUMENTS
        if _name(document) not in of_others
        for name in re.findall(r"`([a-z][a-z0-9]*(?:_[a-z0-9]+)+)`", _text(document))
        if not name.startswith(("test_", "gatekeeper_")) and name not in known
    }
    assert stale == set()


def test_decisions_are_listed_with_title_and_date() -> None:
    """One file each: "# number. title", then the date and whether it is accepted."""
    folder = ROOT / "docs" / "decisions"
    rows = []
    for path in sorted(folder.glob("[0-9]*.md")):
        heading = re.match(
            r"# (\d+)\. (.+)\n\n(\d{4}-\d\d-\d\d) · (?:Accepted|Superseded)\b", _text(path)
        )
        assert heading is not None, path.name
        number, title, date = heading.groups()
        assert int(number) == int(path.name[:4])
        rows.append(f"| {number:0>4} | [{title}]({path.name}) | {date} |")
    listed = [line for line in _text(folder / "README.md").splitlines() if line[:3] == "| 0"]
    assert listed == rows
    assert len({row[:6] for row in rows}) == len(rows) > 50


def test_commands_in_documents_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    command = re.compile(
        r"(?:^|`|\brun |\$\(|exec gatekeeper )gatekeeper ([a-z]+(?:-[a-z]+)*)", re.MULTILINE
    )

    def unknown(document: Path) -> set[str]:
        shown = _code(_text(document))
        asked = set(re.findall(r"(?:^|`)make ([a-z-]+)", shown, re.MULTILINE))
        return (asked - targets) | (set(command.findall(shown)) - app.commands.keys())

    assert _faults(unknown) == {}


def test_readme_lists_every_command() -> None:
    readme = (ROOT / "README.md").read_text()
    assert [name for name in app.commands if f"`gatekeeper {name}" not in readme] == []


def test_changelog_has_this_version() -> None:
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_costs_in_readme_match_measurements() -> None:
    readme = (ROOT / "README.md").read_text().partition("## What it costs")[2]
    measured = (ROOT / "benchmarks" / "README.md").read_text()
    rows = re.findall(
        r"^\| (nginx|Caddy) \| [^|]+ \| ([\d.]+) \| [\d,]+ \|$", measured, re.MULTILINE
    )
    ratios = {name: [float(ratio) for n, ratio in rows if n == name] for name, _ in rows}
    nginx, caddy = sorted(ratios["nginx"]), sorted(ratios["Caddy"])
    assert f"{nginx[0]:.1f} to {nginx[-1]:.1f} times the CPU time of nginx" in readme
    assert f"{caddy[0]:.1f} to {caddy[-1]:.1f} times that of\nCaddy" in readme


def test_every_metric_is_documented(tmp_path: Path) -> None:
    operations = (ROOT / "docs/reference/metrics.md").read_text()
    own = {m.name for m in REGISTRY.collect() if m.name.startswith("gatekeeper_")}
    # Written in pieces by the workers, put together by the exposition.
    own = {name.removesuffix(Tally.SUM).removesuffix(Tally.BUCKETS) for name in own}
    text = exposition(tmp_path, [], []).decode()
    shown = {n.removesuffix("_total") for n in re.findall(r"^# TYPE (\w+)", text, re.MULTILINE)}
    assert len(shown) > 5
    assert [name for name in sorted(own | shown) if f"`{name}" not in operations] == []


# docs/reference/configuration.md has a table of keys and defaults for every section.


def _documented() -> Iterator[tuple[str, str, str]]:
    """Section, key and default of every row."""
    section = ""
    for line in (ROOT / "docs/reference/configuration.md").read_text().splitlines():
        if heading := re.fullmatch(r"## `\[+([\w.]+)\]+`.*", line):
            section = heading[1]
        elif row := re.match(r"\| `(\w+)` \| `?([^|`]*)`? \|", line):
            yield section, row[1], row[2]


def test_every_key_is_documented_in_its_section() -> None:
    documented = {(section, key) for section, key, _ in _documented()}
    only_room = {"name", "host", "path", "query", "ignore_case", "access"}
    room = set(RoomConfig.model_fields) - only_room
    there_are = {
        (section, key)
        for section, field in Config.model_fields.items()
        if section not in {"rooms", "rules", "schedule"}
        for key in _fields(field.annotation)
    }
    there_are |= {("waiting", key) for key in WAITING_KEYS}
    there_are |= {("admission", key) for key in room - WAITING_KEYS}
    there_are |= {("room", key) for key in only_room}
    there_are |= {("rule", key) for key in RuleConfig.model_fields}
    there_are |= {("event", key) for key in EventConfig.model_fields if key != "settings"}
    there_are |= {("lane", key) for key in LaneConfig.model_fields}
    there_are |= {("admin.tokens", key) for key in AdminToken.model_fields}
    assert documented == there_are


def test_reference_marks_the_live_settings() -> None:
    text = (ROOT / "docs/reference/configuration.md").read_text()
    marked = re.findall(r"\| `(\w+)` \| [^|]* \| `\*` ", text)
    assert sorted(marked) == sorted(LIVE_KEYS)


def test_documented_defaults_are_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "gatekeeper.toml"
    sections: dict[str, list[str]] = {}
    for section, key, default in _documented():
        if section not in {"room", "rule", "event", "lane", "admin.tokens"}:  # optional tables
            tomllib.loads(f"{key} = {default}")  # one by one, so that a failure names the key
            sections.setdefault(section, []).append(f"{key} = {default}")
    text = "\n".join(f"[{name}]\n" + "\n".join(lines) for name, lines in sections.items())
    file.write_text(text)
    assert load_config(file, environ={}) == load_config(environ={})


def _fields(model: object) -> set[str]:
    assert isinstance(model, type(AdminConfig))
    return set(model.model_fields)


def _code(markdown: str) -> str:
    """Fenced blocks without their comments, and inline code still in its backticks."""
    fenced = re.findall(r"^```\w*\n(.*?)^```", markdown, re.MULTILINE | re.DOTALL)
    indented = re.findall(r"^ {4}(\S.*)$", markdown, re.MULTILINE)
    return "\n".join([*fenced, *indented, *re.findall(r"`[^`\n]+`", markdown)])


def _without_code(markdown: str) -> str:
    return re.sub(r"^```.*?^```|`[^`\n]+`", "", markdown, flags=re.MULTILINE | re.DOTALL)


@cache
def _anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as they are made from their words."""
    headings = re.findall(r"^#+ (.+)$", _text(document), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.strip().replace(" ", "-") for heading in plain}
