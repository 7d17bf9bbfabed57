"""The cost of proof of work for a phone and for bots: `make bench-challenge`.

Rules. The solver is that of the waiting page in Chromium. It runs on the page's thread, slowed down
by the developer tools, since their throttling does not apply to workers; and once in a worker, as
on the page. Each figure is the best of several slices, since other work on the machine only slows
them down. Bots are measured by a loop of Python, by one of C and by `openssl speed`, on one core.
"""

from __future__ import annotations

import asyncio
import ctypes
import hashlib
import re
import subprocess
import tempfile
import time
from itertools import count
from pathlib import Path

from playwright.async_api import CDPSession, Page, async_playwright

from benchmarks.readme_section import table, write_section
from gatekeeper.pages.assets import built_in
from gatekeeper.policy.proof_of_work import PHONE_HASHES_PER_S
from tests.browser.conftest import launch_options

THROTTLING = (
    1,
    4,
    6,
)  # times slower than this machine; Lighthouse uses 4 and 6 for phones
SALT = "0" * 24 + "?expires=1764365000&"
NEVER = "0" * 64
_SOLVER = Path(built_in("static"), "solver.js").read_text("utf-8")
_SLICE = 50_000  # numbers; much shorter slices are not throttled
_SLICES = 25
_DIFFICULTY = 50_000
_NATIVE_S = 2.0

_MEASURE = """async ([salt, challenge, slice, slices]) => {
    let best = 0;
    for (let at = 0; at < slices; at += 1) {
        const first = 10000 + at * slice, began = performance.now();
        solve({ salt, challenge, first, most: first + slice - 1 }, () => {});
        best = Math.max(best, slice / (performance.now() - began) * 1000);
        await new Promise((done) => setTimeout(done, 5));
    }
    return best;
}"""
_IN_WORKER = """async ([address, salt, challenge, slice, slices]) => {
    const worker = new Worker(address);
    let best = 0;
    for (let at = 0; at < slices; at += 1) {
        const first = 10000 + at * slice, began = performance.now();
        worker.postMessage({ salt, challenge, first, most: first + slice - 1 });
        await new Promise((done) => { worker.onmessage = ({ data }) => data.number === null && done(); });
        best = Math.max(best, slice / (performance.now() - began) * 1000);
    }
    return best;
}"""  # noqa: E501

_C = r"""
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>
unsigned long solve(const char *salt, unsigned long most) {
    char text[64];
    unsigned char hash[32], wanted[32] = {0};
    size_t prefix = strlen(salt);
    memcpy(text, salt, prefix);
    for (unsigned long number = 0; number < most; number++) {
        int length = prefix + sprintf(text + prefix, "%lu", number);
        SHA256((const unsigned char *)text, length, hash);
        if (memcmp(hash, wanted, 32) == 0) return number;
    }
    return most;
}
"""


async def browser_rates(solver: str) -> tuple[dict[int, float], float]:
    """Hashes per second by throttling on the page's thread, and in a worker without any."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(**launch_options())
        page = await browser.new_page()
        await page.route("**/*", lambda route: route.fulfill(body="", content_type="text/html"))
        await page.route(
            "**/solver.js",
            lambda route: route.fulfill(body=solver, content_type="text/javascript"),
        )
        await page.goto("http://127.0.0.1/")
        in_worker = await _worker_rate(page)
        await page.add_script_tag(content=solver.replace("self.onmessage", "window.unused"))
        session = await page.context.new_cdp_session(page)
        rates = {factor: await _rate(page, session, factor) for factor in THROTTLING}
        await browser.close()
    return rates, in_worker


async def _rate(page: Page, session: CDPSession, factor: int) -> float:
    await session.send("Emulation.setCPUThrottlingRate", {"rate": factor})
    best: float = await page.evaluate(_MEASURE, [SALT, NEVER, _SLICE, _SLICES])
    return best


async def _worker_rate(page: Page) -> float:
    best: float = await page.evaluate(_IN_WORKER, ["/solver.js", SALT, NEVER, _SLICE, _SLICES])
    return best


def python_rate() -> float:
    """Hashes per CPU second of a simple loop in Python, as in a quickly written script."""
    began = time.process_time()
    prefix, sha256 = SALT.encode(), hashlib.sha256
    for number in count():
        if sha256(prefix + b"%d" % number).hexdigest() == NEVER:
            raise AssertionError(number)
        if number % 10_000 == 9_999 and time.process_time() - began > _NATIVE_S:
            return (number + 1) / (time.process_time() - began)
    raise AssertionError


def c_rate() -> float | None:
    """Hashes per CPU second of a loop in C with OpenSSL; None without a compiler."""
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "solve.c"), Path(folder, "solve.so")
        source.write_text(_C)
        command = ["cc", "-O3", "-shared", "-fPIC", "-o", library, source, "-lcrypto"]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=60)
        except (OSError, subprocess.CalledProcessError):
            return None
        solve = ctypes.CDLL(str(library)).solve
        solve.argtypes, solve.restype = [ctypes.c_char_p, ctypes.c_ulong], ctypes.c_ulong
        began = time.process_time()
        numbers = 3_000_000
        solve(SALT.encode(), numbers)
        return numbers / (time.process_time() - began)


def openssl_rate() -> float | None:
    """Blocks per CPU second of `openssl speed` on texts of the same length; None without
    openssl."""
    command = ["openssl", "speed", "-seconds", "2", "-bytes", "50", "-evp", "sha256"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.CalledProcessError):
        return None
    match = re.search(r"([0-9]+) sha256's in ([0-9.]+)s", done.stderr, re.IGNORECASE)
    return int(match[1]) / float(match[2]) if match else None


def report(rates: dict[int, float], in_worker: float) -> str:
    phones = [
        [
            "this machine" if factor == 1 else f"{factor} times slower than this machine",
            f"{rate:,.0f}",
            f"{_DIFFICULTY / rate:.2f} s",
            f"{2 * _DIFFICULTY / rate:.2f} s",
        ]
        for factor, rate in rates.items()
    ]
    bots = [
        [name, f"{rate:,.0f}", f"{1000 * _DIFFICULTY / rate:,.1f}"]
        for name, rate in (
            ("a loop in Python, `hashlib`", python_rate()),
            ("a loop in C, OpenSSL", c_rate()),
            ("`openssl speed sha256`, 50 bytes", openssl_rate()),
        )
        if rate is not None
    ]
    about = (
        f"Written by `make bench-challenge`: {_DIFFICULTY:,} hashes on average, the default of "
        "`challenge_difficulty`; all times grow with it. The developer tools of Chromium slow a "
        "page down and not its workers, so the solver of the waiting page runs on the page's "
        "thread here; in a worker, where it belongs, and at full speed, it computes "
        f"{in_worker:,.0f} hashes per second. `gatekeeper settings` takes a phone for "
        f"{PHONE_HASHES_PER_S:,}."
    )
    return "\n\n".join(
        (
            "### What a challenge costs",
            about,
            table(
                ["a phone, as Chromium imitates it", "hashes/s", "on average", "at most"], phones
            ),
            table(["a bot farm, one core", "hashes/s", "CPU-seconds for 1,000 places"], bots),
        )
    )


if __name__ == "__main__":
    write_section("bench-challenge", report(*asyncio.run(browser_rates(_SOLVER))))
