"""Replays the corpus of the fuzzer: every input has the result that its name states."""

from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS

_CORPUS = Path(__file__).with_name("corpus")
_FILES = sorted(path for path in _CORPUS.glob("*/*") if path.is_file())


def test_every_target_has_accepted_and_refused_inputs() -> None:
    kinds = {(path.parent.name, path.name.partition("-")[0]) for path in _FILES}
    assert kinds >= {(name, kind) for name in TARGETS for kind in ("accepted", "refused")}


@pytest.mark.parametrize("path", _FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_input_has_result_of_its_name(path: Path) -> None:
    accepted = TARGETS[path.parent.name](path.read_bytes())
    kind = path.name.partition("-")[0]
    # Inputs that the fuzzer wrote (crash-…, timeout-…) broke a promise once, and must not break it
    # now.
    assert kind not in {"accepted", "refused"} or accepted is (kind == "accepted")
