"""Everything that `gatekeeper check` warns of. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from gatekeeper.config.schema import Config
from gatekeeper.policy.address_warnings import address_warnings
from gatekeeper.policy.autotune_warnings import autotune_warnings
from gatekeeper.policy.challenge_warnings import challenge_warnings
from gatekeeper.policy.spellings import path_warnings


def check_warnings(config: Config) -> Iterator[str]:
    """All warnings for operators, grouped by subject."""
    yield from path_warnings(config)
    yield from address_warnings(config)
    yield from challenge_warnings(config)
    yield from autotune_warnings(config)
