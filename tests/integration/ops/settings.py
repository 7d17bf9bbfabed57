"""The configuration of gates that run as processes of their own."""

NOBODY = "http://127.0.0.1:9"  # the discard port: nobody listens there


def settings(origin_url: str = NOBODY, *, server: str = "", more: str = "") -> str:
    """A gate on ports of its own; `server` are more keys of [server], `more` is the rest."""
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
