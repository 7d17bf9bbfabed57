"""Documents match the code: every test, command, key or file named in a document exists.

Each of these tests reads all documents.
"""

import re
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import get_args

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
from gatekeeper.metrics import Tally  # also registers what has to be documented
from gatekeeper.policy.explain import OF_ROOMS
from gatekeeper.policy.phase import Mode, Phase, Reason
from tests.repository import DOCUMENTS, ROOT, all_test_names, name_of, text_of, tracked


def _faults(of: Callable[[Path], Collection[object]]) -> dict[str, Collection[object]]:
    """The faults that `of` finds, by document."""
    return {name_of(document): found for document in DOCUMENTS if (found := of(document))}


def test_document_links_resolve() -> None:
    def dead(document: Path) -> list[str]:
        return [
            target
            for target in re.findall(r"\]\(([^)\s]+)\)", _without_code(text_of(document)))
            if not re.match(r"[a-z]+:", target) and not _resolves(target, document)
        ]

    assert _faults(dead) == {}


def _resolves(link: str, document: Path) -> bool:
    path, _, anchor = link.partition("#")
    found = (document.parent / path).resolve() if path else document
    return found.exists() and (not anchor or anchor in _anchors(found))


def test_tables_in_documents_are_whole() -> None:
    """Each table has a line of dashes below its header, and all its rows have the same number of
    cells."""

    def broken(document: Path) -> list[str]:
        text = re.sub(r"^```.*?^```", "", text_of(document), flags=re.MULTILINE | re.DOTALL)
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
        named = set(re.findall(r"\btest_[a-z0-9_]+\b(?!\.py)", text_of(document)))
        return named - all_test_names() - pattern

    assert _faults(missing) == {}


def test_files_named_in_documents_exist() -> None:
    named = r"`((?:gatekeeper|tests|templates|static|deploy|docs|benchmarks)/[\w./-]*)`"
    made_by_the_reader = {"deploy/secret", "deploy/gatekeeper.env"}

    def missing(document: Path) -> set[str]:
        names = set(re.findall(named, text_of(document))) - made_by_the_reader
        return {name for name in names if not (ROOT / name).exists()}

    assert _faults(missing) == {}


def test_names_of_code_in_documents_are_in_their_files() -> None:
    """If a document contains `name` in, of or from `a file`, the file contains this name."""
    pattern = (
        r"`([\w.]+)(?:\([^`]*\))?`,?\s+(?:in|of|from|\()\s*`((?:gatekeeper|tests)/[\w/.-]+\.\w+)`"
    )

    def stale(document: Path) -> list[tuple[str, str]]:
        return [
            (name, file)
            for name, file in re.findall(pattern, text_of(document))
            if not re.search(rf"\b{name.rpartition('.')[2]}\b", text_of(ROOT / file))
        ]

    assert _faults(stale) == {}


def test_names_in_documents_are_names_of_the_program() -> None:
    """Log events, fields, settings and functions, as `name_of_words`; metrics have a test below."""
    of_others = {  # documents with names of another program
        "CHANGELOG.md",
        "docs/how-to/behind-a-cdn.md",
        "docs/how-to/in-front.md",
        "docs/how-to/move-from-cloudflare.md",
        "docs/how-to/move-from-queue-it.md",
    }
    places = ("gatekeeper/", "static/", "templates/", "deploy/", "benchmarks/")
    kinds = {".py", ".lua", ".js", ".html", ".toml", ".yaml", ".json", ".css"}
    sources = [
        text_of(path)
        for path in tracked()
        if name_of(path).startswith((*places, "gatekeeper.toml")) and path.suffix in kinds
    ]
    known = set(re.findall(r"\w+", "\n".join(sources))) | {"post_action"}  # of nginx
    stale = {
        (name_of(document), name)
        for document in DOCUMENTS
        if name_of(document) not in of_others
        for name in re.findall(r"`([a-z][a-z0-9]*(?:_[a-z0-9]+)+)`", text_of(document))
        if not name.startswith(("test_", "gatekeeper_")) and name not in known
    }
    assert stale == set()


def test_decisions_are_listed_with_title_and_date() -> None:
    """One file each: "# number. title", then the date and whether it is accepted."""
    folder = ROOT / "docs" / "decisions"
    rows = []
    for path in sorted(folder.glob("[0-9]*.md")):
        heading = re.match(
            r"# (\d+)\. (.+)\n\n(\d{4}-\d\d-\d\d) · (?:Accepted|Superseded)\b", text_of(path)
        )
        assert heading is not None, path.name
        number, title, date = heading.groups()
        assert int(number) == int(path.name[:4])
        rows.append(f"| {number:0>4} | [{title}]({path.name}) | {date} |")
    listed = [line for line in text_of(folder / "README.md").splitlines() if line[:3] == "| 0"]
    assert listed == rows
    assert len({row[:6] for row in rows}) == len(rows) > 50


def test_commands_in_documents_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    command = re.compile(
        r"(?:^|`|\brun |\$\(|exec gatekeeper )gatekeeper ([a-z]+(?:-[a-z]+)*)", re.MULTILINE
    )

    def unknown(document: Path) -> set[str]:
        shown = _code(text_of(document))
        asked = set(re.findall(r"(?:^|`)make ([a-z-]+)", shown, re.MULTILINE))
        return (asked - targets) | (set(command.findall(shown)) - app.commands.keys())

    assert _faults(unknown) == {}


def test_readme_lists_every_command() -> None:
    readme = (ROOT / "README.md").read_text()
    assert [name for name in app.commands if f"`gatekeeper {name}" not in readme] == []


def test_reference_names_every_phase_reason_mode_and_endpoint() -> None:
    endpoints = text_of(ROOT / "docs/reference/endpoints.md")
    commands = text_of(ROOT / "docs/reference/command-line.md")
    configuration = text_of(ROOT / "docs/reference/configuration.md")
    fields = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", endpoints, re.MULTILINE))
    rows = set(re.findall(r"^\| `(?:GET|POST) ([a-z]+)", endpoints, re.MULTILINE))
    [setting] = re.findall(r"^\| `POST /admin/mode.*", endpoints, re.MULTILINE)

    def lacks(text: str, names: Iterable[str]) -> list[str]:
        return [name for name in names if f"`{name}`" not in text]

    assert lacks(fields["phase"], Phase) == []
    assert lacks(fields["reason"], get_args(Reason)) == []
    assert lacks(setting, Mode) == []
    assert [mode for mode in Mode if f"| `gatekeeper mode {mode}` |" not in commands] == []
    assert OF_ROOMS - rows == set()
    assert lacks(endpoints.partition("gets 403 at")[2].partition(".\n")[0], OF_ROOMS) == []
    blocked = configuration.partition("endpoints that concern a room")[2].partition(", so that")[0]
    assert lacks(blocked, OF_ROOMS) == []


def test_changelog_has_this_version() -> None:
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_costs_in_readme_match_measurements() -> None:
    readme = (ROOT / "README.md").read_text().partition("## What it costs")[2]
    measured = (ROOT / "benchmarks" / "README.md").read_text()
    # A ratio for each interpreter.
    row = re.compile(
        r"^\| (nginx|Caddy) \| [^|]+ \| (\d+\.\d\d(?: \| \d+\.\d\d)*) \| [\d,]+ \|$", re.MULTILINE
    )
    ratios: dict[str, list[float]] = {}
    for name, of_row in row.findall(measured):
        ratios.setdefault(name, []).extend(map(float, of_row.split(" | ")))
    nginx, caddy = sorted(ratios["nginx"]), sorted(ratios["Caddy"])
    assert f"{nginx[0]:.1f} to {nginx[-1]:.1f} times the CPU time of nginx" in readme
    assert f"{caddy[0]:.1f} to {caddy[-1]:.1f} times that of\nCaddy" in readme


def test_every_metric_is_documented(tmp_path: Path) -> None:
    operations = (ROOT / "docs/reference/metrics.md").read_text()
    own = {m.name for m in REGISTRY.collect() if m.name.startswith("gatekeeper_")}
    # Written in parts by the workers, and combined by the exposition.
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
    """The anchors of a document's headings, derived from their words."""
    headings = re.findall(r"^#+ (.+)$", text_of(document), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.strip().replace(" ", "-") for heading in plain}
