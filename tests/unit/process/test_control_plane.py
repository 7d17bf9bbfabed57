"""The admin tokens of a configuration, and the error of an address that cannot be bound."""

from pathlib import Path

from gatekeeper.process.control_plane import cannot_listen, credentials
from tests.builders import parse_config

SECRETS = ["first secret of the tests, with 32 bytes", "second secret of the tests, with 32 bytes"]


def test_configuration_without_tokens_has_no_credentials(tmp_path: Path) -> None:
    assert credentials(parse_config("", folder=tmp_path)) == []


def test_single_token_is_the_full_admin_and_comes_first(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRETS[1] + "\n")
    config = parse_config(
        f"""
        [admin]
        token = "{SECRETS[0]}"
        [[admin.tokens]]
        name = "olga"
        secret_file = "{tmp_path}/secret"
        [[admin.tokens]]
        name = "otto"
        role = "full"
        secret = "{SECRETS[0]} too"
        """,
        folder=tmp_path,
    )
    found = [(each.principal.name, each.principal.role) for each in credentials(config)]
    assert found == [("admin", "full"), ("olga", "read"), ("otto", "full")]


def test_cannot_listen_names_key_address_and_remedy() -> None:
    error = cannot_listen("127.0.0.1:80", PermissionError(13, "denied"), key="server.listen")
    assert error.public == (
        "server.listen: cannot listen on 127.0.0.1:80: denied; "
        "stop the program that uses the port, or set another server.listen"
    )
