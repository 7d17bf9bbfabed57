"""The control room lists the busiest passes of all workers and replicas, and ends one."""

import asyncio
from typing import Any

from gatekeeper.config.types import RoomName
from tests.gates import GateProcess, Origin, Visitor
from tests.integration.ops.process_settings import settings, shared_servers
from tests.integration.ops.test_overview import overview, until


def shared(origin_url: str, name: RoomName, *, store_url: str, events_url: str) -> str:
    """The configuration of each replica."""
    more = f"""{shared_servers(store_url, events_url)}
[[room]]
name = "{name}"
burst = 1000
rate = "1000/s"
concurrent = 50
"""
    return settings(origin_url, server="workers = 2", more=more)


async def test_busiest_pass_is_listed_and_ended(
    store_url: str, events_url: str, room_name: RoomName
) -> None:
    """Its figures are those of all replicas, and so is its end."""
    async with Origin.running() as origin:
        toml = shared(origin.url, room_name, store_url=store_url, events_url=events_url)
        with GateProcess(toml) as one, GateProcess(toml) as two:
            await one.wait_until_serving()
            await two.wait_until_serving()
            async with (
                Visitor(one.admin_url) as operator,
                Visitor(two.admin_url) as colleague,
                Visitor(one.url, two.url) as ann,
                Visitor(one.url, two.url) as bob,
            ):
                for visitor, requests in ((ann, (30, 10)), (bob, (5, 0))):
                    await visitor.enter()
                    for at, count in enumerate(requests):
                        await asyncio.gather(
                            *(visitor.request("GET", "/", at=at) for _ in range(count))
                        )

                def has_both(response: dict[str, Any]) -> bool:
                    return [each["requests"] for each in response["passes"]] == [41, 6]

                response = await until(operator, has_both)
                assert (await until(colleague, has_both))["passes"] == response["passes"]
                busiest = response["passes"][0]
                assert busiest["room"] == room_name
                assert busiest["addresses"] == 1
                assert busiest["refused"] == 0
                revoked = await colleague.request(
                    "POST", f"/admin/revoke?room={room_name}&visitor={busiest['visitor']}"
                )
                assert revoked.json["held"] == "slot"
                for each in (operator, colleague):
                    left = await until(each, lambda response: len(response["passes"]) == 1)
                    assert left["passes"][0]["requests"] == 6
                    assert (await overview(each))["passes"] == left["passes"]
                ended = ann.cookies()
                for at in (0, 1):
                    await ann.request("GET", "/", at=at)
                    assert ann.cookies() != ended, "a newcomer, with another visitor id"
                    ann.set_cookie(*next(iter(ended.items())))
                log = (await colleague.request("GET", "/admin/audit")).json["entries"]
                assert (log[0]["what"], log[0]["visitor"]) == ("revoke", busiest["visitor"])
