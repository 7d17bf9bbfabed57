"""The checks of forward auth that have a response: of trusted proxies, by any method, and without
the body that they announce."""

import asyncio

import pytest

from tests.gates import Gate, GateStarter
from tests.gates.http_visitor import HTML
from tests.integration.gate.test_forward_auth import CHECK, SHOP, TRUSTED, ask, cookie


async def test_other_proxies_are_refused_with_every_field(
    start_gate: GateStarter, way: dict[str, str]
) -> None:
    """Fields and tokens of an untrusted client are ignored."""
    gate = await start_gate(TRUSTED)
    held = cookie(gate, gate.issue_pass())
    claims = {
        "X-Forwarded-For": "127.0.0.1",
        "Forwarded": "for=127.0.0.1",
        "X-Real-IP": "127.0.0.1",
    }
    for path in (CHECK, f"{CHECK}?nginx", f"{CHECK}?page", f"{CHECK}/cart"):
        response = await ask(gate, way | held | claims, peer="127.0.0.2", path=path)
        assert response.status == 403, path
        assert not {"X-Gatekeeper-Visitor", "X-Gatekeeper-Room", "Set-Cookie"} & set(
            response.headers
        )
        assert "trusted_proxies" in response.json["error"]
    page = await ask(gate, way | held | HTML, peer="127.0.0.2")
    assert (page.status, "trusted_proxies" in page.text) == (403, False)


async def test_check_is_refused_without_trusted_proxies(gate: Gate) -> None:
    response = await ask(gate, cookie(gate, gate.issue_pass()))
    assert (response.status, "Set-Cookie" in response.headers) == (403, False)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "PATCH"])
async def test_check_has_any_method(start_gate: GateStarter, method: str) -> None:
    """Envoy sends the method of the original request."""
    gate = await start_gate(TRUSTED)
    held = cookie(gate, gate.issue_pass())
    response = await ask(gate, held, method=method, path=f"{CHECK}/cart")
    assert response.status == 200


async def test_announced_body_is_not_awaited(start_gate: GateStarter) -> None:
    """A proxy that forwards Content-Length without the body still receives its response."""
    gate = await start_gate(TRUSTED)
    host, port = gate.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), local_addr=("127.0.0.1", 0))
    fields = "".join(f"{name}: {value}\r\n" for name, value in SHOP.items())
    held = cookie(gate, gate.issue_pass())["Cookie"]
    writer.write(
        f"GET {CHECK} HTTP/1.1\r\nHost: gate\r\n{fields}Cookie: {held}\r\n"
        "Content-Length: 5000\r\n\r\n".encode()
    )
    async with asyncio.timeout(40):
        response = (await reader.read()).decode()  # the connection closes
    assert response.startswith("HTTP/1.1 200 ")
    writer.close()
