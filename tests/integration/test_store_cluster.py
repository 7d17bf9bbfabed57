"""A store in cluster mode: one shard is supported and may fail over; several are refused at the
start."""

from collections.abc import Iterator

import pytest

from gatekeeper.config.types import RoomName
from gatekeeper.errors import StoreError
from gatekeeper.room.store import RedisStore, Script, room_keys
from tests.builders import SECRET
from tests.gates import GateProcess
from tests.ports import free_port
from tests.servers import eventually
from tests.store_group import PortServer

SLOTS = 16_384
SETTINGS = f"""
[server]
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
[origin]
url = "http://127.0.0.1:9"
[events]
url = "off"
[tokens]
secrets = ["{SECRET.decode()}"]
"""


class Node(PortServer):
    """Its bus has a separate port. The default is 10,000 above the other one, in the range that the
    system gives to any socket."""

    def __init__(self) -> None:
        self.bus_port = free_port()
        cluster = ("--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf")
        super().__init__(*cluster, "--cluster-port", str(self.bus_port))


@pytest.fixture
def nodes() -> Iterator[tuple[Node, Node]]:
    with Node() as first, Node() as second:
        yield first, second


def give_slots(node: PortServer, first: int, last: int) -> None:
    with node.client() as client:
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)


def meet(node: Node, other: Node) -> None:
    with node.client() as client:
        client.execute_command("CLUSTER", "MEET", "127.0.0.1", other.port, other.bus_port)


def cluster_info(node: PortServer) -> str:
    with node.client() as client:
        return str(client.execute_command("CLUSTER", "INFO"))


def is_linked(replica: PortServer) -> bool:
    with replica.client() as client:
        return bool(client.info("replication").get("master_link_status") == "up")


async def responds(store: RedisStore) -> bool:
    try:
        await store.ping()
    except StoreError:
        return False
    return True


async def write(store: RedisStore) -> None:
    """Write to every key of a room."""
    text = "for _, key in ipairs(KEYS) do redis.call('SET', key, 'x') end return { #KEYS }"
    keys = room_keys(RoomName("shop"))
    assert await store.run(Script("write", text, "0" * 40), keys, []) == [len(keys)]


@pytest.mark.valkey
async def test_one_shard_serves_a_room(nodes: tuple[Node, Node]) -> None:
    node, _ = nodes
    give_slots(node, 0, SLOTS - 1)
    await eventually(lambda: "cluster_state:ok" in cluster_info(node))
    store = RedisStore(node.url, timeout_s=5)
    await store.ping()
    await write(store)
    await store.close()


def replicate(first: PortServer, second: PortServer) -> None:
    with first.client() as primary, second.client() as replica:
        replica.execute_command("CLUSTER", "REPLICATE", primary.execute_command("CLUSTER", "MYID"))


@pytest.mark.valkey
async def test_fail_over_of_the_only_shard_is_followed(
    nodes: tuple[Node, Node],
) -> None:
    """Also back again, when the new server is lost."""
    first, second = nodes
    give_slots(first, 0, SLOTS - 1)
    meet(first, second)
    await eventually(lambda: "cluster_known_nodes:2" in cluster_info(second))
    await eventually(lambda: "cluster_size:1" in cluster_info(second))
    replicate(first, second)
    await eventually(lambda: is_linked(second))
    store = RedisStore(first.url, timeout_s=5)
    await write(store)
    with second.client() as client:
        client.execute_command("CLUSTER", "FAILOVER")
    await eventually(lambda: first.role() == "slave")
    with pytest.raises(StoreError, match="the store refused 'write': MOVED"):
        await write(store)
    await write(store)
    second.kill()
    await eventually(lambda: responds(store))
    await store.close()


@pytest.mark.valkey
async def test_room_that_moved_to_another_shard_is_not_followed(
    nodes: tuple[Node, Node],
) -> None:
    """Several rooms would switch the one connection back and forth."""
    first, second = nodes
    give_slots(first, 0, 0)
    give_slots(second, 1, SLOTS - 1)
    meet(first, second)
    await eventually(lambda: "cluster_state:ok" in cluster_info(first))
    await eventually(lambda: "cluster_size:2" in cluster_info(first))
    store = RedisStore(first.url, timeout_s=5)
    for _ in range(2):
        with pytest.raises(StoreError, match="the store refused 'write': MOVED"):
            await write(store)
    await store.close()


@pytest.mark.valkey
async def test_several_shards_are_a_start_error_of_one_line(
    nodes: tuple[Node, Node],
) -> None:
    first, second = nodes
    give_slots(first, 0, SLOTS // 2 - 1)
    give_slots(second, SLOTS // 2, SLOTS - 1)
    meet(first, second)

    await eventually(lambda: "cluster_size:2" in cluster_info(first))
    with GateProcess(SETTINGS, GATEKEEPER_STORE__URL=first.url) as gate:
        assert await gate.wait_until_exit() == 1
        [line] = gate.errors().splitlines()
    assert "store.url: the store is a cluster of 2 shards" in line
    assert "expected the address of one server, one shard or Sentinels" in line
