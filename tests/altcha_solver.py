"""Solves challenges as a client does, by ALTCHA's own library."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from altcha.v1 import solve_challenge


def solve(challenge: Mapping[str, Any]) -> dict[str, Any]:
    """The solution in the form of ALTCHA's widget."""
    solution = solve_challenge(
        challenge["challenge"], challenge["salt"], challenge["algorithm"], challenge["maxnumber"]
    )
    assert solution is not None
    kept = ("algorithm", "challenge", "salt", "signature")
    return {name: challenge[name] for name in kept} | {"number": solution.number, "took": 12}


def payload_of(solution: object) -> str:
    """A solution as it is sent: base64 of its JSON."""
    return base64.b64encode(json.dumps(solution).encode()).decode()
