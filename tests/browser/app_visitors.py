"""Other visitors in a line, without a browser: they hold tokens, like apps."""

import aiohttp

from tests.gates import TIMEOUT, Gate


async def line_up(gate: Gate, count: int) -> list[str]:
    """`count` visitors join the line and return their tickets. Returns their tokens, in order of
    arrival."""
    tokens = []
    async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
        for _ in range(count):
            async with session.post(f"{gate.url}/.gatekeeper/enqueue") as response:
                tokens.append((await response.json())["token"])
    for token in tokens:
        await poll(gate, token)
    return tokens


async def poll(gate: Gate, token: str) -> str:
    async with (
        aiohttp.ClientSession(timeout=TIMEOUT, headers={"X-Queue-Token": token}) as session,
        session.get(f"{gate.url}/.gatekeeper/status") as response,
    ):
        state: str = (await response.json())["state"]
        return state
