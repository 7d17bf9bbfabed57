"""`gatekeeper check` on limits by address behind a proxy that the gate does not know."""

from pathlib import Path

import pytest

from gatekeeper.policy.address_warnings import address_warnings
from tests.builders import parse_config


@pytest.mark.parametrize(
    ("toml", "is_warned"),
    [
        ('[waiting]\nnewcomers_per_address = "60/min"', True),
        ('[[room]]\nname = "sale"\nnewcomers_per_address = "60/min"', True),
        ("[waiting]\nnewcomers_per_address = 0", False),
        ("", False),
        (
            """
            server.trusted_proxies = ["10.0.0.0/8"]
            waiting.newcomers_per_address = "60/min"
            """,
            False,
        ),
    ],
)
def test_limit_by_address_without_trusted_proxies_is_a_warning(
    toml: str, is_warned: bool, tmp_path: Path
) -> None:
    warnings = [*address_warnings(parse_config(toml, folder=tmp_path))]
    assert bool(warnings) is is_warned
    assert all("server.trusted_proxies" in each for each in warnings)
