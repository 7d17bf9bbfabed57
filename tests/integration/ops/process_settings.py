"""The configuration of gates that run as separate processes."""

from tests.builders import SECRET
from tests.patient_store import PATIENCE_S

NOBODY = "http://127.0.0.1:9"  # the discard port, which is closed


def settings(origin_url: str = NOBODY, *, server: str = "", more: str = "") -> str:
    """The TOML of a gate on free ports; `server` has more keys of [server], `more` the rest."""
    return f"""
[server]
listen = "127.0.0.1:0"
shutdown_timeout = "10s"
{server}

[origin]
url = "{origin_url}"

[admin]
listen = "127.0.0.1:0"

{more}
"""


def shared_servers(
    store_url: str, events_url: str = "off", *, timeout: str = f"{PATIENCE_S:g}s"
) -> str:
    """The keys of a replica that shares store, NATS and secret with others."""
    return f"""
[store]
url = "{store_url}"
timeout = "{timeout}"
[events]
url = "{events_url}"
[tokens]
secrets = ["{SECRET.decode()}"]
"""
