"""The examples of the documentation are valid configurations."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatekeeper.config.load import load_config
from gatekeeper.errors import ConfigError

ROOT = Path(__file__).parents[3]
_BLOCK = re.compile(r"```toml\n(.*?)```", re.DOTALL)
# Files of an operator, which do not exist here.
_MISSING = re.compile(r"no (file|directory) at|No such file or directory")


def examples() -> Iterator[tuple[str, str]]:
    for path in [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"]:
        for number, block in enumerate(_BLOCK.findall(path.read_text())):
            yield f"{path.name} {number + 1}", block


EXAMPLES = dict(examples())


def test_documents_have_examples() -> None:
    assert len(EXAMPLES) >= 15


@pytest.mark.parametrize("name", EXAMPLES)
def test_documented_example_is_accepted(name: str, tmp_path: Path) -> None:
    path = tmp_path / "gatekeeper.toml"
    path.write_text(EXAMPLES[name])
    try:
        load_config(path, environ={})
    except ConfigError as error:
        problems = [each for each in error.problems if not _MISSING.search(each)]
        assert problems == []
