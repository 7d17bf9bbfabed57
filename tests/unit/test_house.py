"""House rules of the repository: its layout, names and imports. `test_documents` has the others."""

import ast
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

from hypothesis import Phase, settings

from tests.repository import ROOT, all_test_names, modules, name_of, text_of, tracked

_TIMEOUT_S = 60
_MAX_LINES = 400
# Longer files, each with one idea that would be harder to read in two files.
_LONG = {"gatekeeper/proxy/fastpath/client_connection.py": 535}

# Concatenated, so that this file does not match its own patterns.
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


def test_imports_follow_the_layers() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=_TIMEOUT_S
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 kept, 0 broken" in done.stdout


def test_files_name_no_machine() -> None:
    assert [name_of(path) for path in tracked() if _OF_ONE_MACHINE.search(text_of(path))] == []


def test_files_name_no_package_registry() -> None:
    assert [name_of(path) for path in tracked() if _REGISTRIES.search(text_of(path))] == []


def test_modules_have_at_most_400_lines() -> None:
    lengths = {
        name_of(path): len(text_of(path).splitlines())
        for path in tracked()
        if name_of(path).startswith("gatekeeper/") and path.suffix in {".py", ".lua"}
    }
    assert lengths
    too_long = {name: n for name, n in lengths.items() if n > _LONG.get(name, _MAX_LINES)}
    assert too_long == {}
    assert {name for name in _LONG if lengths[name] <= _MAX_LINES} == set()


def test_every_package_maps_its_modules() -> None:
    missing = {}
    for package in modules():
        if package.name == "__init__.py":
            inside = {path.stem for path in modules() if path.parent == package.parent}
            inside |= {
                path.parent.name
                for path in modules()
                if path.name == "__init__.py" and path.parent.parent == package.parent
            }
            text = ast.get_docstring(ast.parse(text_of(package))) or ""
            unnamed = {
                name for name in inside - {"__init__"} if not re.search(rf"\b{name}\b", text)
            }
            if unnamed:
                missing[name_of(package)] = unnamed
    assert missing == {}


def test_maps_of_packages_name_no_module_that_is_gone() -> None:
    """Each line of a map begins with a module, or with a folder and `/`, followed by two blanks."""
    stale = {}
    for package in modules():
        if package.name == "__init__.py":
            text = ast.get_docstring(ast.parse(text_of(package))) or ""
            named = re.findall(r"^(\w+/?) {2,}", text, re.MULTILINE)
            folder = package.parent
            gone = {
                name
                for name in named
                if not (folder / (name if name.endswith("/") else f"{name}.py")).exists()
            }
            if gone:
                stale[name_of(package)] = gone
    assert stale == {}


def test_modules_have_unique_file_names() -> None:
    names = [path.name for path in modules() if path.name != "__init__.py"]
    assert {name for name in names if names.count(name) > 1} == set()


def test_classes_have_unique_names() -> None:
    """One name has one meaning in the whole program; a private class belongs to its module only."""
    names = [
        node.name
        for path in modules()
        for node in ast.parse(text_of(path)).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]
    assert len(names) > 300
    assert {name for name in names if names.count(name) > 1} == set()


def test_test_names_have_at_most_60_characters() -> None:
    """A test is named `subject_condition_result`; a longer sentence goes in its docstring."""
    assert len(all_test_names()) > 1000
    assert [name for name in all_test_names() if len(name) > 60] == []


def test_numbers_of_examples_follow_the_profile() -> None:
    """`make test-fast` tries a fifth of each."""
    fixed = re.compile("max_" + r"examples=(?!examples\()")
    tests = [path for path in tracked() if name_of(path).startswith("tests/")]
    assert [name_of(path) for path in tests if fixed.search(text_of(path))] == []


def test_fast_profile_reports_a_failure_as_it_was_found() -> None:
    """Shrinking a failing example takes up to five minutes; `make test-fast` has one minute."""
    assert {Phase.shrink, Phase.explain}.isdisjoint(settings.get_profile("fast").phases)
    assert Phase.shrink in settings.get_profile("dev").phases


def test_visitor_ids_and_exact_numbers_are_checked_in_one_place() -> None:
    """By `is_visitor_id` and `policy.numbers`. The configuration, in a lower layer, has its own
    bound."""

    def found(pattern: str) -> set[str]:
        return {name_of(path) for path in modules() if re.search(pattern, text_of(path))}

    assert found(r"2 ?\*\* ?53") == {
        "gatekeeper/config/event_schema.py",
        "gatekeeper/policy/numbers.py",
    }
    assert found(r"\{22\}") == {
        "gatekeeper/policy/move_code.py",  # a nonce
        "gatekeeper/policy/tokens.py",
    }


def test_test_files_have_unique_names() -> None:
    """Test files have names that differ from each other and from all modules of the program. A
    benchmark has the name of what it measures."""
    names = [
        path.name
        for path in tracked()
        if name_of(path).startswith(("tests/", "gatekeeper/"))
        and path.suffix == ".py"
        and path.name not in {"__init__.py", "__main__.py", "conftest.py"}
    ]
    assert {name for name in names if names.count(name) > 1} == set()


def test_unit_tests_mirror_the_packages() -> None:
    """Each folder of `tests/unit` has the name of the package whose modules it tests."""
    packages = {name_of(path.parent).removeprefix("gatekeeper") for path in modules()}
    tests = [name_of(path) for path in tracked() if name_of(path).startswith("tests/unit/")]
    folders = {name.removeprefix("tests/unit").rpartition("/")[0] for name in tests}
    assert folders == packages


def test_unit_tests_of_a_module_are_in_the_folder_of_its_package() -> None:
    homes = {path.stem: name_of(path.parent).removeprefix("gatekeeper") for path in modules()}
    tests = [path for path in tracked() if name_of(path).startswith("tests/unit/")]
    elsewhere = {
        name_of(path)
        for path in tests
        if (home := homes.get(path.stem.removeprefix("test_"))) is not None
        and path.stem.startswith("test_")
        and name_of(path.parent).removeprefix("tests/unit") != home
    }
    assert elsewhere == set()


def test_benchmarks_import_what_exists() -> None:
    """They run as scripts, and mypy does not read them."""
    files = [path for path in tracked() if name_of(path).startswith("benchmarks/")]
    scripts = {path.stem: path for path in files if path.suffix == ".py"}
    missing = []
    for path in scripts.values():
        for node in ast.walk(ast.parse(text_of(path))):
            if not isinstance(node, ast.ImportFrom) or not node.module:
                continue
            top, _, rest = node.module.partition(".")
            name = rest if top == "benchmarks" else node.module
            if name in scripts:
                words = set(re.findall(r"\w+", text_of(scripts[name])))
            elif top in {"gatekeeper", "tests"}:
                module = importlib.import_module(node.module)
                words = {each.name for each in node.names if _has(module, each.name)}
            else:
                words = {each.name for each in node.names} if _is_installed(top) else set()
            missing += [(name_of(path), each.name) for each in node.names if each.name not in words]
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
    # It installs for the tests what the README names as required.
    needed = readme.partition("The tests also need")[2].partition("on PATH")[0].lower()
    programs = set(re.findall(r"command -v (\w+)", script.read_text())) - {"make"}
    assert {name for name in programs if name not in needed} == set()


def test_no_file_has_marks_of_a_merge() -> None:
    marks = re.compile(r"^(<{7}|>{7}) ", re.MULTILINE)
    files = [path for path in tracked() if path.suffix in {".md", ".py", ".toml", ".lua"}]
    assert [path for path in files if marks.search(path.read_text("utf-8"))] == []
