"""Caches in front of the gate: no other client gets a visitor's token, and public responses are
cached.

Rules: nginx with `proxy_cache` and HAProxy with its cache, with default settings. The origin allows
caching of everything, in every way that these caches support. A stranger is a client without a
token.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import cast

import pytest

from gatekeeper.policy.tokens import Pass
from tests.builders import sign_token
from tests.gates import Gate, GateStarter, Response, Visitor
from tests.integration.proxy.cache_servers import CacheKind, running_cache

PUBLIC = {
    "Cache-Control": "public, max-age=600, s-maxage=600",
    "CDN-Cache-Control": "max-age=600",
    "Surrogate-Control": "max-age=600",
    "X-Accel-Expires": "600",
    "Expires": "Fri, 28 Nov 2036 12:00:00 GMT",
}
SENT_BY = pytest.mark.parametrize("by_header", [True, False], ids=["header", "cookie"])


@pytest.fixture(params=["nginx", "haproxy"])
def kind(request: pytest.FixtureRequest) -> CacheKind:
    return cast(CacheKind, request.param)


@dataclass
class Site:
    """A gate behind a cache, in front of an origin whose responses are public."""

    gate: Gate
    url: str

    async def get(
        self, path: str = "/", *, pass_: Pass | None = None, by_header: bool = False
    ) -> Response:
        """One request by a new client, with this pass or as a stranger."""
        headers = {"X-Queue-Token": ""} if by_header else {}
        if pass_ is not None:
            raw = sign_token(pass_)
            headers = (
                {"X-Queue-Token": raw}
                if by_header
                else {"Cookie": f"{self.gate.cookie_name}={raw}"}
            )
        async with Visitor(self.url) as visitor:
            return await visitor.request("GET", path, headers=headers)

    def token(self, response: Response) -> str:
        """The token in a response, in a cookie or a field."""
        cookie = response.headers.get("Set-Cookie", "").partition(";")[0]
        return response.headers.get("X-Queue-Token", "") + cookie

    @property
    def seen(self) -> int:
        return len(self.gate.origin.requests)


@pytest.fixture
async def site(kind: CacheKind, start_gate: GateStarter) -> AsyncIterator[Site]:
    gate = await start_gate(rate="0")
    gate.origin.headers = PUBLIC
    with running_cache(kind, gate.url) as url:
        yield Site(gate, url)


@pytest.fixture
async def open_site(kind: CacheKind, start_gate: GateStarter) -> AsyncIterator[Site]:
    """A site that admits newcomers at once."""
    gate = await start_gate()
    gate.origin.headers = PUBLIC
    with running_cache(kind, gate.url) as url:
        yield Site(gate, url)


async def test_public_response_is_cached(site: Site) -> None:
    held = site.gate.issue_pass()
    first = await site.get("/logo.png", pass_=held)
    again = await site.get("/logo.png", pass_=site.gate.issue_pass())
    assert (first.status, again.status) == (200, 200)
    assert site.seen == 1  # else the tests below could not fail
    assert again.body == first.body
    assert site.token(first) == site.token(again) == ""


@SENT_BY
async def test_renewal_that_is_due_leaves_a_public_response_cacheable(
    site: Site, by_header: bool
) -> None:
    held = site.gate.issue_pass(ago_s=100)
    for _ in range(2):
        response = await site.get("/logo.png", pass_=held, by_header=by_header)
        assert (response.status, site.token(response)) == (200, "")
    assert site.seen == 1


@SENT_BY
@pytest.mark.parametrize(
    ("ago_s", "confirmed"), [(1000, True), (5, False)], ids=["late", "unconfirmed"]
)
async def test_stranger_does_not_get_a_renewed_token(
    site: Site, by_header: bool, ago_s: float, confirmed: bool
) -> None:
    held = site.gate.issue_pass(ago_s=ago_s, confirmed=confirmed)
    renewed = await site.get("/page", pass_=held, by_header=by_header)
    assert renewed.status == 200
    assert site.token(renewed)
    for stranger_by_header in (True, False):
        stranger = await site.get("/page", by_header=stranger_by_header)
        assert stranger.status == 503
        assert site.token(stranger) != site.token(renewed)
    assert site.seen == 1


@SENT_BY
async def test_stranger_does_not_get_a_newcomers_token(open_site: Site, by_header: bool) -> None:
    first = await open_site.get("/page", by_header=by_header)
    second = await open_site.get("/page", by_header=by_header)
    assert (first.status, second.status) == (200, 200)
    assert open_site.token(first)
    assert open_site.token(second)
    assert open_site.token(first) != open_site.token(second)
    assert open_site.seen == 2


@SENT_BY
async def test_end_of_a_session_is_not_cached(site: Site, by_header: bool) -> None:
    site.gate.origin.headers = PUBLIC | {"Gatekeeper-Command": "revoke"}
    for count in (1, 2):
        held = site.gate.issue_pass()
        response = await site.get("/bye", pass_=held, by_header=by_header)
        assert response.status == 200
        assert site.seen == count
        denied = await site.get("/other", pass_=held, by_header=by_header)
        assert denied.status == 503


async def test_waiting_page_is_not_cached(site: Site) -> None:
    positions = []
    for _ in range(2):
        response = await site.get("/page")
        assert response.status == 503
        positions.append((site.token(response), response.json["arrived_at"]))
    assert positions[0] != positions[1]
    assert (await site.get("/page", pass_=site.gate.issue_pass())).status == 200


async def test_waiting_page_with_status_200_is_not_cached_either(start_gate: GateStarter) -> None:
    """Also if the cache has its own lifetime for responses without one."""
    gate = await start_gate(rate="0", status=200)
    with running_cache("nginx", gate.url, more="proxy_cache_valid any 10m;") as url:
        site = Site(gate, url)
        first, second = await site.get("/page"), await site.get("/page")
        assert (first.status, second.status) == (200, 200)
        assert site.token(first) != site.token(second)
        admitted = await site.get("/page", pass_=gate.issue_pass())
        assert admitted.json["path"] == "/page"
        assert (await site.get("/other", pass_=gate.issue_pass(ago_s=1000))).status == 200
        assert (await site.get("/other")).json["state"] == "waiting"


async def test_validated_response_hands_a_stranger_no_token(start_gate: GateStarter) -> None:
    """A 304 updates a cached response for all clients: here it contains one visitor's token."""
    gate = await start_gate(rate="0")
    gate.origin.headers = {"Cache-Control": "public, max-age=1", "ETag": '"1"'}
    with running_cache("nginx", gate.url, more="proxy_cache_revalidate on;") as url:
        site = Site(gate, url)
        await site.get("/page", pass_=gate.issue_pass())
        await asyncio.sleep(2.1)  # whole seconds
        late = gate.issue_pass(ago_s=1000)
        assert (await site.get("/page", pass_=late, by_header=True)).status == 200
        assert gate.origin.requests[-1].headers["If-None-Match"] == '"1"'
        for by_header in (True, False):
            stranger = await site.get("/page", by_header=by_header)
            assert stranger.status == 503 or site.token(stranger) == ""


async def test_end_of_a_newcomers_session_is_not_cached(open_site: Site) -> None:
    """There is no token to delete yet, but the response is for this visitor only."""
    open_site.gate.origin.headers = PUBLIC | {"Gatekeeper-Command": "revoke"}
    for count in (1, 2):
        assert (await open_site.get("/bye")).status == 200
        assert open_site.seen == count
