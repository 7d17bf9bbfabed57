"""The start of the edge's Caddy: program, ports, and errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gatekeeper.config.edge_schema import EdgeConfig
from gatekeeper.errors import StartError
from gatekeeper.process import edge_server
from gatekeeper.process.edge_server import (
    caddy_program,
    check_ports,
    check_version,
    edge_files,
    load,
    start_caddy,
)
from tests.ports import free_port, taken_port


def program(folder: Path, script: str) -> Path:
    """A program that replaces Caddy."""
    path = folder / "caddy"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_program_on_path_comes_before_that_of_the_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    of_the_wheel = caddy_program()
    assert Path(of_the_wheel).parent != tmp_path
    assert caddy_program() == of_the_wheel
    on_path = program(tmp_path, "exit 0")
    assert caddy_program() == str(on_path)


def test_missing_program_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(edge_server, "wheel_path", lambda: [str(tmp_path)])
    with pytest.raises(StartError, match=r"no caddy found; install the extra `edge`"):
        caddy_program()


@pytest.mark.parametrize("version", ["v2.8.0 h1:x", "2.11.7", "v3.0.0", "(devel)"])
async def test_recent_version_is_used(tmp_path: Path, version: str) -> None:
    await check_version(str(program(tmp_path, f"echo '{version}'")))


@pytest.mark.parametrize("version", ["v2.6.2 h1:x", "2.7.9", "v1.0.5"])
async def test_old_version_is_refused(tmp_path: Path, version: str) -> None:
    path = program(tmp_path, f"echo '{version}'")
    with pytest.raises(StartError, match=r"is Caddy .*; expected 2\.8 or later"):
        await check_version(str(path))


@pytest.mark.parametrize("key", ["http_port", "https_port"])
def test_port_in_use_is_one_clear_line(key: str) -> None:
    ports = {"http_port": free_port(), "https_port": free_port()}
    with taken_port(ports[key]):
        edge = EdgeConfig.model_validate({"domains": ["a.b"], "bind": "127.0.0.1"} | ports)
        wanted = f"edge.{key}: cannot listen on 127.0.0.1:{ports[key]}: .*; stop the program"
        with pytest.raises(StartError, match=wanted):
            check_ports(edge)


async def start(folder: Path, script: str) -> None:
    files = edge_files(folder, workers=1)
    server = await start_caddy(str(program(folder, script)), files, {}, timeout_s=20)
    await server.stop()


REFUSAL = (
    "loading initial config: loading new config: http app module: start: listening on :443: "
    "listen tcp :443: bind: permission denied"
)


def logging(message: str) -> str:
    """A command that logs an error in Caddy's format, in the folder of the edge."""
    entry = json.dumps({"level": "error", "msg": message})
    return f"echo '{entry}' >> caddy.log"


async def test_refused_start_gives_the_reason_of_this_start(tmp_path: Path) -> None:
    edge_files(tmp_path, workers=1).log.write_text('{"level": "error", "msg": "of yesterday"}\n')
    with pytest.raises(StartError, match=r"edge: Caddy does not start: c: unknown module: x"):
        await start(tmp_path, f"{logging('a: b: c: unknown module: x')}; exit 1")
    with pytest.raises(StartError, match="the embedded edge exited at once"):
        await start(tmp_path, "exit 1")


async def test_missing_permission_names_both_remedies(tmp_path: Path) -> None:
    with pytest.raises(StartError) as failed:
        await start(tmp_path, f"{logging(REFUSAL)}; exit 1")
    text = failed.value.public
    assert "listen tcp :443: bind: permission denied" in text
    assert "AmbientCapabilities=CAP_NET_BIND_SERVICE" in text
    assert f"setcap cap_net_bind_service=+ep {tmp_path}/caddy" in text
    assert "\n" not in text


async def test_other_failure_shows_the_end_of_the_log(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="the embedded edge exited at once; its log ends: oh no"):
        await start(tmp_path, "echo 'oh no' >&2; exit 1")


async def test_edge_that_does_not_run_refuses_a_reload(tmp_path: Path) -> None:
    problem = await load(edge_files(tmp_path, workers=1), {})
    assert problem == "edge: not running at the moment; expected another reload once it runs"


def test_files_are_in_a_private_folder(tmp_path: Path) -> None:
    files = edge_files(tmp_path, workers=3)
    assert (tmp_path / "edge").stat().st_mode & 0o777 == 0o700
    assert [path.name for path in files.worker_sockets] == [f"worker-{n}.sock" for n in (1, 2, 3)]
