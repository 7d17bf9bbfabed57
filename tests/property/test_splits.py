"""However the network cuts requests and answers into pieces, what crosses is the same."""

from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conformance.gate_pair import Stage, running_stage
from tests.conformance.playing import Part, play
from tests.conformance.table import TABLE
from tests.profiles import examples

# What an origin sends beyond its answer can, when it comes late, not be told from the answer to
# the next request of that connection; no proxy can.
_SURPLUS = ("more than", "a body for")
# What the gate frames itself is framed as it comes.
_REFRAMED = ("until the end", "a chunked POST")
# On a connection that served before, the request is sent once more (RFC 9110 section 9.2.2).
_REPEATED = ("broken answer: nothing", "broken answer: a reset")
_LEFT_OUT = _SURPLUS + _REFRAMED + _REPEATED
_NAMES = [name for name in TABLE if not any(words in name for words in _LEFT_OUT)]
_LONG = 4096  # cuts beyond this point would find few cases


class Ground:
    """Where the examples of one test are played; no dataclass, for Hypothesis would print it."""

    def __init__(self, stage: Stage, part: Part) -> None:
        self.stage = stage
        self.part = part


@pytest.fixture(params=[True, False], ids=["lane", "long way"])
async def ground(request: pytest.FixtureRequest, store_url: str) -> AsyncIterator[Ground]:
    part = Part()
    async with running_stage(part.script_of, store_url=store_url, express=request.param) as stage:
        yield Ground(stage, part)


@settings(max_examples=examples(300), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(_NAMES),
    cuts=st.one_of(
        st.sets(st.integers(1, 400), max_size=8),
        st.sets(st.integers(1, _LONG), max_size=8),
        st.just(set(range(1, 700))),  # a byte at a time
    ),
)
async def test_every_case_of_the_table_may_come_in_pieces(
    ground: Ground, name: str, cuts: set[int]
) -> None:
    await play(ground.stage, ground.part, TABLE[name], cuts=tuple(sorted(cuts)))
