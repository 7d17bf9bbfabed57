"""The configuration of gates that run as separate processes."""

NOBODY = "http://127.0.0.1:9"  # the discard port: closed


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
