"""Tests that require Valkey are marked, so that all others can run on any store."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
VALKEYS_OWN = re.compile(
    r'"requirepass"|"maxmemory|config_set|"ACL"|\* "appendonlydir"|/ "appendonlydir"\)\.'
    r'|"valkey" in|"valkey-server" in|bgrewriteaof|appendonly\.aof'
)
MARK = re.compile(r"pytest\.mark\.valkey\b")
FILES = sorted(
    path
    for folder in ("integration", "conformance", "browser")
    for path in (TESTS / folder).rglob("*.py")
)


def unmarked(source: str) -> list[str]:
    """What a file without marked tests contains that only Valkey has."""
    return [] if MARK.search(source) else VALKEYS_OWN.findall(source)


def test_valkeys_own_commands_are_in_marked_tests() -> None:
    assert len(FILES) > 100
    assert {path.name: found for path in FILES if (found := unmarked(path.read_text()))} == {}


@pytest.mark.parametrize(
    "source",
    [
        'client.config_set("maxmemory", 1)',
        'client.config_set("requirepass", "x")',
        'client.execute_command("ACL", "SETUSER")',
        '(folder / "store" / "appendonlydir").is_dir()',
        'if "valkey" in command',
        "await client.bgrewriteaof()",
    ],
)
def test_unmarked_use_is_found(source: str) -> None:
    assert unmarked(source)
    assert not unmarked(f"@pytest.mark.valkey\ndef test() -> None:\n    {source}\n")
