"""Load in which all heads differ, those of the requests and those of the responses.

Rules. As between visitors and a dynamic site: each request has a different target, referrer and
value of one cookie. Each visitor sends 20 requests, with a pass that no other round uses. All
visitors have one address. Each response has a different length, cookie, entity tag and request id.
Everything else is as in the other cases.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import load_generators
from contenders import SIZES, RunningProcess

_REQUESTS = 20  # per visitor
_MAX_VISITORS = 5000  # in a round of two seconds


def write_passes(folder: Path, make: Callable[[], str], *, rounds: int) -> Path:
    """Write a file with the passes for `rounds` rounds; `make` returns the cookie of one."""
    path = folder / "passes"
    path.write_text("".join(f"{make()}\n" for _ in range(rounds * _MAX_VISITORS)))
    return path


def wrk(
    proxy: RunningProcess,
    passes: Path,
    *,
    number: int,
    fields: Sequence[str],
    cookies: str,
    seconds: int,
) -> load_generators.Cost:
    """Saturate `proxy`, in round `number`. Each request has `fields`, constant `cookies`, and one
    of these passes."""
    host = proxy.url.removeprefix("http://")
    fixed = "".join(f"{field}\\r\\n" for field in (f"Host: {host}", *fields)).replace('"', '\\"')
    script = passes.with_name("differing-heads.lua")
    script.write_text(f"""
local passes = {{}}
for pass in io.lines("{passes}") do passes[#passes + 1] = pass end
local n = 0
function request()
    local visitor = ({number} * {_MAX_VISITORS} + math.floor(n / {_REQUESTS})) % #passes
    n = n + 1
    return "GET /item/" .. n % {SIZES} .. "/" .. n .. "?from=list&place=" .. n .. " HTTP/1.1\\r\\n"
        .. "{fixed}Referer: http://{host}/list?page=" .. n .. "\\r\\n"
        .. "Cookie: {cookies}; _ga_6QWZ=GS2.1.s1700000000$o" .. n .. "$g1$t1700000042$j42$l0$h0; "
        .. passes[visitor + 1] .. "\\r\\n\\r\\n"
end
""")
    return load_generators.wrk(
        proxy, "/", headers=[], connections=64, seconds=seconds, script=script
    )
