"""Ten minutes of a sale in which much goes wrong, and a verdict on whether the gate kept its word.

    make chaos                         two minutes of real time, a seed of its own
    make chaos SEED=7                  the trouble and the people of seed 7 again
    make chaos SEED=7 SECONDS=600      unhurried
    make chaos-faults                  gates that are broken on purpose: each has to be found out

Workers and gates are killed and paused, the store is paused, flushed, killed and emptied, NATS is
cut, and the operator grants and holds, while a crowd of real HTTP visitors judges: order among
those present, rate, slots, no ticket twice, nobody lost. Every violation is told with its instant
and visitor. The exit status is 1 when there was one.
"""

from __future__ import annotations

import argparse
import secrets
import sys

import uvloop

from gatekeeper.errors import GatekeeperError
from gatekeeper.simulate.summary import text_of
from tests.chaos.faults import FAULTS, Fault
from tests.chaos.schedule import schedule
from tests.chaos.trial import Result, Say, run


def main() -> int:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--seed", type=int, default=None)
    options.add_argument("--seconds", type=float, default=120.0)
    options.add_argument("--gates", type=int, default=3)
    options.add_argument("--workers", type=int, default=2, help="of each gate")
    options.add_argument("--fault", choices=FAULTS, help="break the gates like this")
    options.add_argument("--faults", action="store_true", help="each in turn: all must be found")
    chosen = options.parse_args()
    try:
        return _find_faults(chosen) if chosen.faults else _keep_promises(chosen)
    except GatekeeperError as error:
        _say(f"the run could not begin: {error.public}")
        return 1


def _keep_promises(chosen: argparse.Namespace) -> int:
    seed = secrets.randbelow(1_000_000) if chosen.seed is None else chosen.seed
    _say(f"seed {seed}: `make chaos SEED={seed} SECONDS={chosen.seconds:g}` does this again")
    for trouble in schedule(seed, seconds=chosen.seconds, gates=chosen.gates):
        _say(f"  planned at {trouble.at_s:6.1f} s: {trouble.what}, {trouble.lasts_s:.1f} s")
    result = _run(chosen, seed, fault=FAULTS.get(chosen.fault), say=_say)
    _say(text_of(result.verdict))
    for problem in result.problems:
        _say(f"PROBLEM  {problem}")
    _say(f"seed {seed}: {'every promise held' if result.ok else 'NOT OK'}")
    return 0 if result.ok else 1


def _find_faults(chosen: argparse.Namespace) -> int:
    missed = 0
    for name, fault in FAULTS.items():
        for seed in (1, 2):  # one in which slots are short, one in which the rate is
            result = _run(chosen, seed, fault=fault, say=lambda _: None)
            broken = [each.name for each in result.verdict.promises if each.held is False]
            broken += result.problems
            if found := any(fault.breaks in each for each in broken):
                break
            _say(f"{'':>8}  {name}, seed {seed}: broke {'; '.join(broken) or 'nothing'}")
        missed += not found
        _say(f"{f'found by seed {seed}' if found else 'MISSED'}  {name}: {fault.breaks}")
    _say(f"{len(FAULTS) - missed} of {len(FAULTS)} faults were found")
    return 1 if missed else 0


def _run(chosen: argparse.Namespace, seed: int, *, fault: Fault | None, say: Say) -> Result:
    return uvloop.run(
        run(
            seed,
            seconds=chosen.seconds,
            gates=chosen.gates,
            workers=chosen.workers,
            say=say,
            fault=fault,
        )
    )


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201  this is what the command is for


if __name__ == "__main__":
    sys.exit(main())
