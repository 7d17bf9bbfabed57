"""Solves the challenges of a crowd in separate processes, and measures their CPU time.

Rules. In reality visitors compute on their own devices, here on the crowd's machine, so their CPU
time is not counted. Bots share one budget: no proof is started once it is spent. The number of
proofs in progress is bounded by the processes, and the number that wait by the visitors and bots.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import active_children, get_context
from typing import Self

_MAX_NUMBER = 200_000_000  # as large as a gate's challenge may be
_FIELDS = ("algorithm", "challenge", "salt", "signature")


@dataclass(frozen=True, slots=True)
class SolvedChallenge:
    """A solved challenge as it is sent, and what it cost."""

    payload: str
    cpu_s: float
    hashes: int


def solve(challenge: Mapping[str, object]) -> SolvedChallenge | None:
    """The proof of a challenge of the ALTCHA protocol; None: it is not one, or has no solution."""
    if not all(isinstance(challenge.get(name), str) for name in _FIELDS):
        return None
    most = challenge.get("maxnumber")
    if type(most) is not int or not 0 <= most <= _MAX_NUMBER:
        return None
    began_s = time.process_time()
    known = hashlib.sha256(str(challenge["salt"]).encode())
    wanted = str(challenge["challenge"])
    for number in range(most + 1):
        tried = known.copy()
        tried.update(b"%d" % number)
        if tried.hexdigest() == wanted:
            break
    else:
        return None
    sent = {name: challenge[name] for name in _FIELDS} | {"number": number}
    payload = base64.b64encode(json.dumps(sent).encode()).decode()
    return SolvedChallenge(payload, time.process_time() - began_s, number + 1)


class ProofSolver:
    """The processes of one run; they start with the first challenge."""

    def __init__(self, *, bot_cpu_s: float) -> None:
        self.bot_cpu_left_s = bot_cpu_s
        self._pool: ProcessPoolExecutor | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            for process in active_children():  # a proof in progress may take minutes
                process.terminate()

    async def solved(
        self, challenge: Mapping[str, object], *, is_bot: bool
    ) -> SolvedChallenge | None:
        """The proof; None: there is none, or the budget of the bots is spent."""
        if is_bot and self.bot_cpu_left_s <= 0:
            return None
        if self._pool is None:
            workers = max((os.cpu_count() or 2) - 1, 1)
            self._pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
        running = asyncio.get_running_loop().run_in_executor(self._pool, solve, dict(challenge))
        try:
            proof = await running
        except BrokenProcessPool:
            return None
        if is_bot and proof is not None:
            self.bot_cpu_left_s -= proof.cpu_s
        return proof
