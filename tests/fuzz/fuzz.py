"""Coverage-guided fuzzing of one target: `python -m tests.fuzz.fuzz TARGET SECONDS`.

Needs atheris, which `make fuzz` installs. It starts from the corpus. Only an input that breaks a
promise is written to the corpus, so that it fails the normal test run from then on.
"""

import importlib
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

CORPUS = Path(__file__).with_name("corpus")
_MAX_BYTES = 4096


def main() -> None:
    name, seconds = sys.argv[1], int(sys.argv[2])
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["gatekeeper", "tests.fuzz"]):
        target = importlib.import_module("tests.fuzz.targets").TARGETS[name]

    def run(data: bytes) -> None:
        target(data)

    seeds = CORPUS / name
    with TemporaryDirectory() as found:
        options = [
            f"-max_total_time={seconds}",
            f"-max_len={_MAX_BYTES}",
            f"-artifact_prefix={seeds}/",
            "-print_final_stats=1",
            "-verbosity=0",
        ]
        atheris.Setup([sys.argv[0], *options, found, str(seeds)], run)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
