"""The load time of a page with 60 assets in Chromium: direct, through the gate, through the edge.

    make bench-page
    python -m benchmarks.page_load --rounds 3        a short run, writes nothing

Rules. All routes end at the same nginx, with the same certificate for TLS, and each gate has one
worker. The routes take turns. Cold: a new browser context without cache, cookie and connection; its
first request is admitted at once and gets a pass. Again: the same page in the same context, assets
from the cache of the browser, the page itself with the pass. A time is that of Navigation Timing,
from the start of the navigation to the end of its load event.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from random import Random

import trustme
from playwright.async_api import Browser, Page, async_playwright

from benchmarks.contenders import ALL_CORES, free_port, start_nginx
from benchmarks.readme_section import conclude, table
from tests.browser.conftest import launch_options
from tests.gates import GateProcess

ROUNDS = 15
_STYLES, _SCRIPTS, _IMAGES = 10, 20, 30
_STYLE_BYTES, _SCRIPT_BYTES, _IMAGE_BYTES = 8_000, 12_000, 16_000
_DIRECT, _DIRECT_TLS = "direct", "direct, TLS"
_GATE, _GATE_TLS, _EDGE = "the gate", "the gate, its own TLS", "the edge: TLS and HTTP/2"
_TIMES = """() => {
    const [entry] = performance.getEntriesByType("navigation");
    return [entry.loadEventEnd, entry.nextHopProtocol];
}"""
_LOADED = "() => performance.getEntriesByType('navigation')[0].loadEventEnd > 0"


def write_site(root: Path) -> None:
    """Write the page and its assets; the bytes of images cannot be compressed."""
    random = Random(1)
    for number in range(_STYLES):
        rule = f".c{number} {{ color: #{random.randrange(16**6):06x}; }}\n"
        (root / f"{number}.css").write_text(rule * (_STYLE_BYTES // len(rule)))
    for number in range(_SCRIPTS):
        line = f"window.n{number} = (window.n{number} || 0) + 1;\n"
        (root / f"{number}.js").write_text(line * (_SCRIPT_BYTES // len(line)))
    for number in range(_IMAGES):
        comment = random.randbytes(_IMAGE_BYTES // 2).hex()
        image = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><!--{comment}--></svg>'
        )
        (root / f"{number}.svg").write_text(image)
    styles = "".join(f'<link rel="stylesheet" href="/{n}.css">' for n in range(_STYLES))
    scripts = "".join(f'<script src="/{n}.js"></script>' for n in range(_SCRIPTS))
    images = "".join(f'<img src="/{n}.svg" alt="">' for n in range(_IMAGES))
    html = f"<!doctype html><title>shop</title>{styles}<p>Shop</p>{images}{scripts}"
    (root / "index.html").write_text(html)


@contextmanager
def running_origin(folder: Path, pair: tuple[Path, Path]) -> Iterator[dict[str, str]]:
    """nginx with the site, over HTTP and over TLS with HTTP/1.1; its addresses."""
    root = folder / "site"
    root.mkdir()
    write_site(root)
    port, tls_port = free_port(), free_port()
    config = f"""
        daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
        events {{ worker_connections 4096; }}
        http {{
            types {{ text/html html; text/css css; text/javascript js; image/svg+xml svg; }}
            access_log off; sendfile on;
            ssl_certificate {pair[0]}; ssl_certificate_key {pair[1]};
            server {{
                listen 127.0.0.1:{port}; listen 127.0.0.1:{tls_port} ssl; root {root};
                location / {{ add_header Cache-Control "public, max-age=3600"; }}
                location = /index.html {{ add_header Cache-Control "no-store"; }}
            }}
        }}"""
    origin = start_nginx("origin", config, port, folder, core=0)
    os.sched_setaffinity(origin.process.pid, ALL_CORES)
    try:
        yield {
            _DIRECT: f"http://127.0.0.1:{port}/",
            _DIRECT_TLS: f"https://127.0.0.1:{tls_port}/",
        }
    finally:
        origin.stop()


def _toml(origin: str, *, more: str = "", listener: str = "") -> str:
    return f"""
[server]
listen = "127.0.0.1:0"
workers = 1
{listener}
[admin]
listen = "127.0.0.1:0"
[events]
url = "off"
[origin]
url = "{origin}"
{more}
[[room]]
name = "shop"
rate = "60000/min"
burst = 1000
"""


async def measured(
    browser: Browser, ways: dict[str, str], *, rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[float]], dict[str, str]]:
    """Milliseconds of each route, cold and again, and the protocol of each."""
    cold: dict[str, list[float]] = {name: [] for name in ways}
    again: dict[str, list[float]] = {name: [] for name in ways}
    protocols = {}
    for number in range(rounds + 1):
        for name, url in ways.items():
            context = await browser.new_context(ignore_https_errors=True)
            page = await context.new_page()
            first_ms, protocols[name] = await _load(page, url)
            next_ms, _ = await _load(page, url)
            await context.close()
            if number:  # the first round warms up all caches
                cold[name].append(first_ms)
                again[name].append(next_ms)
    return cold, again, protocols


async def _load(page: Page, url: str) -> tuple[float, str]:
    await page.goto(url)
    await page.wait_for_function(_LOADED)
    title = await page.title()
    if title != "shop":
        raise SystemExit(f"{url}: {title!r} instead of the shop")
    took_ms, protocol = await page.evaluate(_TIMES)
    return took_ms, protocol


def _spread(times_ms: list[float]) -> str:
    median = statistics.median(times_ms)
    return f"{median:.0f} ms ({min(times_ms):.0f} to {max(times_ms):.0f})"


async def benchmark(rounds: int) -> str:
    """The text of the section."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gk-")))
        pair = folder / "cert.pem", folder / "key.pem"
        leaf = trustme.CA().issue_cert("127.0.0.1", "localhost")
        pair[0].write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))
        leaf.private_key_pem.write_to_path(str(pair[1]))
        ways = stack.enter_context(running_origin(folder, pair))
        origin, port = ways[_DIRECT].rstrip("/"), free_port()
        tls = f'tls_cert = "{pair[0]}"\ntls_key = "{pair[1]}"'
        edge = f"""
[edge]
domains = ["localhost"]
tls_cert = "{pair[0]}"
tls_key = "{pair[1]}"
bind = "127.0.0.1"
http_port = {free_port()}
https_port = {port}
"""
        gate = stack.enter_context(GateProcess(_toml(origin)))
        own_tls = stack.enter_context(GateProcess(_toml(origin, listener=tls)))
        at_edge = stack.enter_context(
            GateProcess(
                _toml(origin, more=edge).replace('listen = "127.0.0.1:0"\nworkers', "workers")
            )
        )
        for each in (gate, own_tls, at_edge):
            await each.wait_until_serving()
        ways |= {
            _GATE: gate.url + "/",
            _GATE_TLS: own_tls.url + "/",
            _EDGE: f"https://localhost:{port}/",
        }
        playwright = await stack.enter_async_context(async_playwright())
        browser = await playwright.chromium.launch(**launch_options(whole=False))
        stack.push_async_callback(browser.close)
        cold, again, protocols = await measured(browser, ways, rounds=rounds)
    rows = [[name, protocols[name], _spread(cold[name]), _spread(again[name])] for name in ways]
    size = _STYLES * _STYLE_BYTES + _SCRIPTS * _SCRIPT_BYTES + _IMAGES * _IMAGE_BYTES
    return f"""\
### A page with 60 assets

Written by `make bench-page`: Chromium loads a page with {_STYLES} style sheets, \
{_SCRIPTS} scripts and {_IMAGES} images, {size // 1000} KB in all, {rounds} times by each way in \
turn. The times are from the start of the navigation to the end of the load event: the median, \
the lowest and the highest. Cold: a browser without cache, cookie and connection, so that with TLS \
there are handshakes. Again: the assets come from the cache of the browser, and the page is \
requested with the pass. Browser, gate and origin share two cores.

{table(["", "protocol", "cold", "again"], rows)}"""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=ROUNDS)
    chosen = options.parse_args()
    text = asyncio.run(benchmark(chosen.rounds))
    conclude("bench-page", text, [], is_whole=chosen.rounds == ROUNDS)


if __name__ == "__main__":
    main()
