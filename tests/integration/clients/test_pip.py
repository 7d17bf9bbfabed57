"""pip installs the same from a registry with the gate in front as without it."""

import sys
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from tests.gates import GateStarter
from tests.integration.clients.programs import files, newcomers, run
from tests.web_app import serving

_WHEEL = "visitor_kit-1.0-py3-none-any.whl"
BYPASS = """
[[rule]]
name = "pip"
action = "bypass"
path = ["/simple/**", "/files/**"]
user_agent = "pip/*"
"""


def write_wheel(path: Path) -> None:
    info = "visitor_kit-1.0.dist-info"
    contents = {
        "visitor_kit/__init__.py": "LINE = 1\n" * 20_000,
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: visitor-kit\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, text in contents.items():
            wheel.writestr(name, text)


@asynccontextmanager
async def running_registry(folder: Path) -> AsyncIterator[str]:
    """A registry of one package (PEP 503)."""
    write_wheel(folder / _WHEEL)

    async def project(_: web.Request) -> web.Response:
        link = f'<!DOCTYPE html><a href="../../files/{_WHEEL}">{_WHEEL}</a>'
        return web.Response(text=link, content_type="text/html")

    routes = (web.get("/simple/visitor-kit/", project), web.static("/files", folder))
    async with serving(*routes) as url:
        yield url


async def install(url: str, target: Path) -> tuple[int, str]:
    done = await run(
        *(sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check"),
        *("install", "--quiet", "--no-cache-dir", "--no-deps", "--no-compile", "--retries=0"),
        *("--index-url", f"{url}/simple/", "--target", str(target / "installed"), "visitor-kit"),
        folder=target.parent,
        PIP_CONFIG_FILE="/dev/null",
    )
    return done.returncode, done.stdout + done.stderr


async def test_pip_through_a_bypassing_rule_is_as_without_the_gate(
    tmp_path: Path, start_gate: GateStarter
) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    async with running_registry(packages) as url:
        gate = await start_gate(BYPASS, origin_url=url, rate="0")
        for name, at in (("direct", url), ("gate", gate.url)):
            assert await install(at, tmp_path / name) == (0, "")
        assert files(tmp_path / "gate" / "installed") == files(tmp_path / "direct" / "installed")
        assert len(files(tmp_path / "gate" / "installed")["visitor_kit/__init__.py"]) == 180_000
        assert await newcomers(gate) == 0


async def test_pip_without_the_rule_installs_nothing(
    tmp_path: Path, start_gate: GateStarter
) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    async with running_registry(packages) as url:
        gate = await start_gate(origin_url=url, rate="0")
        code, text = await install(gate.url, tmp_path / "gate")
        assert code != 0
        assert "No matching distribution" in text
        assert files(tmp_path / "gate") == {}
