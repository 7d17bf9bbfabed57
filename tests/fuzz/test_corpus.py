"""The corpus of the fuzzer, replayed: every input ends as its name says, and never otherwise."""

from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS

_CORPUS = Path(__file__).with_name("corpus")
_FILES = sorted(path for path in _CORPUS.glob("*/*") if path.is_file())


def test_every_target_has_inputs_of_both_kinds() -> None:
    kinds = {(path.parent.name, path.name.partition("-")[0]) for path in _FILES}
    assert kinds >= {(name, kind) for name in TARGETS for kind in ("accepted", "refused")}


@pytest.mark.parametrize("path", _FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_an_input_ends_as_its_name_says(path: Path) -> None:
    accepted = TARGETS[path.parent.name](path.read_bytes())
    kind = path.name.partition("-")[0]
    # What the fuzzer wrote there (crash-…, timeout-…) once broke a promise: now it must keep it.
    assert kind not in {"accepted", "refused"} or accepted is (kind == "accepted")
