"""The wheel and the source archive contain all files that the program reads, and the wheel finds
them.

Rules: built by the real backend, offline, from the work tree; nothing is written into the tree.
"""

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]
_TIMEOUT_S = 100
_DEPLOYED = (
    ".gitignore",
    "forward-auth/Caddyfile",
    "forward-auth/envoy.yaml",
    "forward-auth/gatekeeper.lua",
    "forward-auth/gatekeeper.toml",
    "forward-auth/haproxy.cfg",
    "forward-auth/nginx.conf",
    "forward-auth/traefik-routes.yaml",
    "forward-auth/traefik.yaml",
    "gatekeeper.service",
    "gatekeeper.toml",
    "grafana-dashboard.json",
    "haproxy.cfg",
    "in-front/Caddyfile",
    "in-front/envoy.yaml",
    "in-front/gateway-api.yaml",
    "in-front/haproxy.cfg",
    "in-front/ingress-nginx.yaml",
    "in-front/nginx.conf",
    "in-front/traefik-routes.yaml",
    "in-front/traefik.yaml",
    "kubernetes.yaml",
    "prometheus-alerts.yaml",
)

# Runs from the wheel: renders every template with every asset, and reads a script.
_LOOK = """
import gatekeeper
from gatekeeper.room.store import load_script
from gatekeeper.pages.renderer import Pages

print(gatekeeper.__file__)
print(Pages().asset_url("waiting.css"))
print(len(load_script("advance").text) > 1000)
print(Pages().left(lang="de").body.decode().count("Warteschlange") > 1)
"""


def _build(kind: str, folder: Path) -> Path:
    """The archive of `kind` ("wheel" or "sdist") that hatchling makes of this tree."""
    _run([sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", str(folder)])
    [archive] = folder.iterdir()
    return archive


def _run(command: list[str], *, cwd: Path = ROOT, python_path: str | None = None) -> str:
    environ = dict(os.environ)
    if python_path is not None:
        environ["PYTHONPATH"] = python_path
    done = subprocess.run(
        command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=_TIMEOUT_S
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build("wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed wheel. From the second program on, its modules are compiled."""
    folder = tmp_path_factory.mktemp("site")
    with ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build("sdist", tmp_path_factory.mktemp("sdist"))


def _names(folder: Path, pattern: str) -> set[str]:
    found = {path.relative_to(folder).as_posix() for path in folder.glob(pattern)}
    assert found, f"nothing in {folder} to compare with"
    return found


@pytest.mark.parametrize(
    ("folder", "pattern", "packed_in"),
    [
        ("templates", "*.html", "gatekeeper/assets/templates"),
        ("static", "*.*", "gatekeeper/assets/static"),
        ("gatekeeper/room/scripts", "*.lua", "gatekeeper/room/scripts"),
        ("gatekeeper", "py.typed", "gatekeeper"),
        ("gatekeeper/locale", "*/LC_MESSAGES/gatekeeper.po", "gatekeeper/locale"),
    ],
)
def test_wheel_contains_every_data_file(
    wheel: Path, folder: str, pattern: str, packed_in: str
) -> None:
    with ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    assert {f"{packed_in}/{name}" for name in _names(ROOT / folder, pattern)} <= packed


def test_wheel_contains_every_module_and_no_tests(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.endswith(".py")}
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "gatekeeper").rglob("*.py")}
    assert packed == modules


def test_wheel_metadata_has_command_license_dependencies(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")
    with ZipFile(wheel) as archive:
        [info] = {name.split("/")[0] for name in archive.namelist() if ".dist-info/" in name}
        entries = archive.read(f"{info}/entry_points.txt").decode()
        metadata = archive.read(f"{info}/METADATA").decode()
        assert archive.read(f"{info}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert "gatekeeper = gatekeeper.__main__:main" in entries
    assert "License-Expression: Apache-2.0" in metadata
    assert "Requires-Dist: aiohttp" in metadata
    assert "hypothesis" not in metadata


def test_installed_wheel_finds_its_data_files(site: Path, tmp_path: Path) -> None:
    output = _run([sys.executable, "-c", _LOOK], cwd=tmp_path, python_path=str(site))
    where, url, script_found, german = output.splitlines()
    assert Path(where).is_relative_to(site)
    assert re.fullmatch(r"/\.gatekeeper/static/waiting\.[0-9a-f]{12}\.css", url)
    assert script_found == german == "True"


def test_command_runs_from_the_wheel(wheel: Path, site: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gatekeeper"]
    output = _run([*command, "--version"], cwd=tmp_path, python_path=str(site))
    assert wheel.name.split("-")[1] in output
    assert "ok: " in _run([*command, "check"], cwd=tmp_path, python_path=str(site))


def test_sdist_contains_build_and_test_files(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "Makefile"}
    needed |= {"gatekeeper.toml", "compose.yaml", "Dockerfile", "docs/reference/configuration.md"}
    needed |= {f"templates/{name}" for name in _names(ROOT / "templates", "*.html")}
    needed |= {f"static/{name}" for name in _names(ROOT / "static", "*.*")}
    needed |= {
        f"gatekeeper/locale/{name}"
        for name in _names(ROOT / "gatekeeper/locale", "*/LC_MESSAGES/gatekeeper.po")
    }
    needed |= {"tests/conftest.py", "tests/testdata/compose/compose-spec.json"}
    assert needed <= names
    # An operator who deploys from this tree keeps secrets in that folder.
    beside_secrets = {name for name in names if name.startswith("deploy/")}
    assert beside_secrets == {f"deploy/{name}" for name in _DEPLOYED}
