"""A gate with an edge, and visitors as its load."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp

from tests.gates import GateProcess
from tests.gates.http_visitor import TIMEOUT
from tests.gates.origin import Origin
from tests.integration.edge.acme_stage import (
    SHOP,
    WWW,
    Stage,
    running_authority,
)
from tests.servers import eventually


@dataclass
class Edge:
    """A gate with an edge that serves SHOP."""

    stage: Stage
    gate: GateProcess

    async def reload(self, **changes: Any) -> tuple[int, str]:
        """Change the stage, and reload the gate. Returns the exit code and the output of the
        command."""
        self.stage = replace(self.stage, **changes)
        self.gate.file.write_text(self.stage.toml())
        done = await self.gate.command("reload", "-c", str(self.gate.file))
        return done.returncode, done.stdout + done.stderr

    async def status(self, beginning: str) -> str:
        """The line of `gatekeeper status` with this beginning; "" for none."""
        done = await self.gate.command("status", "-c", str(self.gate.file))
        lines = done.stdout.splitlines()
        return next((line for line in lines if line.startswith(beginning)), "")

    async def is_ready(self) -> bool:
        """Whether every worker and the edge serve."""
        async with (
            aiohttp.ClientSession(timeout=TIMEOUT) as session,
            session.get(f"{self.gate.admin_url}/readyz") as response,
        ):
            return response.status == 200

    def events(self, name: str, domain: str = "") -> list[dict[str, Any]]:
        lines = [line for line in self.gate.logs() if line["event"] == name]
        return [line for line in lines if not domain or line.get("domain") == domain]


@asynccontextmanager
async def running_edge() -> AsyncIterator[Edge]:
    async with running_authority() as (internet, authority), Origin.running() as origin:
        stage = Stage(internet, authority, origin)
        internet.ports |= {SHOP: stage.http_port, WWW: stage.http_port}
        with GateProcess(stage.toml()) as gate:
            await gate.wait_until_serving()
            await eventually(stage.serves)
            yield Edge(stage, gate)


@dataclass
class Load:
    """Admitted visitors who send requests without a pause."""

    done: int = 0
    failures: list[str] = field(default_factory=list)

    async def visit(self, stage: Stage) -> None:
        async with stage.session() as session:
            while True:
                try:
                    async with session.get("/cart") as response:
                        text = await response.text()
                        if response.status != 200:
                            self.failures.append(f"{response.status} {text[:200]}")
                except aiohttp.ClientError as error:
                    self.failures.append(repr(error))
                self.done += 1
                await asyncio.sleep(0.02)

    async def goes_on(self, requests: int = 20) -> None:
        before = self.done
        await eventually(lambda: self.done >= before + requests)


@asynccontextmanager
async def load(stage: Stage) -> AsyncIterator[Load]:
    visitors = Load()
    tasks = [asyncio.create_task(visitors.visit(stage)) for _ in range(3)]
    await visitors.goes_on()
    yield visitors
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
