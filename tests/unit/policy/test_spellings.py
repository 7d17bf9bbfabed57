"""Warnings of paths that an origin may serve under a spelling outside of the room or rule."""

from pathlib import Path

import pytest

from gatekeeper.policy.spellings import path_warnings
from tests.builders import parse_config

REST = '\n[[room]]\nname = "rest"\n'


def warnings(toml: str, folder: Path) -> list[str]:
    return path_warnings(parse_config(toml, folder=folder))


@pytest.mark.parametrize(
    ("keys", "outside"),
    [
        ('path = "/checkout/"', ["/index.php/checkout/"]),
        ('path = ["/checkout/", "/index.php/checkout/"]', []),
        (
            'path = ["/checkout/", "/index.php/"]\nignore_case = false',
            ["/CHECKOUT/", "/INDEX.PHP/"],
        ),
        ('path = "/checkout"\nhost = "*.example.com"', ["/index.php/checkout"]),
        ('path = "/shop/"\nquery = "wc-ajax=*"', ["/index.php/shop/"]),
        ('path = "/caf%C3%A9/"\nignore_case = false', ["/CAF%c3%a9/", "/index.php/caf%C3%A9/"]),
    ],
)
@pytest.mark.parametrize("rest", ["", REST])
def test_room_path_with_an_uncovered_spelling_is_warned_of(
    keys: str, outside: list[str], rest: str, tmp_path: Path
) -> None:
    found = warnings(f'[[room]]\nname = "till"\n{keys}\n{rest}', tmp_path)
    spelled = [text for text in outside if any(f'"{text}"' in each for each in found)]
    assert spelled == outside
    assert sum(each.count('", "') + 1 for each in found) == len(outside)
    assert all(each.startswith("room[0].path: ") for each in found)


def test_encoded_letters_and_double_slashes_are_covered(tmp_path: Path) -> None:
    [warning] = warnings('[[room]]\nname = "till"\npath = "/checkout/"\n', tmp_path)
    assert "%" not in warning
    assert "//" not in warning
    assert warning == (
        'room[0].path: "/checkout/" does not cover "/index.php/checkout/"; '
        "expected them in path as well, if the origin serves them"
    )


@pytest.mark.parametrize(
    ("action", "keys", "outside"),
    [
        ("block", 'path = "/admin/**"', ["/index.php/admin/**"]),
        ("queue", 'path = "/buy"', ["/index.php/buy"]),
        ("block", 'path = ["/1/**", "/index.php/**"]', []),
        ("block", 'path = "**/secret/**"', []),
        ("block", 'path_regex = "/admin.*"', []),
        ("block", 'user_agent = "*bot*"', []),
        ("bypass", 'path = "/hooks/**"', []),
    ],
)
def test_tightening_rule_with_an_uncovered_spelling_is_warned_of(
    action: str, keys: str, outside: list[str], tmp_path: Path
) -> None:
    found = warnings(f'[[rule]]\nname = "r"\naction = "{action}"\n{keys}\n', tmp_path)
    for text in outside:
        assert any(f'"{text}"' in each for each in found), found
    assert bool(found) == bool(outside)
    assert not any("%" in each for each in found)


def test_configuration_without_paths_has_no_warning(tmp_path: Path) -> None:
    assert warnings("", tmp_path) == []
