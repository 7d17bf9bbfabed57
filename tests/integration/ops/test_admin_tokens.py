"""Tokens with a name and a role, and their actions in the audit log."""

import json
from collections.abc import AsyncIterator
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest_asyncio
from multidict import CIMultiDict
from structlog.testing import capture_logs

from gatekeeper.admin.actions import AdminActions
from gatekeeper.admin.audit import AuditLog
from gatekeeper.admin.auth import AdminAuth, Credential
from gatekeeper.admin.configuration import ConfigurationActions
from gatekeeper.admin.event_actions import EventActions
from gatekeeper.admin.recorder import Recorder
from gatekeeper.admin.rooms import Rooms
from gatekeeper.admin.support_actions import SupportActions
from gatekeeper.config.load import load_config
from gatekeeper.config.schema import Config
from gatekeeper.config.types import RoomName
from gatekeeper.policy.tokens import new_visitor_id
from gatekeeper.process.control_plane import credentials
from tests.admin import CHANGES, running_admin
from tests.gates import Visitor, quick_command
from tests.integration.ops.process_settings import settings
from tests.servers import StoreServer

MARIA = {"Authorization": "Bearer the secret of maria"}
OTTO = {"Authorization": "Bearer the secret of otto"}
CREDENTIALS = (
    Credential.of("maria", "full", secret=b"the secret of maria"),
    Credential.of("otto", "read", secret=b"the secret of otto"),
)


@pytest_asyncio.fixture
async def operator(store_url: str, room_name: RoomName) -> AsyncIterator[Visitor]:
    async with running_admin(store_url, room_name, credentials=CREDENTIALS) as operator:
        yield operator


async def entries(operator: Visitor, query: str = "") -> list[dict[str, Any]]:
    response = await operator.request("GET", f"/admin/audit{query}", headers=OTTO)
    assert response.status == 200
    shown: list[dict[str, Any]] = response.json["entries"]
    return shown


async def test_read_role_sees_all_and_changes_nothing(
    operator: Visitor, room_name: RoomName
) -> None:
    before = (await operator.request("GET", "/admin/status", headers=OTTO)).json
    for target in CHANGES:
        for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"):
            response = await operator.request(method, f"{target}&room={room_name}", headers=OTTO)
            assert response.status == 403
            assert response.json == {"error": "the token 'otto' has role read; expected role full"}
    for target in ("/admin/status", "/admin/audit", "/metrics"):
        assert (await operator.request("GET", target, headers=OTTO)).status == 200
    assert (await operator.request("GET", "/admin/status", headers=OTTO)).json == before


async def test_several_tokens_in_one_request_are_refused(operator: Visitor) -> None:
    """A proxy in front may have checked another one of them."""
    maria, otto = (each["Authorization"] for each in (MARIA, OTTO))
    for values in ((maria, otto), (otto, maria), (maria, maria), (f"{maria}, {otto}",)):
        fields = CIMultiDict(("Authorization", value) for value in values)
        assert (await operator.request("GET", "/admin/status", headers=fields)).status == 401


def test_list_of_controls_is_complete(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path)
    recorder = Recorder(audit, AdminAuth((), audit=audit))

    async def reload() -> Config:
        raise AssertionError

    routes = [
        *AdminActions(Rooms({}), recorder=recorder).routes(),
        *ConfigurationActions(Rooms({}), recorder=recorder, reload=reload).routes(),
        *EventActions(Rooms({}), recorder=recorder).routes(),
        *SupportActions(Rooms({}), recorder=recorder).routes(),
    ]
    assert {route.path for route in routes if route.method == "POST"} == {
        target.partition("?")[0] for target in CHANGES
    }


async def test_audit_address_is_from_trusted_proxies_only(
    store_url: str, room_name: RoomName
) -> None:
    headers = MARIA | {"X-Forwarded-For": "198.51.100.1, 203.0.113.9"}
    for trusted, address in (
        ([], "127.0.0.1"),
        ([ip_network("127.0.0.0/8")], "203.0.113.9"),
        ([ip_network("127.0.0.0/8"), ip_network("203.0.113.0/24")], "198.51.100.1"),
    ):
        async with running_admin(
            store_url, room_name, credentials=CREDENTIALS, trusted=trusted
        ) as operator:
            await operator.request(
                "POST", f"/admin/mode?mode=hold&room={room_name}", headers=headers
            )
            [entry] = await entries(operator)
            assert entry["address"] == address


async def test_each_change_is_in_the_audit_log(operator: Visitor, room_name: RoomName) -> None:
    visitor = new_visitor_id()
    for target in (
        "mode?mode=hold",
        "mode?mode=ended",
        "rate?rate=2/s",
        "allow?n=3",
        "message?text=Soon",
        "message?text=",
        f"revoke?visitor={visitor}",
    ):
        path = f"/admin/{target}&room={room_name}"
        response = await operator.request("POST", path, headers=MARIA)
        assert response.status == 200
    shown = await entries(operator)
    assert [(e["what"], e.get("from"), e.get("to")) for e in reversed(shown)] == [
        ("mode", "auto", "hold"),
        ("mode", "hold", "ended"),
        ("rate", 0, 120),
        ("allow", None, 3),
        ("message", "", "Soon"),
        ("message", "Soon", ""),
        ("revoke", "nothing", "nothing"),
    ]
    assert shown[0]["visitor"] == visitor
    for entry in shown:
        assert (entry["who"], entry["room"]) == ("maria", room_name)
        assert (entry["address"], entry["outcome"]) == ("127.0.0.1", "done")
    assert await entries(operator, f"?room={room_name}&limit=1") == shown[:1]


async def test_refused_attempt_is_audited_invalid_value_is_not(
    operator: Visitor, room_name: RoomName
) -> None:
    guess = {"Authorization": "Bearer open sesame"}
    await operator.request("POST", f"/admin/mode?mode=open&room={room_name}", headers=guess)
    await operator.request("GET", "/admin/status", headers=guess)
    await operator.request("POST", f"/admin/mode?mode=open&room={room_name}", headers=OTTO)
    await operator.request("POST", f"/admin/mode?mode=OPEN&room={room_name}", headers=MARIA)
    await operator.request("GET", "/admin/status")  # the page before the sign-in
    assert [(e["who"], e["what"], e["outcome"], e["note"]) for e in await entries(operator)] == [
        ("otto", "mode", "refused", "the token has role read"),
        ("anonymous", "status", "refused", "unknown token"),
        ("anonymous", "mode", "refused", "unknown token"),
    ]


async def test_audit_limit_out_of_range_is_400(operator: Visitor) -> None:
    for limit in ("0", "501", "-1", "x", "", "9" * 5000, "٣"):
        response = await operator.request("GET", f"/admin/audit?limit={limit}", headers=OTTO)
        assert response.status == 400
        assert response.json["error"].startswith("limit: ")


async def test_change_without_the_store_is_audited_as_failed(
    private_store: StoreServer, room_name: RoomName
) -> None:
    async with running_admin(private_store.url, room_name, credentials=CREDENTIALS) as operator:
        private_store.kill()
        response = await operator.request(
            "POST", f"/admin/mode?mode=hold&room={room_name}", headers=MARIA
        )
        assert response.status == 503
        [entry] = await entries(operator)
        assert (entry["what"], entry["to"], entry["outcome"]) == ("mode", "hold", "failed")
        assert "did not respond" in entry["note"]


TOKENS = """
[[admin.tokens]]
name = "otto"
secret = "the secret of otto, who may only read"

[[admin.tokens]]
name = "maria"
role = "full"
secret_file = "{folder}/maria"
"""


async def test_commands_are_audited_under_the_token_name(
    private_store: StoreServer, tmp_path: Path
) -> None:
    """The names, roles and secrets of the file, for the listener and for the commands."""
    (tmp_path / "maria").write_text("the secret of maria, who may do everything\n")
    tokens = TOKENS.format(folder=tmp_path)
    toml = settings().replace("[admin]\n", tokens + "\n[admin]\n")
    (tmp_path / "gatekeeper.toml").write_text(toml)
    config = load_config(tmp_path / "gatekeeper.toml", environ={})
    with capture_logs() as logs:
        async with running_admin(
            private_store.url,
            "default",
            credentials=credentials(config),
            audit=AuditLog(tmp_path),
        ) as admin:
            listen = {"GATEKEEPER_ADMIN__LISTEN": admin.urls[0].removeprefix("http://")}
            command = partial(quick_command, folder=tmp_path, environment=listen)
            assert (await command("mode", "hold")).returncode == 0
            gone = await command("revoke", new_visitor_id())
            assert gone.stdout.endswith(" had no slot and no place\n")
            shown = await command("audit")
            first, second = shown.stdout.splitlines()
            assert " maria at 127.0.0.1: mode default from 'auto' to 'hold'" in first
            assert " maria at 127.0.0.1: revoke default" in second
            output = await command("audit", "--json", "--limit", "1")
            assert json.loads(output.stdout)["what"] == "revoke"
            kept = (tmp_path / "audit.jsonl").read_text().splitlines()
            assert [json.loads(line)["what"] for line in kept] == ["mode", "revoke"]
            listen["GATEKEEPER_ADMIN__TOKEN"] = "the secret of otto, who may only read"
            refused = await command("mode", "auto")
            assert refused.stderr == (
                "gatekeeper: the gate refused: the token 'otto' has role read; expected role full\n"
            )
    audited = [line["what"] for line in logs if line["event"] == "audit"]
    assert audited == ["mode", "revoke", "mode"]
