"""Addresses as the supervisor prints and logs them, and the files that a reload reads."""

from pathlib import Path

import pytest
import trustme

from gatekeeper.errors import ConfigError, StartError
from gatekeeper.process.supervisor import (
    _local_address,
    _without_password,
    check_files,
    checked_files,
)
from tests.builders import SECRET, parse_config


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("::", "[::1]"),
        ("2001:db8::1", "[2001:db8::1]"),
        ("192.0.2.1", "192.0.2.1"),
        ("gate.example.com", "gate.example.com"),
    ],
)
def test_local_address_can_be_opened_in_a_browser(host: str, address: str) -> None:
    assert _local_address(host) == address


@pytest.mark.parametrize(
    ("url", "logged"),
    [
        ("redis://store:6379", "redis://store:6379"),
        ("redis://user:pass@store:6379/1", "redis://store:6379/1"),
        ("redis://:p%40ss@word@store:6379", "redis://store:6379"),
        ("redis://store:6379?password=pass", "redis://store:6379"),
        ("rediss://u:p@store/0?ssl_password=x&ssl_keyfile=k", "rediss://store/0"),
        ("redis+sentinel://u:p@a:1,b:2/shop?sentinel_password=x", "redis+sentinel://a:1,b:2/shop"),
        ("redis+sentinel://a:1,b:2/shop?sentinel_password=x@y", "redis+sentinel://…"),
        ("redis://u:pa?ss@store", "redis://…"),
    ],
)
def test_logged_url_has_no_password(url: str, logged: str) -> None:
    assert _without_password(url) == logged


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("tokens", "secret_file"),
        ("admission", "invitation_secret_file"),
        ("admission", "invitation_public_key_file"),
    ],
)
def test_reload_names_the_file_of_a_problem(tmp_path: Path, section: str, key: str) -> None:
    file = tmp_path / "shop-keys"
    file.write_text("short")
    config = parse_config(f'[{section}]\n{key} = "{file}"\n', folder=tmp_path)
    with pytest.raises(ConfigError) as caught:
        checked_files(config)
    assert caught.value.problems
    assert all(problem.startswith(f"{file}: ") for problem in caught.value.problems)


@pytest.mark.parametrize("section", ["server", "edge"])
def test_private_key_that_others_may_write_is_refused(tmp_path: Path, section: str) -> None:
    """By a reload, by `gatekeeper check` and at a start."""
    leaf = trustme.CA().issue_cert("one.test")
    pem = tmp_path / "both.pem"
    leaf.private_key_and_cert_chain_pem.write_to_path(pem)
    domains = 'domains = ["one.test"]\n' if section == "edge" else ""
    toml = f'[{section}]\n{domains}tls_cert = "{pem}"\ntls_key = "{pem}"\n'
    pem.chmod(0o602)
    with pytest.raises(ConfigError, match=r"both.pem: every user may write to it \(mode 0602\)"):
        check_files(parse_config(toml, folder=tmp_path))
    pem.chmod(0o644)
    check_files(parse_config(toml, folder=tmp_path))


@pytest.mark.parametrize(
    "url",
    [
        "redis://gate:sesame@store:99999",
        "redis://gate:sesame@[::1",
        "redis://:pa/sesame@store:1",
        "redis://gate:pw@store?db=sesame",
        "redis://gate:pw@store?socket_timeout=sesame",
        "rediss://gate:sesame@store?ssl_ca_certs=/nowhere/ca.pem",
        "rediss://gate:pw@store?ssl_cert_reqs=sesame",
        "redis+sentinel://gate:pw@sentinel/shop?db=sesame",
    ],
)
def test_malformed_store_url_is_one_line_without_its_password(tmp_path: Path, url: str) -> None:
    toml = f'[store]\nurl = "{url}"\n[tokens]\nsecrets = ["{SECRET.decode()}"]\n'
    with pytest.raises(StartError, match=r"^store\.url: (malformed|cannot use a TLS file)") as no:
        check_files(parse_config(toml, folder=tmp_path))
    assert "sesame" not in no.value.public
    assert "\n" not in no.value.public
