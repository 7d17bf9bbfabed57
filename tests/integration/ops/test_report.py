"""`gatekeeper report` and `GET /admin/report`: authorization, refusals, stored data."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gatekeeper.admin.auth import Credential
from gatekeeper.admin.report_tables import COLUMNS
from gatekeeper.config.types import RoomName
from tests.admin import running_admin
from tests.gates import GateProcess, Origin, Visitor, quick_command
from tests.integration.ops.process_settings import settings
from tests.servers import eventually

MARIA = {"Authorization": "Bearer the secret of maria"}
OTTO = {"Authorization": "Bearer the secret of otto"}
CREDENTIALS = (
    Credential.of("maria", "full", secret=b"the secret of maria"),
    Credential.of("otto", "read", secret=b"the secret of otto"),
)
EVENT = """
[[room]]
name = "default"
rate = "600/min"
burst = 5
[[event]]
name = "sale"
prequeue = 2026-01-01T09:00:00+01:00
start = 2026-01-01T10:00:00+01:00
end = 2090-01-01T10:00:00+01:00
[[event]]
name = "next"
prequeue = 2091-01-01T10:00:00+01:00
start = 2091-01-01T10:30:00+01:00
"""


@pytest_asyncio.fixture
async def operator(store_url: str, room_name: RoomName) -> AsyncIterator[Visitor]:
    async with running_admin(store_url, room_name, credentials=CREDENTIALS) as operator:
        yield operator


async def test_report_requires_a_token_and_the_role_read(
    operator: Visitor, room_name: RoomName
) -> None:
    path = f"/admin/report?room={room_name}"
    assert (await operator.request("GET", path)).status == 401
    wrong = {"Authorization": "Bearer another secret"}
    assert (await operator.request("GET", path, headers=wrong)).status == 401
    for headers in (OTTO, MARIA):
        response = await operator.request("GET", path, headers=headers)
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/html; charset=utf-8"
        assert response.headers["Cache-Control"] == "no-store"
        policy = response.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
    for method in ("POST", "PUT", "DELETE"):
        assert (await operator.request(method, path, headers=MARIA)).status == 405
        assert (await operator.request(method, path, headers=OTTO)).status == 403


async def test_report_has_three_formats(operator: Visitor, room_name: RoomName) -> None:
    end = datetime.now(UTC).replace(second=0, microsecond=0)
    since, until = (f"{at:%Y-%m-%dT%H:%M:%SZ}" for at in (end - timedelta(minutes=10), end))
    path = f"/admin/report?room={room_name}&since={since}&until={until}&format="
    table = await operator.request("GET", path + "csv", headers=OTTO)
    assert table.headers["Content-Type"] == "text/csv; charset=utf-8"
    lines = table.body.decode().splitlines()
    assert lines[0] == ",".join(["at", *COLUMNS])
    assert len(lines) == 11
    body = (await operator.request("GET", path + "json", headers=OTTO)).json
    assert body["room"] == room_name
    assert len(body["minutes"]) == 10
    html = await operator.request("GET", path + "html", headers=OTTO)
    assert html.body.startswith(b"<!doctype html>")


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("format=pdf", 'format: "pdf" is unknown; expected html, json or csv'),
        ("format=", 'format: "" is unknown'),
        ("format=HTML", 'format: "HTML" is unknown'),
        ("since=soon", 'since: "soon" is not a time; expected'),
        ("until=2026-12-01", "until: "),
        ("since=1h&until=2h", "since: not before the end of the period"),
        ("since=1h&since=2h", "since: given twice in the query"),
        ("event=autumn", 'event: "autumn" is unknown; there are no events'),
        ("event=", 'event: "" is unknown'),
        ("rooms=x", '"rooms": unknown parameter; expected one of room, event, since, until'),
        ("since=99d&until=98d", "until: figures are kept for 7 days; expected a later time"),
    ],
)
async def test_invalid_query_is_refused(
    operator: Visitor, room_name: RoomName, query: str, problem: str
) -> None:
    path = f"/admin/report?room={room_name}&{query}"
    response = await operator.request("GET", path, headers=OTTO)
    assert response.status == 400
    assert response.json["error"].startswith(problem)


async def test_unknown_room_is_refused(operator: Visitor, room_name: RoomName) -> None:
    for room in ("other", "", "../" + room_name, room_name.upper()):
        response = await operator.request("GET", f"/admin/report?room={room}", headers=OTTO)
        assert response.status == 400
        assert f"is unknown; expected one of {room_name}" in response.json["error"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--out", "report.pdf"], '"report.pdf" has no known suffix; expected a name that ends'),
        (["--out", "report"], '"report" has no known suffix'),
        (["--out", "report.html.gz"], "has no known suffix"),
        ([], "Missing option '--out'"),
        (["--out", "r.csv", "--since", "noon"], '"noon" is not a time; expected'),
        (["--out", "r.csv", "--until", "2026-12-01T10:00:00"], "is not a time; expected"),
        (["--out", "r.csv", "more"], "unexpected extra argument"),
    ],
)
async def test_bad_arguments_end_with_2_without_a_gate(
    tmp_path: Path, arguments: list[str], problem: str
) -> None:
    (tmp_path / "gatekeeper.toml").write_text(settings())
    done = await quick_command("report", *arguments, folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert problem in done.stderr
    assert done.stderr.count("\n") == 1


async def test_report_outlives_a_restart() -> None:
    """Visitors of two gates in succession, and the operator's actions, in all formats."""
    async with Origin.running() as origin:
        toml = settings(origin.url, more=EVENT)
        with GateProcess(toml) as first:
            await first.wait_until_serving()
            for _ in range(3):
                async with Visitor(first.url) as visitor:
                    await visitor.get("/")
            set_ = await first.command("set", "title=<b>Sale</b>")
            assert set_.returncode == 0, set_.stderr
            await until_sale_is_known(first)
            await report_with(first, arrived=3)
            assert await first.stop() == 0
            minutes = sorted((first.state / "minutes").iterdir())
            with minutes[-1].open("ab") as file:
                file.write(b'{"at":17')  # as after a power failure
            with GateProcess(toml, state=first.state) as second:
                await second.wait_until_serving()
                async with Visitor(second.url) as visitor:
                    await visitor.get("/")
                await until_sale_is_known(second)
                body = await report_with(second, arrived=4)
                assert body["event"] == "sale"
                assert body["room"] == "default"
                assert [each["name"] for each in body["events"]] == ["sale"]
                [draw] = body["draws"]
                assert (draw["state"], draw["participants"]) == ("drawn", 0)
                assert len(draw["secret"]) == len(draw["commitment"]) == 64
                [change] = [each for each in body["operators"] if each["what"] == "set title"]
                assert change["to"] == "<b>Sale</b>"
                await refused(second)
                html = await written(second, "report.html")
                assert b"&lt;b&gt;Sale&lt;/b&gt;" in html
                assert b"<b>Sale</b>" not in html
                assert (await written(second, "report.csv")).startswith(b"at,phase,arrived")


async def until_sale_is_known(gate: GateProcess) -> None:
    """The room has the event of the file after a worker has joined."""

    async def is_known() -> bool:
        return "sale" in (await gate.command("event", "list")).stdout

    await eventually(is_known)


async def report_with(gate: GateProcess, *, arrived: int) -> dict[str, Any]:
    """The JSON of the report with `arrivals` arrivals: gates are read each second."""
    async with asyncio.timeout(40):
        while True:
            body: dict[str, Any] = json.loads(await written(gate, "report.json"))
            if body["visitors"]["arrived"] >= arrived:
                assert body["visitors"]["arrived"] == body["visitors"]["admitted"] == arrived
                return body
            await asyncio.sleep(0.2)


async def written(gate: GateProcess, name: str) -> bytes:
    path = gate.folder / name
    done = await gate.command("report", "--event", "sale", "--since", "1h", "--out", str(path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{path}: ")
    return path.read_bytes()


async def refused(gate: GateProcess) -> None:
    """An error that only the gate can detect also has exit status 2 and one line."""
    for arguments, problem in (
        (["--room", "other"], 'room: "other" is unknown; expected one of default'),
        (["--event", "other"], 'event: "other" is unknown; expected one of next, sale'),
        (["--event", "next"], "event: next begins at 2091-01-01T09:00:00Z; expected an event"),
        (["--since", "1h", "--until", "2h"], "since: not before the end of the period"),
    ):
        done = await gate.command("report", *arguments, "--out", "x.csv")
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert problem in done.stderr
    nowhere = await gate.command("report", "--out", str(gate.folder / "no" / "r.csv"))
    assert (nowhere.returncode, nowhere.stderr.count("\n")) == (1, 1)
    assert "No such file or directory; expected a writable file" in nowhere.stderr
