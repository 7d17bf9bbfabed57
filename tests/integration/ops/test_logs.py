"""The log: JSON lines on standard error, without tokens, cookies, secrets or query strings."""

import asyncio
import socket
import struct

from tests.gates import GateProcess, Origin, Visitor
from tests.integration.ops.process_settings import settings
from tests.servers import eventually

SECRET = "a secret of the tests, longer than 32 bytes"


async def test_log_has_no_token_cookie_secret_or_query() -> None:
    more = f"""
[admission]
rate = "1/h"
burst = 1
[tokens]
secrets = ["{SECRET}"]
"""
    toml = settings(more=more).replace(
        "[admin]\n", '[admin]\ntoken = "open-sesame-open-sesame-open-sesame"\n'
    )
    async with Origin.running() as origin:
        with GateProcess(toml.replace("http://127.0.0.1:9", origin.url)) as gate:
            await gate.wait_until_serving()
            bearer = {"Authorization": "Bearer open-sesame"}
            async with (
                Visitor(gate.url) as inside,
                Visitor(gate.url) as waiting,
                Visitor(gate.admin_url) as operator,
            ):
                await inside.enter("/?card=4711")
                assert (await waiting.get("/?card=4711"))[0] == 503
                token = (await inside.request("POST", "/.gatekeeper/enqueue")).json["token"]
                tokens = [*inside.cookies().values(), *waiting.cookies().values(), token]
                await waiting.request("GET", headers={"X-Queue-Token": token + "x"})
                for target in ("allow?n=3", "rate?rate=1/s", "mode?mode=hold", "mode?mode=x"):
                    await operator.request("POST", f"/admin/{target}", headers=bearer)
                await origin.stop()
                assert (await inside.get("/?card=4711"))[0] == 502
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", int(gate.url.rpartition(":")[2])
                )
                writer.write(f"GET / HTTP/1.1\r\nCookie: gatekeeper={token}\r\n\r\n".encode())
                assert b" 400 " in await reader.readline()
                writer.close()
            await eventually(lambda: "origin_failed" in gate.errors())
            assert await gate.stop() == 0
            log = gate.errors()
            events = {line["event"] for line in gate.logs()}
            assert {"audit", "origin_failed", "shutting_down"} <= events
            assert all({"level", "process", "timestamp"} <= line.keys() for line in gate.logs())
            assert len(tokens) >= 3
            for secret in (*tokens, SECRET, "open-sesame", "4711", "nats://"):
                assert secret not in log
                # Nor the payload of a token, since it contains the visitor id.
                assert secret.partition(".")[2] == "" or secret.split(".")[1] not in log


async def test_start_and_aborted_clients_log_nothing() -> None:
    async with Origin.running() as origin:
        with GateProcess(settings(origin.url)) as gate:
            await gate.wait_until_serving()
            port = int(gate.url.rpartition(":")[2])
            async with Visitor(gate.url) as visitor:
                await visitor.enter()
                assert (await visitor.get())[0] == 200
                [(name, value)] = visitor.cookies().items()
                cookie = f"Cookie: {name}={value}\r\n"
                upgrade = (
                    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
                )
                half = "Content-Length: 9\r\n\r\nhalf"
                for head, arrives in (
                    ("", 0),
                    ("GET", 0),
                    ("\x16\x03\x01\x02\x00\x01", 0),  # TLS where there is none
                    (f"GET /slow HTTP/1.1\r\nHost: a\r\n{cookie}\r\n", 1),
                    ("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n", 1),
                    (f"POST /slow HTTP/1.1\r\nHost: a\r\n{cookie}{half}", 1),
                    (f"GET /ws HTTP/1.1\r\nHost: a\r\n{cookie}{upgrade}\r\n", 1),
                    (f"POST /.gatekeeper/leave HTTP/1.1\r\nHost: a\r\n{half}", 0),
                ):
                    expected = len(origin.requests) + arrives
                    with socket.create_connection(("127.0.0.1", port)) as client:
                        client.sendall(head.encode("latin-1"))
                        await eventually(lambda count=expected: len(origin.requests) == count)  # type: ignore[misc]
                        client.setsockopt(
                            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                        )
                origin.go.set()
                assert (await visitor.get())[0] == 200
            assert await gate.stop() == 0
            assert {line["event"] for line in gate.logs()} == {"shutting_down"}
