"""The operator's listener over HTTP: controls, refusals and displayed values."""

import asyncio

import pytest
from yarl import URL

from gatekeeper.admin.auth import Credential
from gatekeeper.config.types import RoomName
from gatekeeper.policy.decision import LineFull
from gatekeeper.policy.tokens import new_visitor_id
from gatekeeper.room.visitor_calls import ArrivalRequest, PollRequest
from tests.admin import CHANGES, CONTROLS, running_admin
from tests.builders import room_toml
from tests.gates import Response, Visitor, running_gate
from tests.servers import StoreServer

SESAME = (Credential.of("admin", "full", secret=b"sesame"),)


async def status(
    operator: Visitor, name: str, *, headers: dict[str, str] | None = None
) -> dict[str, object]:
    response = await operator.request("GET", f"/admin/status?room={name}", headers=headers)
    assert response.status == 200
    [only] = response.json["rooms"]
    assert isinstance(only, dict)
    return only


# Controls.


async def test_allow_adds_up_and_stays_pending(store_url: str, room_name: RoomName) -> None:
    async with running_admin(store_url, room_name) as operator:
        first = await operator.request("POST", f"/admin/allow?n=10&room={room_name}")
        assert first.json == {"room": room_name, "granted": 10, "pending": 10}
        second = await operator.request("POST", f"/admin/allow?n=10&room={room_name}")
        assert second.json == {"room": room_name, "granted": 10, "pending": 20}


async def test_waiting_visitors_take_grants_at_once(store_url: str, room_name: RoomName) -> None:
    async with (
        running_gate(
            room_toml(room_name, rate="0"), store_url=store_url, origin_url="http://127.0.0.1:9"
        ) as gate,
        Visitor(gate) as first,
        Visitor(gate) as second,
        running_admin(store_url, room_name) as operator,
    ):
        assert (await first.join())["state"] == "waiting"
        assert (await second.join())["state"] == "waiting"
        response = await operator.request("POST", f"/admin/allow?n=5&room={room_name}")
        assert response.json == {"room": room_name, "granted": 5, "pending": 3}
        assert (await first.status())["state"] == "admitted"
        assert (await second.status())["state"] == "admitted"


async def test_rate_and_mode_are_set_and_shown(store_url: str, room_name: RoomName) -> None:
    async with running_admin(store_url, room_name) as operator:
        response = await operator.request("POST", f"/admin/rate?rate=8/s&room={room_name}")
        assert response.json["rooms"][0]["rate_per_minute"] == 480
        response = await operator.request("POST", f"/admin/mode?mode=hold&room={room_name}")
        assert response.json["rooms"][0]["mode"] == "hold"
        shown = await status(operator, room_name)
        assert (shown["rate_per_minute"], shown["mode"]) == (480, "hold")


async def test_ended_mode_and_message_are_set_and_removed(
    store_url: str, room_name: RoomName
) -> None:
    async with running_admin(store_url, room_name) as operator:
        response = await operator.request("POST", f"/admin/mode?mode=ended&room={room_name}")
        assert response.json["rooms"][0]["mode"] == "ended"
        response = await operator.request(
            "POST", f"/admin/message?text=Sold%20out.%20%F0%9F%8E%9F&room={room_name}"
        )
        assert response.json["rooms"][0]["message"] == "Sold out. 🎟"
        for bad in ("text=two%0Alines", f"text={'x' * 501}", "text=%00", ""):
            refused = await operator.request("POST", f"/admin/message?{bad}&room={room_name}")
            assert refused.status == 400
            assert refused.json["error"].startswith("text: ")
        shown = await status(operator, room_name)
        assert (shown["mode"], shown["message"]) == ("ended", "Sold out. 🎟")
        response = await operator.request("POST", f"/admin/message?text=&room={room_name}")
        assert response.json["rooms"][0]["message"] == ""
        response = await operator.request("POST", f"/admin/mode?mode=auto&room={room_name}")
        assert response.json["rooms"][0]["mode"] == "auto"


async def test_status_has_every_room_and_exact_fields(store_url: str, room_name: RoomName) -> None:
    side = f"{room_name}-side"
    async with running_admin(store_url, room_name, side) as operator:
        response = await operator.request("GET", "/admin/status")
        assert [each["room"] for each in response.json["rooms"]] == [room_name, side]
        for each in response.json["rooms"]:
            assert set(each) == {
                "room",
                "mode",
                "rate_per_minute",
                "message",
                "queue_length",
                "queue_limit",
                "active",
                "max_active",
                "watermark",
                "arrived_total",
                "released_total",
                "admitted_total",
                "abandoned_total",
                "phase",
                "event",
            }
            assert each["max_active"] == 7
        assert (await status(operator, side))["room"] == side


async def test_revoke_removes_the_place(store_url: str, room_name: RoomName) -> None:
    async with (
        running_gate(
            room_toml(room_name, rate="0"), store_url=store_url, origin_url="http://127.0.0.1:9"
        ) as gate,
        running_admin(store_url, room_name) as operator,
    ):
        visitor = new_visitor_id()
        queue = gate.room(room_name).queue
        place = await queue.arrive(ArrivalRequest(visitor))
        assert not isinstance(place, LineFull)
        await queue.poll(PollRequest(visitor, place.turn_us, has_pass=False))
        path = f"/admin/revoke?room={room_name}&visitor={visitor}"
        response = await operator.request("POST", path)
        assert response.json == {"room": room_name, "visitor": visitor, "held": "place"}
        assert (await operator.request("POST", path)).json["held"] == "nothing"
        assert (await status(operator, room_name))["queue_length"] == 0


@pytest.mark.parametrize(
    "target",
    [
        "allow",
        "allow?n=",
        "allow?n=0",
        "allow?n=-3",
        "allow?n=1.5",
        "allow?n=ten",
        "allow?n=1000001",
        "allow?n=" + "9" * 5000,
        "allow?n=٣",
        "rate",
        "rate?rate=",
        "rate?rate=fast",
        "rate?rate=-1/s",
        "rate?rate=nan/s",
        "rate?rate=1e9/s",
        "rate?rate=" + "9" * 400 + "/s",
        "mode",
        "mode?mode=",
        "mode?mode=AUTO",
        "mode?mode=closed",
        "revoke",
        "revoke?visitor=",
        "revoke?visitor=*",
        "revoke?visitor=" + "A" * 21,
        "revoke?visitor=" + "A" * 23,
    ],
)
async def test_invalid_value_is_named_and_changes_nothing(
    store_url: str, room_name: RoomName, target: str
) -> None:
    async with running_admin(store_url, room_name) as operator:
        before = await status(operator, room_name)
        separator = "&" if "?" in target else "?"
        response = await operator.request("POST", f"/admin/{target}{separator}room={room_name}")
        assert response.status == 400
        assert set(response.json) == {"error"}
        named = {"allow": "n", "rate": "rate", "mode": "mode", "revoke": "visitor"}
        assert response.json["error"].startswith(named[target.partition("?")[0]] + ": ")
        assert await status(operator, room_name) == before


async def test_unknown_room_error_lists_the_rooms(store_url: str, room_name: RoomName) -> None:
    async with running_admin(store_url, room_name) as operator:
        for target in CONTROLS:
            response = await operator.request("POST", f"{target}&room=nowhere")
            assert response.status == 400
            assert room_name in response.json["error"]
        assert (await operator.request("GET", "/admin/status?room=nowhere")).status == 400
        assert (
            await operator.request("POST", "/admin/allow?n=1")
        ).status == 400  # no room "default"


async def test_wrong_method_or_path_changes_nothing(store_url: str, room_name: RoomName) -> None:
    async with running_admin(store_url, room_name) as operator:
        before = await status(operator, room_name)
        for target in CONTROLS:
            response = await operator.request("GET", f"{target}&room={room_name}")
            assert response.status == 405
            assert response.headers["Allow"] == "POST"
            assert set(response.json) == {"error"}
        response = await operator.request("POST", "/admin/nothing")
        assert (response.status, set(response.json)) == (404, {"error"})
        assert await status(operator, room_name) == before


# Authorization.


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic c2VzYW1l", "sesame"],
)
async def test_without_the_token_every_path_is_refused(
    store_url: str, room_name: RoomName, authorization: str | None
) -> None:
    """401, and 429 after five wrong tokens."""
    async with running_admin(store_url, room_name, credentials=SESAME) as operator:
        before = await status(operator, room_name, headers={"Authorization": "Bearer sesame"})
        headers = {} if authorization is None else {"Authorization": authorization}
        statuses = []
        for target in CHANGES:
            response = await operator.request("POST", f"{target}&room={room_name}", headers=headers)
            statuses.append(response.status)
            if response.status == 401:
                assert response.headers["WWW-Authenticate"] == "Bearer"
            else:
                assert 0 < int(response.headers["Retry-After"]) <= 60
        for target in ("/admin/status", "/metrics"):
            statuses.append((await operator.request("GET", target, headers=headers)).status)
        wrong = 5 if headers else len(statuses)
        assert statuses == [401] * wrong + [429] * (len(statuses) - wrong)
        after = await status(operator, room_name, headers={"authorization": "bearer sesame"})
        assert after == before


async def test_token_with_invalid_utf8_is_401(store_url: str, room_name: RoomName) -> None:
    async with (
        running_admin(store_url, room_name, credentials=SESAME) as operator,
        asyncio.timeout(40),
    ):
        port = URL(operator.urls[0]).port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"GET /admin/status HTTP/1.1\r\nHost: gate.example\r\n"
            b"Authorization: Bearer \xff\xfe\r\nConnection: close\r\n\r\n"
        )
        assert (await reader.read()).startswith(b"HTTP/1.1 401 ")
        writer.close()


async def test_health_and_page_require_no_token(store_url: str, room_name: RoomName) -> None:
    async with running_admin(store_url, room_name, credentials=SESAME) as operator:
        for target in ("/healthz", "/readyz", "/"):
            assert (await operator.request("GET", target)).status == 200


FROM_ELSEWHERE = [
    {"Host": "rebound.example:8081"},
    {"Host": "localhost.example.com"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
]


@pytest.mark.parametrize("headers", FROM_ELSEWHERE, ids=str)
async def test_without_tokens_cross_site_requests_are_403(
    store_url: str, room_name: RoomName, headers: dict[str, str]
) -> None:
    async with running_admin(store_url, room_name) as operator:
        before = await status(operator, room_name)
        for target in CHANGES:
            response = await operator.request("POST", f"{target}&room={room_name}", headers=headers)
            assert response.status == 403
        assert (await operator.request("GET", "/metrics", headers=headers)).status == 403
        assert await status(operator, room_name) == before


@pytest.mark.parametrize(
    "headers", [{}, {"Host": "localhost:8081"}, {"Host": "[::1]"}, {"Host": "127.0.0.1"}], ids=str
)
async def test_without_tokens_local_program_is_accepted(
    store_url: str, room_name: RoomName, headers: dict[str, str]
) -> None:
    async with running_admin(store_url, room_name) as operator:
        await status(operator, room_name, headers=headers)


async def test_without_tokens_the_page_itself_is_accepted(
    store_url: str, room_name: RoomName
) -> None:
    async with running_admin(store_url, room_name) as operator:
        headers = {"Origin": operator.urls[0], "Sec-Fetch-Site": "same-origin"}
        response = await operator.request(
            "POST", f"/admin/allow?n=1&room={room_name}", headers=headers
        )
        assert response.status == 200


async def test_with_a_token_any_host_is_accepted(store_url: str, room_name: RoomName) -> None:
    async with running_admin(store_url, room_name, credentials=SESAME) as operator:
        headers = {"Host": "gate.example", "Authorization": "Bearer sesame"}
        await status(operator, room_name, headers=headers)


# Displayed values.


async def test_readiness_lists_the_problems(store_url: str, room_name: RoomName) -> None:
    problems: list[str] = []
    async with running_admin(store_url, room_name, problems=lambda: problems) as operator:
        response = await operator.request("GET", "/readyz")
        assert (response.status, response.json) == (200, {"status": "ready"})
        problems.append("worker 1 is down")
        response = await operator.request("GET", "/readyz")
        assert response.status == 503
        assert response.json == {"status": "not ready", "problems": ["worker 1 is down"]}
        assert (await operator.request("GET", "/healthz")).json == {"status": "ok"}


async def test_dashboard_has_a_strict_csp(store_url: str, room_name: RoomName) -> None:
    async with running_admin(store_url, room_name) as operator:
        response = await operator.request("GET", "/")
        assert response.status == 200
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        path = response.text.partition('src="/static/')[2].partition('"')[0]
        asset = await operator.request("GET", f"/static/{path}")
        assert asset.status == 200
        assert "immutable" in asset.headers["Cache-Control"]
        assert (await operator.request("GET", "/static/nothing.js")).status == 404


async def test_every_response_has_the_security_headers(store_url: str, room_name: RoomName) -> None:
    async with running_admin(store_url, room_name) as operator:
        for target in ("/", "/healthz", "/metrics", "/admin/overview", "/admin/audit", "/nothing"):
            headers = (await operator.request("GET", target)).headers
            assert headers["Server"] == "gatekeeper"  # and not a library with its version
            assert headers["Cache-Control"] == "no-store"
            assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
            assert headers["X-Frame-Options"] == "DENY"
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
            assert headers["Referrer-Policy"] == "no-referrer"
            assert "Access-Control-Allow-Origin" not in headers


async def test_unknown_expectation_is_refused_in_the_gates_words(
    store_url: str, room_name: RoomName
) -> None:
    path = f"/admin/settings?room={room_name}"
    async with running_admin(store_url, room_name) as operator:
        unknown = await operator.request("POST", path, headers={"Expect": "foo"}, data=b"{}")
        assert unknown.status == 417
        assert unknown.json == {"error": "Expect must be 100-continue"}
        known = await operator.request("POST", path, expect100=True, data=b'{"burst": 3}')
        assert known.status == 200


async def test_unreachable_store_makes_controls_503(
    private_store: StoreServer, room_name: RoomName
) -> None:
    async with running_admin(private_store.url, room_name) as operator:
        await status(operator, room_name)
        private_store.kill()
        responses: list[Response] = [
            await operator.request("GET", "/admin/status"),
            await operator.request("POST", f"/admin/allow?n=1&room={room_name}"),
        ]
        for response in responses:
            assert response.status == 503
            assert set(response.json) == {"error"}
        assert (await operator.request("GET", "/metrics")).status == 200
        assert (await operator.request("GET", "/healthz")).status == 200
