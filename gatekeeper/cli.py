"""The command line.

Rules. Errors go to standard error, one readable line each; exit 2 for usage and configuration, 1
for everything else. `serve`, `demo` and `simulate` run something; the rest speak to the admin
listener of a gate that runs, found by the same configuration.
"""

from __future__ import annotations

import json
import os
import secrets as random_secrets
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import click
import uvloop

from gatekeeper import __version__
from gatekeeper.admin.client import AdminClient
from gatekeeper.config.load import load_config
from gatekeeper.config.schema import Config
from gatekeeper.config.secrets import admin_secrets
from gatekeeper.config.types import parse_message
from gatekeeper.errors import ConfigError, GatekeeperError
from gatekeeper.policy.phase import Mode
from gatekeeper.simulate.command import simulate

_DEFAULT_FILE = Path("gatekeeper.toml")

_config = click.option(
    "--config",
    "-c",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file; ./gatekeeper.toml if there is one.",
)
_room = click.option("--room", default="default", show_default=True, help="Which room.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="gatekeeper")
def app() -> None:
    """A virtual waiting room: lets people in, in order, at the rate the site can stand."""


def _load(path: Path | None, **flags: str | None) -> Config:
    if path is None and _DEFAULT_FILE.is_file():
        path = _DEFAULT_FILE
    overrides = {name.replace("__", "."): value for name, value in flags.items() if value}
    return load_config(path, overrides=overrides)


@app.command()
@_config
@click.option("--origin", metavar="URL", help="The site to stand in front of.")
@click.option("--rate", metavar="RATE", help='Such as "500/min" or "8/s".')
@click.option("--listen", metavar="HOST:PORT", help="Where the public comes in.")
def serve(config: Path | None, origin: str | None, rate: str | None, listen: str | None) -> None:
    """Run the gate in front of your site."""
    from gatekeeper.logs import set_up_logging
    from gatekeeper.process.supervisor import Serving
    from gatekeeper.process.supervisor import serve as run

    loaded = _load(config, origin__url=origin, admission__rate=rate, server__listen=listen)
    set_up_logging(process="supervisor")

    def ready(serving: Serving) -> None:
        _say(f"gatekeeper {__version__} at {serving.url} in front of {loaded.origin.url}")
        _say(f"control room at {serving.admin_url}")

    uvloop.run(run(loaded, on_ready=ready))


@app.command()
@click.option("--port", type=click.IntRange(1, 65535), help="Of the gate; 8080 or a free one.")
@click.option(
    "--visitors", type=click.IntRange(0), default=40, show_default=True, help="In line at once."
)
def demo(port: int | None, visitors: int) -> None:
    """Show it all: a sample shop, a gate with a small rate, and a crowd in line."""
    from gatekeeper.demo.show import demo as show

    sys.exit(uvloop.run(show(port=port, visitors=visitors)))


app.add_command(simulate)


@app.command()
@_config
def check(config: Path | None) -> None:
    """Check the configuration, the templates, the certificate and the secrets; name problems."""
    from gatekeeper.logs import set_up_logging
    from gatekeeper.process.supervisor import check_files

    set_up_logging(process="check")
    loaded = _load(config)
    check_files(loaded)
    rooms = ", ".join(f"{room.name} at {room.rate:g}/min" for room in loaded.rooms)
    _say(f"fine: {loaded.origin.url} behind {loaded.server.listen}; {rooms}")


@app.command()
@_config
@_room
@click.option("--state", default="waiting", show_default=True, help="Or held, full, ended, …")
@click.option("--position", default="1284", show_default=True, help="The place in line.")
@click.option("--lang", default="en", show_default=True, help="Such as de, pt-BR, zh-Hant.")
@click.option("--message", default="", help="What the operator says to all.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="A file; else standard output."
)
@click.option(
    "--listen",
    "port",
    is_flag=False,
    flag_value=0,
    type=click.IntRange(0, 65535),
    metavar="[PORT]",
    help="Serve it on 127.0.0.1 instead; ?state= and &lang= show the others.",
)
def preview(
    config: Path | None, room: str, out: Path | None, port: int | None, **wanted: str
) -> None:
    """Render the page of those who wait, in any state, as this configuration makes it."""
    from gatekeeper.logs import set_up_logging
    from gatekeeper.web.preview import preview as show

    set_up_logging(process="preview")
    show(_load(config), room=room, query=wanted, out=out, port=port, say=_say)


@app.command()
def secret() -> None:
    """Make a secret for [tokens], 384 random bits."""
    _say(random_secrets.token_urlsafe(48))


@app.command()
@click.argument("count", type=click.IntRange(1))
@_room
@_config
def allow(count: int, room: str, config: Path | None) -> None:
    """Let COUNT more visitors in, whatever the rate."""
    answer = _admin(config).post("/admin/allow", n=str(count), room=room)
    _say(f"{room}: {answer['granted']} granted, {answer['pending']} pending")


@app.command()
@click.argument("rate")
@_room
@_config
def rate(rate: str, room: str, config: Path | None) -> None:
    """Set the rate from now on: RATE is such as "500/min", "8/s" or 0."""
    answer = _admin(config).post("/admin/rate", rate=rate, room=room)
    _say(_line(answer["rooms"][0]))


@app.command()
@click.argument("mode", type=click.Choice([each.value for each in Mode]))
@_room
@_config
def mode(mode: str, room: str, config: Path | None) -> None:
    """Admit by rate (auto), nobody (hold) or everybody (open); ended: nobody, and pages say so."""
    answer = _admin(config).post("/admin/mode", mode=mode, room=room)
    _say(_line(answer["rooms"][0]))


def _parsed_message(_context: click.Context, _parameter: click.Parameter, text: str) -> str:
    try:
        return parse_message(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@app.command()
@click.argument("text", callback=_parsed_message)
@_room
@_config
def message(text: str, room: str, config: Path | None) -> None:
    """Tell all who wait TEXT, one line of at most 500 characters; "" takes it back."""
    answer = _admin(config).post("/admin/message", text=text, room=room)
    _say(_line(answer["rooms"][0]))


@app.command()
@click.option("--watch", is_flag=True, help="Again every second.")
@click.option("--json", "as_json", is_flag=True, help="As the listener answers.")
@_config
def status(watch: bool, as_json: bool, config: Path | None) -> None:
    """Show the line of every room."""
    admin = _admin(config)
    while True:
        answer = admin.get("/admin/status")
        if as_json:
            _say(json.dumps(answer))
        else:
            for room in answer["rooms"]:
                _say(_line(room))
        if not watch:
            return
        time.sleep(1)


@app.command()
@click.argument("visitor")
@_room
@_config
def revoke(visitor: str, room: str, config: Path | None) -> None:
    """End the session of VISITOR, or take back their place: the id that the origin is told."""
    answer = _admin(config).post("/admin/revoke", visitor=visitor, room=room)
    held = {"slot": "a slot", "place": "a place in line"}.get(answer["held"], "nothing")
    _say(f"{room}: {visitor} held {held}")


@app.command()
@click.option("--limit", default=20, show_default=True, help="How many at most.")
@click.option("--json", "as_json", is_flag=True, help="One object a line, as the file has them.")
@_config
def audit(limit: int, as_json: bool, config: Path | None) -> None:
    """Show who changed what, the newest last."""
    answer = _admin(config).get(f"/admin/audit?limit={limit}")
    for entry in reversed(answer["entries"]):
        _say(json.dumps(entry, ensure_ascii=False) if as_json else _audit_line(entry))


def _admin(config: Path | None) -> AdminClient:
    loaded = _load(config)
    return AdminClient(loaded.admin.listen, token=_own_token(loaded))


def _own_token(config: Config) -> str:
    """`admin.token`, else the first of the file, those first that may change something."""
    secrets = zip(config.admin.tokens, admin_secrets(config), strict=True)
    by_role = {token.role: secret.decode() for token, secret in reversed(list(secrets))}
    return config.admin.token or by_role.get("full") or by_role.get("read", "")


def _audit_line(entry: dict[str, Any]) -> str:
    change = "".join(
        f" {word} {entry[key]!r}" for key, word in (("from", "from"), ("to", "to")) if key in entry
    )
    more = "".join(f" ({entry[key]})" for key in ("visitor", "note") if key in entry)
    outcome = "" if entry["outcome"] == "done" else f": {entry['outcome']}"
    return (
        f"{entry['at']} {entry['who']} at {entry['address']}: {entry['what']}"
        f" {entry.get('room', '')}{change}{outcome}{more}"
    )


def _line(room: dict[str, Any]) -> str:
    limit = f" of {room['max_active']}" if room["max_active"] else ""
    message = f"; told: {room['message']}" if room["message"] else ""
    return (
        f"{room['room']}: {room['mode']}, {room['rate_per_minute']:g}/min, "
        f"{room['queue_length']} in line, {room['active']}{limit} inside, "
        f"{room['released_total']} released, {room['abandoned_total']} left"
        f"{message}"
    )


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201  this is a command line


def _fail(code: int, *lines: str) -> NoReturn:
    for line in lines:
        print(f"gatekeeper: {line}", file=sys.stderr)  # noqa: T201
    sys.exit(code)


def main() -> None:
    """The entry point of the `gatekeeper` command."""
    try:
        sys.exit(app.main(standalone_mode=False) or 0)
    except ConfigError as error:
        _fail(2, *(f"{error.source}: {problem}" for problem in error.problems))
    except GatekeeperError as error:
        _fail(1, error.public)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message())  # noqa: T201
        sys.exit(2)
    except click.ClickException as error:
        _fail(2, error.format_message().replace("\n", " "))
    except click.Abort:
        _fail(130, "interrupted")
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output has had enough; close it before the interpreter tries to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()
