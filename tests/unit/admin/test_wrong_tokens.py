"""Five wrong tokens per minute and address, in bounded memory."""

from pathlib import Path

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from gatekeeper.admin.audit import AuditLog
from gatekeeper.admin.auth import AdminAuth, AuthFailure, Credential, principal_of
from gatekeeper.admin.wrong_tokens import MAX_WRONG, PERIOD_S, WrongTokens
from tests.unit.clock import Clock

TOKEN = "maria's token, of thirty-two bytes"
HERE, THERE = "192.0.2.7", "192.0.2.8"


@pytest.fixture
def wrong(clock: Clock) -> WrongTokens:
    return WrongTokens(limit=100, monotonic_s=clock)


@pytest.fixture
def auth(wrong: WrongTokens, tmp_path: Path) -> AdminAuth:
    """One token, and no proxies."""
    return AdminAuth(
        [Credential.of("maria", "full", secret=TOKEN.encode())],
        audit=AuditLog(tmp_path),
        wrong_tokens=wrong,
    )


async def outcome(
    auth: AdminAuth, address: str, *tokens: str, method: str = "GET", scheme: str = "Bearer"
) -> tuple[int, int]:
    """The status of a request with these tokens, and its Retry-After."""
    fields = CIMultiDict([("Host", "gate")])
    for token in tokens:
        fields.add("Authorization", f"{scheme} {token}")
    request = make_mocked_request(method, "/admin/status", headers=fields).clone(remote=address)
    try:
        await auth.check(request)
    except AuthFailure as failure:
        return failure.status, failure.retry_after_s
    assert principal_of(request).name == "maria"
    return 200, 0


async def test_sixth_wrong_token_in_a_minute_is_429(auth: AdminAuth, clock: Clock) -> None:
    for _ in range(MAX_WRONG):
        assert await outcome(auth, HERE, "a guess") == (401, 0)
        clock.now_s += 10
    assert await outcome(auth, HERE, "a guess") == (429, 10)
    assert await outcome(auth, HERE, TOKEN) == (429, 10), "a guesser learns nothing"
    assert await outcome(auth, HERE) == (401, 0), "the page prompts for a token"
    assert await outcome(auth, HERE, method="POST") == (401, 0)
    assert await outcome(auth, THERE, "a guess") == (401, 0)
    assert await outcome(auth, THERE, TOKEN) == (200, 0)
    clock.now_s += 10
    assert await outcome(auth, HERE, "a guess") == (401, 0)
    assert (await outcome(auth, HERE, "a guess"))[0] == 429
    clock.now_s += PERIOD_S
    assert await outcome(auth, HERE, TOKEN) == (200, 0)


async def test_each_spelling_of_a_wrong_token_counts(auth: AdminAuth) -> None:
    for tokens, scheme in (
        (["a guess"], "Bearer"),
        ([TOKEN], "Basic"),
        ([TOKEN, TOKEN], "Bearer"),
        ([""], "Bearer"),
        ([f"{TOKEN}, {TOKEN}"], "bearer"),
    ):
        assert (await outcome(auth, HERE, *tokens, scheme=scheme))[0] == 401
    assert (await outcome(auth, HERE, "a guess", method="POST"))[0] == 429


async def test_address_of_a_valid_token_goes_on(auth: AdminAuth) -> None:
    """A script with a replaced token does not lock out an operator at the same address."""
    assert await outcome(auth, HERE, TOKEN) == (200, 0)
    for _ in range(MAX_WRONG):
        assert (await outcome(auth, HERE, "old"))[0] == 401
    assert (await outcome(auth, HERE, "old"))[0] == 429
    assert await outcome(auth, HERE, TOKEN) == (200, 0)
    assert (await outcome(auth, HERE, "old"))[0] == 429


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.7", HERE, True),
        ("192.0.2.7", "192.0.2.8", False),
    ],
)
def test_attempts_count_by_network(wrong: WrongTokens, one: str, other: str, is_same: bool) -> None:
    for _ in range(MAX_WRONG):
        wrong.add(one)
    assert bool(wrong.wait_s(other)) is is_same


def test_memory_of_wrong_tokens_is_bounded(wrong: WrongTokens) -> None:
    for _ in range(MAX_WRONG):
        wrong.add(HERE)
    for number in range(5_000):
        wrong.add(f"2001:db8:{number:x}::1")
        wrong.note_valid(f"2001:db8:{number:x}::1")
        wrong.add(HERE)
    assert len(wrong) == 100
    assert wrong.wait_s(HERE) > 0, "one that goes on is not forgotten"
