"""Hypothesis profiles: how many examples a property test tries.

Rules: `dev` is the default. `ci` uses the same examples in every run of one revision. `fast` tries
two fifths as many, and reports a failing one as it was found, since shrinking takes up to five
minutes. `thorough`, for `make fuzz`, tries twenty times as many. A test that sets its own number
takes it from `examples`, so that the profile counts. `HYPOTHESIS_PROFILE` selects one.
"""

import os

from hypothesis import Phase, settings

_DEFAULT = 100  # Hypothesis's default, for a property that sets no number
# `make test` has eight minutes and runs with every change: half of the examples in two runs find as
# much as all examples in one. `make test-fast` has a minute.
_SHARES = {"dev": 0.5, "ci": 0.5, "fast": 0.2, "thorough": 10.0}
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "ci" if "CI" in os.environ else "dev")


def examples(count: int) -> int:
    """The number of examples in this profile, if `count` examples cover the property."""
    return max(1, round(count * _SHARES[PROFILE]))


# The timeout of a property that simulates a whole room, seconds; that of `make fuzz` is as for all
# others.
ROOM_TIMEOUT_S = 3600 if PROFILE == "thorough" else 450


def load_profile() -> None:
    settings.register_profile("dev", deadline=None)
    settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
    phases = [each for each in Phase if each not in {Phase.shrink, Phase.explain}]
    settings.register_profile("fast", deadline=None, phases=phases)
    settings.register_profile("thorough", deadline=None)
    settings.register_profile(
        PROFILE, settings.get_profile(PROFILE), max_examples=examples(_DEFAULT)
    )
    settings.load_profile(PROFILE)
