"""compose.yaml, its mounted files, and the Dockerfile, checked by schema and by our documentation.

Rules: no engine runs here, so the files are read as data. The schema is the Compose Specification's
own, kept under testdata with its license. The configuration is loaded as the program loads it.
"""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from gatekeeper.config.load import load_config
from gatekeeper.config.types import MIN_SECRET_BYTES

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "tests" / "testdata" / "compose" / "compose-spec.json"
SERVICES = ("balancer", "gatekeeper", "store", "events", "origin")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """compose.yaml with its variables at their defaults."""
    text = (ROOT / "compose.yaml").read_text()
    loaded: dict[str, Any] = yaml.safe_load(re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", text))
    return loaded


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose["services"]
    return found


def test_compose_file_matches_the_specification(compose: dict[str, Any]) -> None:
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert [f"{e.json_path}: {e.message}" for e in validator.iter_errors(compose)] == []


def test_compose_schema_refuses_a_misspelled_key(compose: dict[str, Any]) -> None:
    slip = json.loads(json.dumps(compose))
    slip["services"]["store"]["healthchek"] = slip["services"]["store"].pop("healthcheck")
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    assert not validator.is_valid(slip)


def test_compose_runs_three_replicas_behind_one_port(services: dict[str, Any]) -> None:
    assert tuple(services) == SERVICES
    assert services["gatekeeper"]["deploy"]["replicas"] == 3
    assert [name for name in SERVICES if "ports" in services[name]] == ["balancer"]
    assert services["balancer"]["ports"] == ["8080:8080", "127.0.0.1:8081:8081"]


@pytest.mark.parametrize("name", SERVICES)
def test_service_has_health_check_and_restart(services: dict[str, Any], name: str) -> None:
    check = services[name]["healthcheck"]
    assert check["test"][0] in {"CMD", "CMD-SHELL"}
    assert {"interval", "timeout", "retries", "start_period"} <= check.keys()
    assert services[name]["restart"] == "unless-stopped"


def test_service_starts_after_its_healthy_dependencies(services: dict[str, Any]) -> None:
    healthy = {"condition": "service_healthy"}
    assert services["balancer"]["depends_on"] == {"gatekeeper": healthy}
    assert services["gatekeeper"]["depends_on"] == {
        "store": healthy,
        "events": healthy,
        "origin": healthy,
    }


@pytest.mark.parametrize("name", SERVICES)
def test_service_has_least_privileges(services: dict[str, Any], name: str) -> None:
    service = services[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"privileged", "cap_add", "pid", "network_mode"}.isdisjoint(service)


def test_configs_and_secrets_are_mounted_from_files(compose: dict[str, Any]) -> None:
    # Compose copies `content:` and `environment:`, which fails in a read-only container.
    for kind in ("configs", "secrets"):
        for entry in compose[kind].values():
            assert list(entry) == ["file"]
    for config in compose["configs"].values():
        assert (ROOT / config["file"]).is_file()


@pytest.mark.parametrize("name", SERVICES)
def test_service_image_is_pinned(services: dict[str, Any], name: str) -> None:
    tag = services[name]["image"].rpartition(":")[2]
    assert re.fullmatch(r"v?\d+\.\d+(\.\d+)?(-alpine)?", tag)


def test_compose_image_has_the_package_version(
    services: dict[str, Any],
) -> None:
    from gatekeeper import __version__

    for name in ("gatekeeper", "origin"):
        assert services[name]["image"] == f"gatekeeper-waiting-room:{__version__}"


def test_store_has_the_flags_that_scripts_require(services: dict[str, Any]) -> None:
    command = services["store"]["command"]
    flags = dict(flag.removeprefix("--").partition("=")[::2] for flag in command[1:])
    assert command[0] == "dragonfly"
    assert flags["cluster_mode"] == "emulated"
    assert "lock_on_hashtags" in flags
    assert "snapshot_cron" not in flags  # a snapshot delays every call to the room that it saves
    # DragonflyDB does not start with less than 256 MB a thread.
    assert _megabytes(flags["maxmemory"]) >= 256 * int(flags["proactor_threads"])
    limit = services["store"]["deploy"]["resources"]["limits"]["memory"]
    assert _megabytes(limit) > _megabytes(flags["maxmemory"])
    assert services["store"]["volumes"] == [f"store:{flags['dir']}"]


def test_store_health_check_sends_http_1_1(services: dict[str, Any]) -> None:
    # DragonflyDB reads a first line that ends with HTTP/1.1 as HTTP.
    assert "'GET /healthz HTTP/1.1\\r\\n" in services["store"]["healthcheck"]["test"][1]


def test_events_health_check_uses_the_monitoring_port(services: dict[str, Any]) -> None:
    assert "--http_port=8222" in services["events"]["command"]
    assert services["events"]["healthcheck"]["test"][-1] == "http://127.0.0.1:8222/healthz"
    assert "alpine" in services["events"]["image"]  # the plain image has no program to check with


def test_store_and_events_are_in_the_internal_network(compose: dict[str, Any]) -> None:
    members = {
        network: [name for name in SERVICES if network in compose["services"][name]["networks"]]
        for network in compose["networks"]
    }
    assert members == {
        "edge": ["balancer", "gatekeeper"],
        "inside": ["gatekeeper", "store", "events"],
        "site": ["gatekeeper", "origin"],
    }
    assert compose["networks"]["inside"] == {"internal": True}


def test_compose_configuration_loads(compose: dict[str, Any], tmp_path: Path) -> None:
    service = compose["services"]["gatekeeper"]
    secret = tmp_path / "secret"
    secret.write_text("s" * MIN_SECRET_BYTES)
    config = load_config(
        ROOT / compose["configs"]["gatekeeper"]["file"],
        environ=service["environment"]
        | {"GATEKEEPER_ADMIN__TOKEN": "the one that is in deploy/gatekeeper.env"},
        overrides={"tokens.secret_file": str(secret)},
    )
    assert config.store.url == "redis://store:6379"
    assert config.events.url == "nats://events:4222"
    assert config.origin.url == "http://origin:9000"
    assert config.server.listen.endswith(":8080")
    subnet = compose["networks"]["edge"]["ipam"]["config"][0]["subnet"]
    assert config.server.trusted_proxies == (subnet,)
    assert _seconds(service["stop_grace_period"]) > config.server.shutdown_timeout + 5


def test_compose_secrets_are_files_ignored_by_git(compose: dict[str, Any]) -> None:
    assert compose["services"]["gatekeeper"]["secrets"] == ["gatekeeper"]
    assert "/run/secrets/gatekeeper" in (ROOT / "deploy" / "gatekeeper.toml").read_text()
    ignored = (ROOT / "deploy" / ".gitignore").read_text().splitlines()
    paths = [compose["secrets"]["gatekeeper"]["file"]]
    paths += compose["services"]["gatekeeper"]["env_file"]
    for path in paths:
        folder, _, name = path.partition("/")
        assert folder == "deploy"
        assert f"/{name}" in ignored


def test_balancer_sets_forwarded_fields_and_timeouts() -> None:
    text = (ROOT / "deploy" / "haproxy.cfg").read_text()
    for name in ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"):
        assert f"http-request set-header {name} " in _section(text, "frontend site")
    assert "timeout tunnel" in text  # WebSocket
    # The balancer closes an idle connection earlier than the gate (75 s), and waits longer for a
    # response than the gate waits for the origin.
    assert _timeout_s(text, "http-keep-alive") < 75
    assert _timeout_s(text, "server") > load_config(environ={}).origin.read_timeout


# The image.


@pytest.fixture(scope="module")
def dockerfile() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, in order, without comments and line breaks."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.startswith("#")).replace("\\\n", " ")
    return [
        (word.upper(), rest.strip())
        for word, _, rest in (line.strip().partition(" ") for line in text.splitlines())
        if word
    ]


def _stages(dockerfile: list[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    stages: list[list[tuple[str, str]]] = []
    for instruction in dockerfile:
        if instruction[0] == "FROM":
            stages.append([])
        stages[-1].append(instruction)
    return stages


def test_image_has_two_stages_on_one_pinned_base(
    dockerfile: list[tuple[str, str]],
) -> None:
    build, final = _stages(dockerfile)
    base = build[0][1].removesuffix(" AS build")
    assert base == final[0][1]
    assert re.fullmatch(r"python:3\.\d+-slim-[a-z]+", base)
    copied = [rest for word, rest in final if word in {"COPY", "ADD"}]
    assert copied == ["--from=build /opt/gatekeeper /opt/gatekeeper"]


def test_image_runs_without_root(dockerfile: list[tuple[str, str]]) -> None:
    users = [rest for word, rest in dockerfile if word == "USER"]
    assert users == ["10001:10001"]
    after = [word for word, _ in dockerfile][[word for word, _ in dockerfile].index("USER") :]
    assert {"RUN", "COPY", "ADD"}.isdisjoint(after)


def test_image_runs_serve_and_stops_with_sigterm(dockerfile: list[tuple[str, str]]) -> None:
    instructions = dict(dockerfile)
    assert json.loads(instructions["ENTRYPOINT"]) == ["gatekeeper"]
    assert json.loads(instructions["CMD"]) == ["serve"]
    assert instructions["STOPSIGNAL"] == "SIGTERM"


def test_image_health_check_requests_the_gate(dockerfile: list[tuple[str, str]]) -> None:
    command = dict(dockerfile)["HEALTHCHECK"].partition("CMD ")[2]
    program = json.loads(command)
    assert program[:2] == ["python", "-c"]
    assert "/.gatekeeper/health" in program[2]
    assert "timeout=" in program[2]
    compile(program[2], "HEALTHCHECK", "exec")


def test_image_contains_no_secret(dockerfile: list[tuple[str, str]]) -> None:
    for word, rest in dockerfile:
        if word in {"ENV", "ARG"}:
            names = [pair.partition("=")[0] for pair in shlex.split(rest)]
            assert not [n for n in names if re.search("SECRET|TOKEN|PASSWORD|KEY", n)]
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    assert not [line for line in ignored if line.startswith("!deploy")]


def test_copied_files_exist_and_are_not_ignored(
    dockerfile: list[tuple[str, str]],
) -> None:
    build, _ = _stages(dockerfile)
    sources = [name for word, rest in build if word == "COPY" for name in rest.split()[:-1]]
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    assert sources
    for source in sources:
        assert (ROOT / source).exists()
        assert f"!{source}" in allowed


def test_operator_keeps_address_and_replica_behind_balancer() -> None:
    text = (ROOT / "deploy" / "haproxy.cfg").read_text()
    # The gates trust the balancer: otherwise a client could forge its address in the audit log.
    assert "http-request set-header X-Forwarded-For " in _section(text, "frontend operator")
    assert "balance source" in _section(
        text, "backend operators"
    )  # each replica has its own history and audit log


def _section(haproxy: str, title: str) -> str:
    match = re.search(rf"^{title}\n((?:(?: .*|#.*)?\n)*)", haproxy, re.MULTILINE)
    assert match is not None, f"no {title}"
    return match[1]


def _megabytes(text: str) -> float:
    number, unit = re.fullmatch(r"(\d+)([mg])b?", text).groups()  # type: ignore[union-attr]
    return float(number) * (1024 if unit == "g" else 1)


def _seconds(text: str) -> float:
    return float(text.removesuffix("s"))


def _timeout_s(haproxy: str, name: str) -> float:
    match = re.search(rf"^ *timeout {name} +(\d+)s", haproxy, re.MULTILINE)
    assert match is not None, f"no timeout {name}"
    return float(match[1])
