"""A single-page app and its API, for tests of `client.js`."""

import asyncio
from typing import Self

from aiohttp import web

# `load(kind)` requests the API as an app does, and shows the response.
_PAGE = """<!doctype html><html lang="en"><title>App</title><main><h1>App</h1>
<p id="shown"></p><p id="events"></p></main>
<script>
const api = "{api}";
const show = (text) => {{ document.getElementById("shown").textContent = text; }};
const note = (text) => {{ document.getElementById("events").textContent += text + ";"; }};
const load = (kind) => {{
  if (kind === "fetch") {{
    fetch(api, {{ credentials: "include" }}).then((r) => r.text()).then(show, () => show("failed"));
    return;
  }}
  const request = new XMLHttpRequest();
  request.open("GET", api);
  request.withCredentials = true;
  request.onload = () => show(request.responseText);
  request.send();
}};
for (const name of ["waiting", "ending"]) {{
  document.addEventListener("gatekeeper:" + name, (event) => {{
    note(name);
    if (location.search.includes("cancel")) event.preventDefault();
  }});
}}
</script>
<script src="{script}" {attributes}></script>
<script>
const kind = new URLSearchParams(location.search).get("kind");
if (kind) load(kind);
</script>"""


class AppSite:
    """Serves the app at every path except `/api/`. Counts the requests to `/api/`."""

    def __init__(
        self,
        *,
        api: str = "/api/items",
        script: str = "/.gatekeeper/client.js",
        attributes: str = "",
    ) -> None:
        self._values = {"api": api, "script": script, "attributes": attributes}
        self.calls = 0
        self.url = ""

    def point_at(self, gate: str) -> None:
        """Use the API behind a gate on another host, and the script of that gate."""
        self._values = {
            "api": gate + "/api/items",
            "script": gate + "/.gatekeeper/client.js",
            "attributes": f'data-origins="{gate}" data-for="/"',
        }

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/api/{name}", self._api)
        app.router.add_get("/{path:.*}", self._app)
        self._runner = web.AppRunner(app, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.wait_for(self._runner.cleanup(), timeout=5)

    async def _app(self, _: web.Request) -> web.Response:
        return web.Response(text=_PAGE.format(**self._values), content_type="text/html")

    async def _api(self, request: web.Request) -> web.Response:
        self.calls += 1
        status = 503 if request.match_info["name"] == "broken" else 200
        headers = {"Retry-After": "1"}
        if origin := request.headers.get("Origin"):
            headers |= {
                "Access-Control-Allow-Origin": origin,
                "Access-Control-Allow-Credentials": "true",
            }
        return web.Response(text="three items", status=status, headers=headers)
