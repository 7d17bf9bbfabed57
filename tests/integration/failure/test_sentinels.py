"""Sentinels: the server that they name, and the gate's login to both."""

from contextlib import suppress

import pytest

from gatekeeper.errors import StoreError
from gatekeeper.room.store import RedisStore, StoreRefusal
from tests.ports import free_port
from tests.servers import eventually
from tests.store_group import PRIMARY_NAME, PortServer, SentinelServer, sentinel_url

pytestmark = pytest.mark.valkey


def users_of_gate(server: PortServer) -> list[str]:
    """The user of each connection of a gate."""
    with server.client() as client:
        return [each["user"] for each in client.client_list() if each["name"] == "gatekeeper"]


async def test_sentinel_that_names_a_dead_server_is_asked_last() -> None:
    with (
        PortServer() as primary,
        SentinelServer(free_port(), lost_after_ms=600_000) as behind,
        SentinelServer(primary.port) as informed,
    ):
        store = RedisStore(sentinel_url(behind, informed), timeout_s=5)
        with pytest.raises(StoreError):
            await store.ping()
        await store.ping()
        await store.close()


async def test_server_that_sentinels_no_longer_name_is_left() -> None:
    """A demoted primary accepts writes for seconds."""
    with (
        PortServer() as before,
        PortServer() as after,
        SentinelServer(before.port) as sentinel,
    ):
        store = RedisStore(sentinel_url(sentinel), timeout_s=5)
        await store.ping()
        assert users_of_gate(before) == ["default"]
        with sentinel.client() as client:
            client.execute_command("SENTINEL", "REMOVE", PRIMARY_NAME)
            client.execute_command("SENTINEL", "MONITOR", PRIMARY_NAME, "127.0.0.1", after.port, 1)

        async def is_there() -> bool:
            with suppress(StoreError):
                await store.ping()
            return bool(users_of_gate(after)) and not users_of_gate(before)

        await eventually(is_there)
        assert before.role() == after.role() == "master"
        await store.close()


async def test_sentinels_and_servers_have_passwords_of_their_own() -> None:
    with PortServer() as primary, SentinelServer(primary.port) as sentinel:
        with primary.client() as client:
            client.execute_command("ACL", "SETUSER", "gate", "on", ">of a server", "~gk:*", "+@all")
        with sentinel.client() as client:
            client.execute_command("ACL", "SETUSER", "default", "resetpass", ">of a Sentinel")
        url = f"redis+sentinel://gate:of%20a%20server@127.0.0.1:{sentinel.port}/{PRIMARY_NAME}"
        store = RedisStore(f"{url}?sentinel_password=of%20a%20Sentinel", timeout_s=5)
        await store.ping()
        assert users_of_gate(primary) == ["gate"]
        await store.close()
        for query, words in (
            ("", "Authentication required."),
            ("?sentinel_password=of%20a%20server", "invalid username-password pair"),
        ):
            store = RedisStore(f"{url}{query}", timeout_s=5)
            with pytest.raises(
                StoreRefusal, match=f"^the store refuses: a Sentinel: {words}"
            ) as no:
                await store.ping()
            assert len(no.value.public) < 200, "no objects of redis-py"
            await store.close()


async def test_cause_is_named_when_no_primary_is_found() -> None:
    with SentinelServer(free_port(), lost_after_ms=100) as sentinel:
        url = sentinel_url(sentinel)
        causes = {
            url: "no Sentinel reports a running primary",
            f"{url}s": f"no Sentinel knows a primary named '{PRIMARY_NAME}s'",
            url.replace(str(sentinel.port), str(free_port())): "no Sentinel responds",
        }
        for each, cause in causes.items():
            store = RedisStore(each, timeout_s=5)

            async def is_named(store: RedisStore = store, cause: str = cause) -> bool:
                with pytest.raises(StoreError) as lost:
                    await store.ping()
                return str(lost.value.__cause__) == cause

            await eventually(is_named)
            await store.close()
