"""The control room lists the busiest passes of all workers, and ends one."""

import asyncio
from typing import Any

from tests.gates import GateProcess, Origin, Visitor
from tests.integration.ops.settings import settings
from tests.integration.ops.test_overview import overview, until

ROOM = """
[admission]
burst = 1000
rate = "1000/s"
concurrent = 50
"""


async def test_busiest_pass_is_listed_and_ended() -> None:
    async with Origin.running() as origin:
        with GateProcess(settings(origin.url, server="workers = 2", more=ROOM)) as gate:
            await gate.wait_until_serving()
            async with (
                Visitor(gate.admin_url) as operator,
                Visitor(gate.url) as ann,
                Visitor(gate.url) as bob,
            ):
                for visitor, requests in ((ann, 30), (bob, 5)):
                    page = await visitor.request("GET", "/")
                    assert page.status == 200
                    await asyncio.gather(*(visitor.request("GET", "/") for _ in range(requests)))

                def has_both(told: dict[str, Any]) -> bool:
                    return [each["requests"] for each in told["passes"]] == [31, 6]

                told = await until(operator, has_both)
                busiest = told["passes"][0]
                assert busiest["room"] == "default"
                assert busiest["addresses"] == 1
                assert busiest["refused"] == 0
                revoked = await operator.request(
                    "POST", f"/admin/revoke?room=default&visitor={busiest['visitor']}"
                )
                assert revoked.json["held"] == "slot"
                left = await until(operator, lambda told: len(told["passes"]) == 1)
                assert left["passes"][0]["requests"] == 6
                log = (await operator.request("GET", "/admin/audit")).json["entries"]
                assert (log[0]["what"], log[0]["visitor"]) == ("revoke", busiest["visitor"])
                assert (await overview(operator))["passes"] == left["passes"]
