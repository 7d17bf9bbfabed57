"""The operator's listener in the test's own process, on a real store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from aiohttp import web

from gatekeeper.admin.audit import AuditLog
from gatekeeper.admin.auth import AdminAuth, Credential
from gatekeeper.admin.edge_status import EdgeStatusSource, no_edge
from gatekeeper.admin.listener import Admin
from gatekeeper.admin.monitor import Monitor
from gatekeeper.admin.report_keeper import MinuteKeeper
from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.pages.renderer import Pages
from gatekeeper.policy.planned_events import SigningKeys
from gatekeeper.proxy.client_address import Network
from gatekeeper.room.event_bus import NoEvents
from gatekeeper.room.openings import FileEvents
from gatekeeper.room.operator import Operator
from tests.builders import SECRET
from tests.gates import Visitor
from tests.patient_store import PatientStore

# One of each `POST` of the admin API; the test adds `&room=`.
CONTROLS = [
    "/admin/allow?n=1",
    "/admin/rate?rate=1/s",
    "/admin/mode?mode=hold",
    "/admin/message?text=hi",
    "/admin/revoke?visitor=AAAAAAAAAAAAAAAAAAAAAA",
    "/admin/admit?visitor=AAAAAAAAAAAAAAAAAAAAAA",
]
CHANGES = [
    *CONTROLS,
    "/admin/settings?",
    "/admin/reload?",
    "/admin/events?",
]  # all that a role "read" may not do


@cache
def _pages() -> Pages:
    return Pages(asset_prefix="/static/")


def room_of(name: str, *, max_active: int = 7, autotune: bool = False) -> RoomConfig:
    return RoomConfig(name=RoomName(name), rate=0.0, max_active=max_active, autotune=autotune)


@asynccontextmanager
async def running_admin(
    store_url: str,
    *rooms: str,
    credentials: Sequence[Credential] = (),
    monitor: Monitor | None = None,
    minutes: MinuteKeeper | None = None,
    problems: Callable[[], list[str]] = list,
    audit: AuditLog | None = None,
    max_active: int = 7,
    autotune: bool = False,
    trusted: Sequence[Network] = (),
    edge: EdgeStatusSource = no_edge,
) -> AsyncIterator[Visitor]:
    """The listener in this process and a client of it; the caller runs a `monitor` it passes."""
    store = PatientStore(store_url)
    operators = {
        RoomName(name): Operator(
            store,
            NoEvents(),
            room_of(name, max_active=max_active, autotune=autotune),
            file_events=FileEvents((), SigningKeys([SECRET])),
        )
        for name in rooms
    }

    async def ready() -> list[str]:
        return problems()

    folder = TemporaryDirectory()
    audit = audit or AuditLog(Path(folder.name))
    own_minutes = MinuteKeeper(operators, Path(folder.name))
    minutes = minutes or own_minutes
    seeing = monitor or Monitor(
        list(operators.values()), NoEvents(), own=list, on_reading=minutes.add
    )
    if monitor is None:
        await seeing.start()
    admin = Admin(
        operators,
        auth=AdminAuth(credentials, audit=audit, trusted=trusted),
        audit=audit,
        monitor=seeing,
        minutes=minutes,
        events_on=False,
        pages=_pages(),
        ready=ready,
        exposition=lambda _states, _names, _lanes, _steered: b"",
        edge=edge,
    )
    runner = web.AppRunner(admin.application(), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with Visitor(f"http://127.0.0.1:{runner.addresses[0][1]}") as operator:
        try:
            yield operator
        finally:
            await runner.cleanup()
            await seeing.close()
            await own_minutes.close()  # the folder stays until it has written
            for each in operators.values():
                await each.close()
            await store.close()
            folder.cleanup()
