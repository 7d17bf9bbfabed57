"""What the changes of the forwarding path gained: the gate as it was after each, side by side.

    make bench-gains            about two minutes; needs the history of the repository
    python benchmarks/gains.py --quick

Each state runs from its own files, with the libraries of today, in front of the same origin and
under the same load as in `proxy.py`. Writes the section `bench-gains` of `benchmarks/README.md`.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import tarfile
import tempfile
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path

import contenders
from proxy import MAIN, ratio, runs, spread
from report import table, write_section

ROOT = Path(__file__).resolve().parent.parent
NOW = "HEAD"
# Each by the commit with which it came.
STEPS = {
    "f73cc75": "aiohttp's server in front, an own pool of connections behind",
    "468bca3": "heads of requests checked by few expressions, and fields written in one go",
    "a0a8540": "plain requests of admitted visitors from socket to socket: the express lane",
    "b2a9a88": "what a block of fields came to is kept by its bytes",
    "10bcb7b": "the known block is asked for first, and answers are cut, not taken apart",
    "a4cc0e3": "less for each answer and each look at a pass; counts are added up before written",
    NOW: "today",
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--seconds", type=int, default=2)
    options.add_argument("--quick", action="store_true", help="one short round, nothing written")
    chosen = options.parse_args()
    rounds, seconds = (1, 1) if chosen.quick else (chosen.rounds, chosen.seconds)
    with tempfile.TemporaryDirectory(prefix="gk-") as name, ExitStack() as stack:
        folder = Path(name)
        origin = contenders.start_origin(folder)
        stack.callback(origin.stop)
        address = origin.url.removeprefix("http://")
        gates = []
        for commit in STEPS:
            gate = contenders.gatekeeper(address, folder, source=_files_of(commit, folder))
            stack.callback(gate.stop)
            gate.name = commit
            gates.append(gate)
        costs = runs(MAIN, gates, rounds=rounds, seconds=seconds)
    cpu = {commit: [c.cpu_us_per_request for c in each] for commit, each in costs.items()}
    text = _text(cpu, rounds=rounds, seconds=seconds)
    print(text)
    if not chosen.quick:
        write_section("bench-gains", text)


def _files_of(commit: str, folder: Path) -> Path:
    """The files of that commit, in a folder of their own."""
    command = ["git", "-C", str(ROOT), "archive", commit]
    archive = subprocess.run(command, capture_output=True, check=True).stdout
    files = folder / commit
    with tarfile.open(fileobj=BytesIO(archive)) as tar:
        tar.extractall(files, filter="data")
    return files


def _text(cpu: dict[str, list[float]], *, rounds: int, seconds: int) -> str:
    commits = list(STEPS)
    rows = []
    for before, commit in zip([None, *commits], commits, strict=False):
        gained = "" if before is None else ratio(cpu[commit], cpu[before])
        of_first = ratio(cpu[commit], cpu[commits[0]])
        rows.append([f"{STEPS[commit]} ({commit})", spread(cpu[commit]), gained, of_first])
    head = ["", "CPU µs per request", "of the row above", "of the first"]
    whole = statistics.median(cpu[commits[0]]) / statistics.median(cpu[NOW])
    return (
        f"`make bench-gains`: what the changes of the forwarding path came to: {whole:.1f} times "
        f"in all. {MAIN.title}, {rounds} rounds of {seconds} s for each state in turn, with the "
        "libraries of today; medians with the lowest and highest round. Where the time went was "
        "seen with `perf` and py-spy before each. What later states do more (to be strict, to "
        f"count, to answer those who wait) is in their figures.\n\n{table(head, rows)}"
    )


if __name__ == "__main__":
    main()
