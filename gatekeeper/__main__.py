"""The command `gatekeeper`, also as `python -m gatekeeper` where it is not on PATH.

Rules. SIGHUP is blocked before anything is imported. It would end a gate that is starting, which
takes a second or two: a service manager counts the gate as running by then, and may already reload
it.
"""

import signal


def main() -> None:
    """The entry point. A SIGHUP is pending from here on, until the gate serves."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    from gatekeeper.cli import main as command_line

    command_line()


if __name__ == "__main__":
    main()
