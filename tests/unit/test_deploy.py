"""The files of `deploy/`: valid by the schemas of the programs that read them, and effective as
documented."""

import configparser
import json
import re
import shutil
import subprocess
from copy import deepcopy
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from gatekeeper import __version__
from gatekeeper.config.load import load_config

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
# The oldest version that was maintained at the time of writing, and the newest known one.
VERSIONS = ("1.33", kubernetes_validate.latest_version())
_TIMEOUT_S = 60

Manifest = dict[str, Any]


@pytest.fixture(scope="module")
def manifests() -> dict[tuple[str, str], Manifest]:
    found = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
    return {(each["kind"], each["metadata"]["name"]): each for each in found}


@pytest.fixture(scope="module")
def pod(manifests: dict[tuple[str, str], Manifest]) -> Manifest:
    spec: Manifest = manifests["Deployment", "gatekeeper"]["spec"]["template"]["spec"]
    return spec


@pytest.fixture(scope="module")
def container(pod: Manifest) -> Manifest:
    [only] = pod["containers"]
    assert isinstance(only, dict)
    return only


@pytest.fixture(scope="module")
def toml(manifests: dict[tuple[str, str], Manifest]) -> str:
    text: str = manifests["ConfigMap", "gatekeeper"]["data"]["gatekeeper.toml"]
    return text


# Kubernetes.


@pytest.mark.parametrize("version", VERSIONS)
def test_manifests_match_the_strict_schema(
    version: str, manifests: dict[tuple[str, str], Manifest]
) -> None:
    for manifest in manifests.values():
        kubernetes_validate.validate(manifest, version, strict=True)


def test_manifest_schema_refuses_a_misspelled_key(
    manifests: dict[tuple[str, str], Manifest],
) -> None:
    wrong = deepcopy(manifests["Deployment", "gatekeeper"])
    wrong["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)


def test_manifests_are_complete(manifests: dict[tuple[str, str], Manifest]) -> None:
    assert manifests.keys() == {
        ("ConfigMap", "gatekeeper"),
        ("Deployment", "gatekeeper"),
        ("Service", "gatekeeper"),
        ("Service", "gatekeeper-admin"),
        ("PodDisruptionBudget", "gatekeeper"),
        ("HorizontalPodAutoscaler", "gatekeeper"),
    }


def test_selectors_match_the_labels_of_the_pods(manifests: dict[tuple[str, str], Manifest]) -> None:
    deployment = manifests["Deployment", "gatekeeper"]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    budget = manifests["PodDisruptionBudget", "gatekeeper"]["spec"]
    assert deployment["selector"]["matchLabels"] == labels
    assert budget["selector"]["matchLabels"] == labels
    for name in ("gatekeeper", "gatekeeper-admin"):
        assert manifests["Service", name]["spec"]["selector"] == labels
    assert manifests["Service", "gatekeeper-admin"]["spec"]["sessionAffinity"] == "ClientIP"


def test_manifest_configuration_matches_probes_and_services(
    manifests: dict[tuple[str, str], Manifest], container: Manifest, toml: str, tmp_path: Path
) -> None:
    secret = tmp_path / "secrets"
    secret.write_text("a secret of the tests, longer than 32 bytes\n")
    file = tmp_path / "gatekeeper.toml"
    file.write_text(toml.replace("/run/secrets/gatekeeper/secrets", str(secret)))
    [token] = [each for each in container["env"] if "valueFrom" in each]
    config = load_config(file, environ={token["name"]: "sesame" * 6})
    assert config.admin.token == "sesame" * 6
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert config.server.listen == f"0.0.0.0:{ports['http']}"
    assert config.admin.listen == f"0.0.0.0:{ports['admin']}"
    for name, port in (("gatekeeper", "http"), ("gatekeeper-admin", "admin")):
        [only] = manifests["Service", name]["spec"]["ports"]
        assert only["targetPort"] == port
    paths = {
        name: (container[name]["httpGet"]["path"], container[name]["httpGet"]["port"])
        for name in ("startupProbe", "readinessProbe", "livenessProbe")
    }
    assert paths == {
        "startupProbe": ("/.gatekeeper/health", "http"),
        "readinessProbe": ("/.gatekeeper/health", "http"),
        "livenessProbe": ("/healthz", "admin"),
    }


def test_pod_grace_period_covers_shutdown(pod: Manifest, container: Manifest, toml: str) -> None:
    shutdown_s = int(re.findall(r'shutdown_timeout = "(\d+)s"', toml)[0])
    before_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] >= before_s + shutdown_s + 5


def test_mounted_paths_are_those_of_the_configuration(
    pod: Manifest, container: Manifest, toml: str
) -> None:
    volumes = {each["name"]: each for each in pod["volumes"]}
    mounts = {each["mountPath"]: volumes[each["name"]] for each in container["volumeMounts"]}
    assert mounts.keys() == {
        "/etc/gatekeeper",
        "/run/secrets/gatekeeper",
        "/var/lib/gatekeeper",
        "/tmp",
    }
    assert 'secret_file = "/run/secrets/gatekeeper/secrets"' in toml
    assert mounts["/run/secrets/gatekeeper"]["secret"]["items"][0]["path"] == "secrets"
    assert "GATEKEEPER_STATE_DIR=/var/lib/gatekeeper" in (ROOT / "Dockerfile").read_text()


def test_pod_has_least_privileges(pod: Manifest, container: Manifest) -> None:
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert f"USER {pod['securityContext']['runAsUser']}:" in (ROOT / "Dockerfile").read_text()
    assert pod["automountServiceAccountToken"] is False
    rights = container["securityContext"]
    assert rights["readOnlyRootFilesystem"] is True
    assert rights["allowPrivilegeEscalation"] is False
    assert rights["capabilities"] == {"drop": ["ALL"]}


def test_manifest_image_has_the_package_version(container: Manifest) -> None:
    assert container["image"] == f"gatekeeper-waiting-room:{__version__}"


def test_manifests_contain_no_secret(manifests: dict[tuple[str, str], Manifest]) -> None:
    assert "Secret" not in {kind for kind, _ in manifests}
    assert "secrets = [" not in (DEPLOY / "kubernetes.yaml").read_text()


def test_disruption_budget_is_below_autoscaler_minimum(
    manifests: dict[tuple[str, str], Manifest],
) -> None:
    scaler = manifests["HorizontalPodAutoscaler", "gatekeeper"]["spec"]
    budget = manifests["PodDisruptionBudget", "gatekeeper"]["spec"]
    assert 1 <= budget["minAvailable"] < scaler["minReplicas"] <= scaler["maxReplicas"]
    assert "replicas" not in manifests["Deployment", "gatekeeper"]["spec"]
    assert scaler["scaleTargetRef"]["name"] == "gatekeeper"


# systemd.


@pytest.fixture(scope="module")
def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None, comment_prefixes="#")
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(DEPLOY / "gatekeeper.service")
    return parser


def test_unit_runs_serve_and_stops_in_order(
    unit: configparser.ConfigParser,
) -> None:
    service = unit["Service"]
    assert service["ExecStart"].split()[:2] == ["/opt/gatekeeper/bin/gatekeeper", "serve"]
    assert service["KillMode"] == "mixed"
    default_s = load_config(environ={}).server.shutdown_timeout
    assert int(service["TimeoutStopSec"]) > default_s + 5
    assert f"GATEKEEPER_STATE_DIR=/var/lib/{service['StateDirectory']}" in service["Environment"]


def test_unit_has_least_privileges(unit: configparser.ConfigParser) -> None:
    service = unit["Service"]
    for key in (
        "DynamicUser",
        "NoNewPrivileges",
        "PrivateTmp",
        "ProtectHome",
        "RestrictNamespaces",
    ):
        assert service[key] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["CapabilityBoundingSet"] == ""
    assert set(service["RestrictAddressFamilies"].split()) == {"AF_INET", "AF_INET6", "AF_UNIX"}


def test_unit_is_valid_by_systemd_analyze(tmp_path: Path) -> None:
    """By `systemd-analyze` if it is installed; the syntax of every line is always checked."""
    text = (DEPLOY / "gatekeeper.service").read_text()
    for line in text.splitlines():
        assert re.fullmatch(r"|#.*|\[\w+\]|[A-Z]\w*=.*", line), line
    if (analyze := shutil.which("systemd-analyze")) is None:
        return
    file = tmp_path / "gatekeeper.service"
    file.write_text(text.replace("/opt/gatekeeper/bin/gatekeeper", "/bin/true"))
    for words in (["verify"], ["security", "--offline=yes", "--threshold=25"]):
        done = subprocess.run(
            [analyze, *words, str(file)], capture_output=True, text=True, timeout=_TIMEOUT_S
        )
        assert done.returncode == 0, done.stdout + done.stderr


# Grafana and Prometheus; tests/integration/ops/test_deployed_metrics.py checks the expressions.


def test_dashboard_panels_are_described_without_overlap() -> None:
    dashboard = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
    assert dashboard["uid"] == "gatekeeper"
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        grid = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not cells & taken
        assert grid["x"] + grid["w"] <= 24
        taken |= cells
        assert panel["type"] == "row" or panel["description"]


def test_alerts_have_severity_and_description() -> None:
    [group] = yaml.safe_load((DEPLOY / "prometheus-alerts.yaml").read_text())["groups"]
    names = [rule["alert"] for rule in group["rules"]]
    assert len(set(names)) == len(names) > 8
    for rule in group["rules"]:
        assert rule.keys() == {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert re.fullmatch(r"\d+[sm]", rule["for"])
        assert rule["annotations"].keys() == {"summary", "description"}
