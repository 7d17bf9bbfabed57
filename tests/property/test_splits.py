"""Requests and responses have the same result however they are cut."""

from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conformance.case_runner import ScriptedOrigin, run_case
from tests.conformance.case_table import CASES_BY_NAME
from tests.conformance.gate_pair import Stage, running_stage
from tests.profiles import examples

# Late surplus bytes look like the response to the next request on the connection.
_SURPLUS = ("more than", "a body for")
# The gate frames these bodies itself, by the pieces that arrive.
_REFRAMED = ("until the end", "a chunked POST")
# On a reused connection the request is sent again (RFC 9110 section 9.2.2).
_REPEATED = ("malformed response: nothing", "malformed response: a reset")
_LEFT_OUT = _SURPLUS + _REFRAMED + _REPEATED
_NAMES = [name for name in CASES_BY_NAME if not any(words in name for words in _LEFT_OUT)]
_LONG = 4096  # few cases are longer


class CaseSetup:
    """The gate and origin of one test; not a dataclass, which Hypothesis would print."""

    def __init__(self, stage: Stage, part: ScriptedOrigin) -> None:
        self.stage = stage
        self.part = part


@pytest.fixture(params=[True, False], ids=["fast path", "aiohttp"])
async def setup(request: pytest.FixtureRequest, store_url: str) -> AsyncIterator[CaseSetup]:
    part = ScriptedOrigin()
    async with running_stage(part.script_of, store_url=store_url, fast_path=request.param) as stage:
        yield CaseSetup(stage, part)


@settings(max_examples=examples(300), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(_NAMES),
    cuts=st.one_of(
        st.sets(st.integers(1, 400), max_size=8),
        st.sets(st.integers(1, _LONG), max_size=8),
        st.just(set(range(1, 700))),  # a byte at a time
    ),
)
async def test_every_case_may_arrive_in_pieces(setup: CaseSetup, name: str, cuts: set[int]) -> None:
    await run_case(setup.stage, setup.part, CASES_BY_NAME[name], cuts=tuple(sorted(cuts)))
