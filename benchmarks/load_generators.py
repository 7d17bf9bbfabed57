"""Load on a proxy by wrk and h2load on the load core, and the CPU time that it costs, from
/proc."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
from dataclasses import dataclass
from pathlib import Path

from contenders import LOAD_CORE, RunningProcess

_RUN_MARGIN_S = 30


@dataclass(frozen=True)
class Cost:
    """One run: requests done, CPU seconds of the proxy, seconds of the run."""

    requests: int
    cpu_s: float
    wall_s: float

    @property
    def cpu_us_per_request(self) -> float:
        return self.cpu_s * 1e6 / self.requests

    @property
    def requests_per_s(self) -> float:
        return self.requests / self.wall_s


def wrk(
    proxy: RunningProcess,
    path: str,
    *,
    headers: list[str],
    connections: int,
    seconds: int,
    script: Path | None = None,
) -> Cost:
    """Saturate with wrk; a Lua `script` generates the requests. Exits if a response was not
    successful."""
    before_s = proxy.cpu_s()
    output = _wrk(
        proxy.url + path, headers=headers, connections=connections, seconds=seconds, script=script
    )
    cpu_s = proxy.cpu_s() - before_s
    done = re.search(r"(\d+) requests in ([\d.]+)(ms|s|m)", output)
    if done is None or "Non-2xx" in output or "Socket errors" in output:
        raise SystemExit(f"{proxy.name} failed under load:\n{output}")
    unit_s = {"ms": 0.001, "s": 1.0, "m": 60.0}[done[3]]
    return Cost(int(done[1]), cpu_s, float(done[2]) * unit_s)


def latency_one_connection_us(url: str, *, headers: list[str], seconds: int) -> dict[int, float]:
    """p50 and p99 of wrk on one connection, microseconds."""
    output = _wrk(url, headers=headers, connections=1, seconds=seconds)
    found = re.findall(r"(50|99)%\s+([\d.]+)(us|ms|s)", output)
    unit = {"us": 1.0, "ms": 1e3, "s": 1e6}
    return {int(percent): float(number) * unit[suffix] for percent, number, suffix in found}


def latency_fixed_rate_us(
    url: str, *, headers: list[str], rate_per_s: int, seconds: int, folder: Path
) -> dict[int, float]:
    """p50 and p99 of h2load at a fixed rate over 20 connections, microseconds."""
    log = folder / "h2load.log"
    log.unlink(missing_ok=True)
    clients = 20
    command = ["h2load", "--h1", "-c", str(clients), "--rps", str(rate_per_s // clients)]
    command += ["-D", str(seconds), "--log-file", str(log), *_as_flags(headers), url]
    run(command, seconds)
    rows = [line.split("\t") for line in log.read_text().splitlines()]
    elapsed = sorted(int(row[2]) for row in rows if row[1] == "200")
    if len(elapsed) < rate_per_s * seconds * 0.8:
        raise SystemExit(f"h2load received only {len(elapsed)} successful responses from {url}")
    return {50: statistics.median(elapsed), 99: elapsed[len(elapsed) * 99 // 100]}


def _wrk(
    url: str, *, headers: list[str], connections: int, seconds: int, script: Path | None = None
) -> str:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "10s"]
    if script is not None:
        command += ["-s", str(script)]
    return run([*command, *_as_flags(headers), url], seconds)


def _as_flags(headers: list[str]) -> list[str]:
    return [part for header in headers for part in ("-H", header)]


def run(command: list[str], seconds: int) -> str:
    """The output of a load generator on the load core."""
    return subprocess.run(
        command,
        check=True,
        capture_output=True,
        text=True,
        timeout=seconds + _RUN_MARGIN_S,
        preexec_fn=lambda: os.sched_setaffinity(0, {LOAD_CORE}),
    ).stdout
