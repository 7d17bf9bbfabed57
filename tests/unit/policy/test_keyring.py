"""The first key of a keyring signs, and each of its keys verifies."""

import jwt
import pytest

from gatekeeper.policy.tokens import Keyring, key_id
from tests.unit.policy.test_tokens import NOW_S, OTHER_SECRET, PASS, SECRET, tokens


def test_old_key_verifies_until_it_is_removed() -> None:
    old = tokens(SECRET).mint(PASS)
    assert tokens(OTHER_SECRET, SECRET).read(old, now_s=NOW_S) == PASS
    assert tokens(OTHER_SECRET).read(old, now_s=NOW_S) is None


def test_first_key_signs() -> None:
    raw = tokens(OTHER_SECRET, SECRET).mint(PASS)
    assert tokens(OTHER_SECRET).read(raw, now_s=NOW_S) == PASS
    assert tokens(SECRET).read(raw, now_s=NOW_S) is None


def test_key_id_names_the_key_and_does_not_reveal_it() -> None:
    kid = jwt.get_unverified_header(tokens().mint(PASS))["kid"]
    assert kid == key_id(SECRET)
    assert len(kid) == 8
    assert kid != key_id(OTHER_SECRET)


def test_keyring_without_a_key_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one secret"):
        Keyring([])
