"""Options shared by the commands: the configuration file, the room, and the gate that they call.

Rules. A command finds the gate by the configuration that the gate itself reads. A value is checked
before the gate is called.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from gatekeeper.admin.api_client import AdminClient
from gatekeeper.config.load import load_config
from gatekeeper.config.schema import Config
from gatekeeper.config.secrets import admin_secrets

_DEFAULT_FILE = Path("gatekeeper.toml")

config_option = click.option(
    "--config",
    "-c",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Configuration file. Default: ./gatekeeper.toml, if it exists.",
)
room_option = click.option("--room", default="default", show_default=True, help="Name of the room.")


def load_file(path: Path | None, **flags: str | None) -> Config:
    """The configuration of a file; a flag `origin__url` overrides the key `origin.url`."""
    if path is None and _DEFAULT_FILE.is_file():
        path = _DEFAULT_FILE
    overrides = {name.replace("__", "."): value for name, value in flags.items() if value}
    return load_config(path, overrides=overrides)


def admin_client(config: Path | None) -> AdminClient:
    """The client of the gate that a configuration file describes."""
    loaded = load_file(config)
    return AdminClient(loaded.admin.listen, token=_own_token(loaded))


def _own_token(config: Config) -> str:
    """`admin.token`, else the first of [[admin.tokens]] with role "full", else with "read"."""
    secrets = zip(config.admin.tokens, admin_secrets(config), strict=True)
    by_role = {token.role: secret.decode() for token, secret in reversed(list(secrets))}
    return config.admin.token or by_role.get("full") or by_role.get("read", "")


def checked(parse: Callable[[str], object]) -> Callable[..., str]:
    """An option callback that validates a text by `parse`, and returns it unchanged."""

    def check(_context: click.Context, _parameter: click.Parameter, text: str) -> str:
        try:
            parse(text)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error
        return text

    return check


def each_checked(parse: Callable[[str], object]) -> Callable[..., tuple[str, ...]]:
    """Like `checked`, for a repeatable option."""
    check = checked(parse)

    def check_each(
        context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]
    ) -> tuple[str, ...]:
        return tuple(check(context, parameter, text) for text in texts)

    return check_each
