"""Hypothesis profiles: how many examples a property test tries.

Rules: `dev` is the default; `ci` is the same for every run of one revision; `fast` tries two fifths
of their examples and reports one that fails as it was found, since to make it smaller takes up to
five minutes; `thorough`, which `make fuzz` uses, tries twenty times as many. A test that sets
its own number takes it from `examples`, so that the profile counts. `HYPOTHESIS_PROFILE` selects
one.
"""

import os

from hypothesis import Phase, settings

_DEFAULT = 100  # Hypothesis's own number, of a property that sets none
# `make test` has eight minutes and runs with every change: half of the examples find in two runs
# what all find in one. `make test-fast` has a minute.
_SHARES = {"dev": 0.5, "ci": 0.5, "fast": 0.2, "thorough": 10.0}
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "ci" if "CI" in os.environ else "dev")


def examples(count: int) -> int:
    """The number of examples in this profile, of `count` that cover what a property is about."""
    return max(1, round(count * _SHARES[PROFILE]))


# The timeout of a property that plays a whole room, seconds; of `make fuzz` as for all others.
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
