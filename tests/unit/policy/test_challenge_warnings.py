"""Warnings of `gatekeeper check` about widgets in rooms without hosts."""

from pathlib import Path

import pytest

from gatekeeper.policy.challenge_warnings import challenge_warnings
from tests.builders import parse_config


@pytest.mark.parametrize(
    ("challenge", "host", "warned"),
    [
        ("turnstile", "[]", True),
        ("hcaptcha", "[]", True),
        ("turnstile", '"shop.example.com"', False),
        ("hcaptcha", '"*.example.com"', False),
        ("work", "[]", False),
        ("off", "[]", False),
    ],
)
def test_widget_in_a_room_without_hosts_is_warned_of(
    challenge: str, host: str, warned: bool, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("0x" + "s" * 40)
    toml = (
        f'[[room]]\nname = "sale"\nhost = {host}\nchallenge = "{challenge}"\n'
        f'challenge_site_key = "0x4AAA"\nchallenge_secret_file = "{tmp_path / "key"}"\n'
    )
    warnings = [*challenge_warnings(parse_config(toml, folder=tmp_path))]
    assert [f'challenge = "{challenge}" in room sale' in each for each in warnings] == [
        True
    ] * warned
