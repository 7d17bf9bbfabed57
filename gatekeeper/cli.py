"""The command line.

Rules. Errors go to standard error, one line each; exit 2 for usage and configuration, 1 for
everything else; `verify-draw` has 3 for a record that is verified in part. `serve`, `demo`,
`simulate` and `preview` run something. The other commands call the admin listener of a running
gate, found through the same configuration; a value is checked before the gate is called.
"""

from __future__ import annotations

import json
import os
import secrets as random_secrets
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import NoReturn

import click
import uvloop

from gatekeeper import __version__
from gatekeeper.admin.command_options import (
    admin_client,
    checked,
    config_option,
    each_checked,
    load_file,
    room_option,
)
from gatekeeper.admin.console import audit_line, room_line
from gatekeeper.admin.edge_status import edge_lines
from gatekeeper.admin.event_commands import event
from gatekeeper.admin.invite_command import invite
from gatekeeper.admin.report_command import report
from gatekeeper.admin.setting_commands import message, mode, rate, set_settings, settings
from gatekeeper.admin.support_commands import admit, find, revoke
from gatekeeper.config.schema import Config
from gatekeeper.errors import ConfigError, GatekeeperError
from gatekeeper.policy.check_warnings import check_warnings
from gatekeeper.policy.explain import (
    explain_request,
    parse_client_address,
    parse_header,
    parse_method,
    parse_request_url,
)
from gatekeeper.printable import printable
from gatekeeper.simulate.command import simulate
from gatekeeper.simulate.draw_command import verify_draw


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="gatekeeper")
@click.pass_context
def app(context: click.Context) -> None:
    """Virtual waiting room: admits visitors in order, at the rate your site can take."""
    if context.invoked_subcommand != "serve":  # these end with their terminal, see `__main__`
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


@app.command()
@config_option
@click.option("--origin", metavar="URL", help="URL of the site to protect.")
@click.option(
    "--domain",
    "domains",
    multiple=True,
    metavar="DOMAIN",
    help="Serve this domain over HTTPS, on the ports 80 and 443. May be repeated.",
)
@click.option("--rate", metavar="RATE", help='Admission rate, e.g. "500/min" or "8/s".')
@click.option("--listen", metavar="HOST:PORT", help="Address of the public listener.")
def serve(
    config: Path | None,
    domains: tuple[str, ...],
    origin: str | None,
    rate: str | None,
    listen: str | None,
) -> None:
    """Run the waiting room in front of your site."""
    from gatekeeper.logs import set_up_logging
    from gatekeeper.process.supervisor import RunningGate
    from gatekeeper.process.supervisor import serve as run

    flags = {"origin__url": origin, "admission__rate": rate, "server__listen": listen}
    if domains:
        flags["edge__domains"] = json.dumps(domains)
    load = partial(load_file, config, **flags)
    loaded = load()
    set_up_logging(process="supervisor")

    def print_addresses(serving: RunningGate) -> None:
        _echo(f"gatekeeper {__version__} at {serving.url} in front of {_origin(loaded)}")
        _echo(f"control room at {serving.admin_url}")

    uvloop.run(run(loaded, on_ready=print_addresses, load=load))


@app.command()
@click.option(
    "--port", type=click.IntRange(1, 65535), help="Port of the gate. Default: 8080, or a free port."
)
@click.option(
    "--visitors",
    type=click.IntRange(0),
    default=40,
    show_default=True,
    help="Simulated visitors that wait at the same time.",
)
@click.option(
    "--event",
    is_flag=True,
    help="A sale that opens in 40 seconds: prequeue, countdown, draw, opening.",
)
def demo(port: int | None, visitors: int, event: bool) -> None:
    """Run a sample shop, a gate and simulated visitors."""
    from gatekeeper.demo.show import demo as show

    sys.exit(uvloop.run(show(port=port, visitors=visitors, event=event)))


app.add_command(simulate)
app.add_command(verify_draw)
app.add_command(event)
for _each in (rate, mode, message, set_settings, settings, find, admit, revoke, report, invite):
    app.add_command(_each)


@app.command()
@config_option
def check(config: Path | None) -> None:
    """Check the configuration and the files that it names.

    Lists every problem: in keys, templates, certificates and secrets. Warns of paths that the
    origin may also serve under another spelling, outside the room; of a limit by address that would
    count all visitors behind a proxy as one; of a challenge whose proof is valid for any host; and
    of a rate that autotune changes at once, or never.
    """
    from gatekeeper.logs import set_up_logging
    from gatekeeper.process.supervisor import check_files

    set_up_logging(process="check")
    loaded = load_file(config)
    check_files(loaded)
    for warning in check_warnings(loaded):
        print(f"gatekeeper: warning: {printable(warning)}", file=sys.stderr)  # noqa: T201
    rooms = ", ".join(f"{room.name} at {room.rate:g}/min" for room in loaded.rooms)
    places = [*loaded.edge.domains, *([loaded.server.listen] if loaded.listens else [])]
    _echo(f"ok: {_origin(loaded)} behind {', '.join(places)}; {rooms}")


@app.command()
@config_option
@room_option
@click.option(
    "--state",
    default="waiting",
    show_default=True,
    help="State of the page, e.g. waiting, held, full or ended.",
)
@click.option("--position", default="1284", show_default=True, help="Position in the queue.")
@click.option("--lang", default="en", show_default=True, help="Language, e.g. de, pt-BR, zh-Hant.")
@click.option("--message", default="", help="Message of the operator.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Output file. Default: standard output.",
)
@click.option(
    "--listen",
    "port",
    is_flag=False,
    flag_value=0,
    type=click.IntRange(0, 65535),
    metavar="[PORT]",
    help="Serve the page on 127.0.0.1; ?state= and &lang= select state and language.",
)
def preview(
    config: Path | None, room: str, out: Path | None, port: int | None, **wanted: str
) -> None:
    """Render the waiting page of this configuration, in any state."""
    from gatekeeper.logs import set_up_logging
    from gatekeeper.web.preview import preview as show

    set_up_logging(process="preview")
    write = partial(print, flush=True)
    show(load_file(config), room=room, query=wanted, out=out, port=port, say=_echo, write=write)


@app.command()
def secret() -> None:
    """Generate a secret for [tokens] or [admin]. It has 384 random bits."""
    _echo(random_secrets.token_urlsafe(48))


@app.command()
@click.argument("count", type=click.IntRange(1))
@room_option
@config_option
def allow(count: int, room: str, config: Path | None) -> None:
    """Admit COUNT more visitors, in addition to the rate."""
    response = admin_client(config).post("/admin/allow", n=str(count), room=room)
    _echo(f"{room}: {response['granted']} granted, {response['pending']} pending")


@app.command()
@config_option
def reload(config: Path | None) -> None:
    """Read the configuration file again.

    A file with a problem changes nothing.
    """
    response = admin_client(config).post("/admin/reload")
    _echo(f"reloaded: rooms {', '.join(response['rooms'])}; {len(response['rules'])} rules")


@app.command()
@click.option("--watch", is_flag=True, help="Repeat every second.")
@click.option("--json", "as_json", is_flag=True, help="Print the JSON of the admin API.")
@config_option
def status(watch: bool, as_json: bool, config: Path | None) -> None:
    """Show mode, rate and figures of every room.

    Where the gate is the edge, also its certificates.
    """
    admin = admin_client(config)
    while True:
        response = admin.get("/admin/status")
        if as_json:
            _echo(json.dumps(response))
        else:
            for room in response["rooms"]:
                _echo(room_line(room))
            for line in edge_lines(response["edge"]) if "edge" in response else ():
                _echo(line)
        if not watch:
            return
        time.sleep(1)


@app.command()
@click.option("--limit", default=20, show_default=True, help="Maximum number of entries.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line, as in the file.")
@config_option
def audit(limit: int, as_json: bool, config: Path | None) -> None:
    """Show the changes that operators made, newest last."""
    response = admin_client(config).get(f"/admin/audit?limit={limit}")
    for entry in reversed(response["entries"]):
        _echo(json.dumps(entry, ensure_ascii=False) if as_json else audit_line(entry))
    if not response["entries"]:
        click.echo("no entries", err=True)


@app.command()
@click.option("--json", "as_json", is_flag=True, help="Print the JSON of the admin API.")
@config_option
def rules(as_json: bool, config: Path | None) -> None:
    """Show the rules in force, in order.

    With the number of requests that each rule has decided.
    """
    response = admin_client(config).get("/admin/rules")
    if as_json:
        _echo(json.dumps(response))
        return
    for rule in response["rules"]:
        default = " (default rule)" if rule["default"] else ""
        decided = f"{rule['conditions']}, {rule['matches']} matches"
        _echo(f"{rule['name']}: {rule['action']} {decided}{default}")
    if not response["rules"]:
        click.echo("no rules", err=True)


@app.command()
@click.argument("method", callback=checked(parse_method))
@click.argument("url", callback=checked(parse_request_url))
@click.option(
    "-H",
    "--header",
    "headers",
    multiple=True,
    metavar="'NAME: VALUE'",
    callback=each_checked(parse_header),
    help="A header field.",
)
@click.option(
    "--client",
    default="192.0.2.1",
    show_default=True,
    callback=checked(parse_client_address),
    help="Address of the client.",
)
@config_option
def explain(
    method: str, url: str, headers: tuple[str, ...], client: str, config: Path | None
) -> None:
    """Show which rule or room a request meets, and why.

    Example: gatekeeper explain GET https://shop.example.com/checkout/

    Reads the configuration file; no running gate is needed.
    """
    for line in explain_request(load_file(config), method, url, headers=headers, client=client):
        _echo(line)


def _origin(config: Config) -> str:
    return "no origin (forward auth only)" if config.origin.is_none else config.origin.url


def _echo(text: str) -> None:
    print(printable(text), flush=True)  # noqa: T201  this is a command line


def _fail(code: int, *lines: str) -> NoReturn:
    for line in lines:
        print(f"gatekeeper: {printable(line)}", file=sys.stderr)  # noqa: T201
    sys.exit(code)


def main() -> None:
    """The entry point of the `gatekeeper` command."""
    try:
        sys.exit(app.main(standalone_mode=False) or 0)
    except ConfigError as error:
        _fail(2, *error.located)
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
        # The reader closed the pipe. Replace it, or the interpreter fails to flush it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()
