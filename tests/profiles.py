"""Hypothesis profiles: how many examples a property test tries.

Rules: `dev` is the default, `ci` is the same for every run of one revision, `fast` tries a fifth of
the examples. A test that sets its own number takes it from `examples`, so that the profile counts.
`HYPOTHESIS_PROFILE` selects one.
"""

import os

from hypothesis import settings

_FAST_SHARE = 5  # `make test-fast` has a minute
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "ci" if "CI" in os.environ else "dev")


def examples(count: int) -> int:
    """The number of examples where `count` is a full run's."""
    return max(1, count // _FAST_SHARE) if PROFILE == "fast" else count


def load_profile() -> None:
    settings.register_profile("dev", deadline=None)
    settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
    settings.register_profile("fast", deadline=None, max_examples=examples(100))
    settings.load_profile(PROFILE)
