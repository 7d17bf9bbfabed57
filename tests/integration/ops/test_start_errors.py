"""A problem that prevents the start is reported in one line, and no process keeps running."""

import asyncio
import os
from pathlib import Path
from unittest import mock

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.gates import GateProcess, gatekeeper, quick_command, run_here
from tests.integration.ops.process_settings import settings
from tests.ports import taken_port
from tests.servers import EventsServer, StoreServer

USAGE, FAILURE = 2, 1


def refused(toml: str, folder: Path, *, code: int) -> str:
    """The line on standard error of `gatekeeper serve` in this process, which must not start a
    worker or an embedded server."""
    (folder / "gatekeeper.toml").write_text(toml)
    environment = os.environ | {"GATEKEEPER_STATE_DIR": str(folder / "state")}
    with mock.patch("asyncio.create_subprocess_exec", side_effect=AssertionError):
        ended = run_here("serve", folder=folder, environment=environment)
    assert (ended.returncode, ended.stdout) == (code, ""), ended.stderr
    [line] = ended.stderr.splitlines()
    assert line.startswith("gatekeeper: ")
    return line


async def test_port_in_use_is_named() -> None:
    with taken_port() as port, GateProcess(settings(), "--listen", f"127.0.0.1:{port}") as gate:
        assert await gate.wait_until_exit() == FAILURE
        assert gate.ready_lines() == []
        [line] = gate.errors().splitlines()
        assert line.startswith(f"gatekeeper: server.listen: cannot listen on 127.0.0.1:{port}")


def test_admin_port_in_use_is_named(tmp_path: Path) -> None:
    with taken_port() as port:
        toml = settings().replace(
            '[admin]\nlisten = "127.0.0.1:0"', f'[admin]\nlisten = "127.0.0.1:{port}"'
        )
        line = refused(toml, tmp_path, code=FAILURE)
        assert f"cannot listen on 127.0.0.1:{port}" in line
        assert "admin.listen" in line


def test_shared_store_without_a_secret_is_refused(tmp_path: Path) -> None:
    line = refused(settings(more='[store]\nurl = "redis://127.0.0.1:9"'), tmp_path, code=USAGE)
    assert "tokens: no secret for a shared store; expected tokens.secret_file" in line


def test_broken_template_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "waiting.html").write_text("<p>\n{% if %}\n</p>")
    line = refused(settings(server=f'templates = "{tmp_path}"'), tmp_path, code=USAGE)
    assert "waiting.html:2: " in line


def test_invalid_value_is_named_with_its_path(tmp_path: Path) -> None:
    line = refused(settings(more='[admission]\nrate = "fast"'), tmp_path, code=USAGE)
    assert 'admission.rate: "fast" is not a rate; expected e.g. "500/min" or "8/s"' in line


def test_short_secret_in_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("short\n")
    more = f'[tokens]\nsecret_file = "{tmp_path}/secret"'
    line = refused(settings(more=more), tmp_path, code=USAGE)
    assert f"{tmp_path}/secret: secret 1 is too short; expected at least 32 bytes" in line


async def test_unreadable_generated_secret_is_named(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    with GateProcess(settings(), state=tmp_path) as gate:
        assert await gate.wait_until_exit() == USAGE
        [said] = [line for line in gate.errors().splitlines() if not line.startswith("{")]
        assert said == f"gatekeeper: {tmp_path}/secret: Is a directory; expected a readable file"


def test_secret_file_that_others_may_write_is_named(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("a secret of the tests, longer than 32 bytes\n")
    (tmp_path / "secret").chmod(0o666)
    more = f'[tokens]\nsecret_file = "{tmp_path}/secret"'
    line = refused(settings(more=more), tmp_path, code=USAGE)
    assert f"{tmp_path}/secret: every user may write to it (mode 0666); expected" in line


def test_state_folder_that_others_may_enter_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o755)
    line = refused(settings(), tmp_path, code=FAILURE)
    assert f"{tmp_path}/state is not private to this user: its mode is 0755" in line


def test_invalid_certificate_is_named(tmp_path: Path) -> None:
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("-----BEGIN NOTHING-----\n")
    server = f'tls_cert = "{tmp_path}/cert.pem"\ntls_key = "{tmp_path}/key.pem"\nworkers = 2'
    line = refused(settings(server=server), tmp_path, code=FAILURE)
    assert f"server.tls_cert: cannot use {tmp_path}/cert.pem" in line


def test_state_folder_in_use_is_named(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with GateProcess(settings(), state=state) as gate:
        asyncio.run(gate.wait_until_serving())
        line = refused(settings(), tmp_path, code=FAILURE)
        assert f"already runs its embedded store in {state}/store" in line
        assert asyncio.run(gate.command("status")).returncode == 0


async def test_shared_store_and_events_start_no_embedded_servers(
    private_store: StoreServer, private_events: EventsServer
) -> None:
    more = f"""
[store]
url = "{private_store.url}"
[events]
url = "{private_events.url}"
[tokens]
secrets = ["a secret of the tests, longer than 32 bytes"]
"""
    with GateProcess(settings(more=more)) as gate:
        await gate.wait_until_serving()
        assert set(gate.pids()) == set(gate.workers())


# The command line, without a gate.


async def test_check_accepts_valid_files_and_names_problems(tmp_path: Path) -> None:
    file = tmp_path / "gate.toml"
    file.write_text('[admission]\nrate = "60/min"')
    fine = await quick_command("check", "-c", str(file), folder=tmp_path)
    assert (fine.returncode, fine.stderr) == (0, "")
    assert "default at 60/min" in fine.stdout

    file.write_text('[server]\ntrusted_proxies = ["10.0.0.7"]\n[origin]\nurl = "none"')
    fine = await quick_command("check", "-c", str(file), folder=tmp_path)
    assert fine.stdout.startswith("ok: no origin (forward auth only) behind ")

    file.write_text('[[room]]\nname = "till"\npath = "/till/"')
    warned = await quick_command("check", "-c", str(file), folder=tmp_path)
    assert (warned.returncode, warned.stdout[:4]) == (0, "ok: ")
    assert warned.stderr.startswith('gatekeeper: warning: room[0].path: "/till/" does not cover ')

    file.write_text("[admission]\nrate = 5\nbrust = 3\n[nothing]\n")
    wrong = await quick_command("check", "-c", str(file), folder=tmp_path)
    assert (wrong.returncode, wrong.stdout) == (USAGE, "")
    assert len(wrong.stderr.splitlines()) == 3
    assert all(line.startswith(f"gatekeeper: {file}: ") for line in wrong.stderr.splitlines())

    (tmp_path / "left.html").write_text("{{ nobody.knows }}")
    file.write_text(f'[server]\ntemplates = "{tmp_path}"')
    wrong = await quick_command("check", "-c", str(file), folder=tmp_path)
    assert wrong.returncode == USAGE
    assert "left.html" in wrong.stderr


async def test_check_reads_certificate_and_secrets(tmp_path: Path) -> None:
    file, secret, pem = tmp_path / "gate.toml", tmp_path / "secret", tmp_path / "cert.pem"
    secret.write_text("short")
    file.write_text(f'[tokens]\nsecret_file = "{secret}"')
    wrong = await quick_command("check", "-c", str(file), folder=tmp_path)
    assert wrong.returncode == USAGE
    assert f"{secret}: secret 1 is too short; expected at least 32 bytes" in wrong.stderr

    pem.write_text("-----BEGIN NOTHING-----")
    file.write_text(f'[server]\ntls_cert = "{pem}"\ntls_key = "{pem}"')
    wrong = await quick_command("check", "-c", str(file), folder=tmp_path)
    assert wrong.returncode == FAILURE
    assert f"server.tls_cert: cannot use {pem}" in wrong.stderr


async def test_missing_file_is_named(tmp_path: Path) -> None:
    missing = await gatekeeper("check", "-c", "nothing.toml", folder=tmp_path)
    assert missing.returncode == USAGE
    assert missing.stderr == (
        "gatekeeper: nothing.toml: No such file or directory; expected a readable file\n"
    )


async def test_default_file_is_in_the_working_folder(tmp_path: Path) -> None:
    (tmp_path / "gatekeeper.toml").write_text('[admission]\nrate = "7/min"')
    assert "7/min" in (await quick_command("check", folder=tmp_path)).stdout


async def test_secret_is_long_and_random(tmp_path: Path) -> None:
    first = (await quick_command("secret", folder=tmp_path)).stdout.strip()
    second = (await quick_command("secret", folder=tmp_path)).stdout.strip()
    assert len(first) == len(second) == 64
    assert first != second


@pytest.mark.parametrize(
    "words",
    [
        ("nothing",),
        ("allow",),
        ("allow", "0"),
        ("allow", "many"),
        ("mode", "closed"),
        ("rate",),
        ("status", "--nothing"),
    ],
)
async def test_usage_error_is_one_line(tmp_path: Path, words: tuple[str, ...]) -> None:
    wrong = await quick_command(*words, folder=tmp_path)
    assert wrong.returncode == USAGE
    assert len(wrong.stderr.splitlines()) == 1
    assert wrong.stderr.startswith("gatekeeper: ")


async def test_unreachable_gate_is_named(tmp_path: Path) -> None:
    with taken_port() as port:
        pass
    (tmp_path / "gatekeeper.toml").write_text(f'[admin]\nlisten = "127.0.0.1:{port}"')
    for words in (("status",), ("allow", "3"), ("rate", "1/s"), ("mode", "hold")):
        alone = await quick_command(*words, folder=tmp_path)
        assert alone.returncode == FAILURE
        assert len(alone.stderr.splitlines()) == 1
        assert f"no gate responds at 127.0.0.1:{port}" in alone.stderr


def test_encrypted_key_is_named_without_a_prompt(tmp_path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"sesame"),
        )
    )
    leaf = trustme.CA().issue_cert("one.test")
    (tmp_path / "cert.pem").write_bytes(leaf.cert_chain_pems[0].bytes())
    server = f'tls_cert = "{tmp_path}/cert.pem"\ntls_key = "{tmp_path}/key.pem"'
    line = refused(settings(server=server), tmp_path, code=FAILURE)
    assert f"server.tls_cert: cannot use {tmp_path}/cert.pem" in line
