"""The errors of the whole program.

Rules: a `GatekeeperError` has a public message, which may be shown to anyone, and a private
cause (`__cause__`), which goes to the log only. Adapters translate library errors at their own
boundary with `raise … from`; only `web` chooses an HTTP status and only `cli` an exit code.
Expected outcomes (a full room, a forged token) are values, not errors.
"""


class GatekeeperError(Exception):
    """Something went wrong that a person can be told in one line."""

    def __init__(self, public: str) -> None:
        super().__init__(public)
        self.public = public


class ConfigError(GatekeeperError):
    """The configuration is wrong; `problems` names every mistake, each with its path."""

    def __init__(self, problems: list[str], *, source: str = "configuration") -> None:
        super().__init__(f"{source}: " + "; ".join(problems))
        self.problems = problems
        self.source = source


class StartError(GatekeeperError):
    """A process cannot start: a port in use, a server that does not answer, a missing binary."""


class StoreError(GatekeeperError):
    """The store did not respond in time, or returned an error."""


class EventsError(GatekeeperError):
    """The event bus is out of reach."""


class OriginError(GatekeeperError):
    """The origin gave no usable answer, and nothing of one was sent to the client yet."""


class OriginUnreachable(OriginError):
    """No connection: refused, reset while connecting, unknown name, or a failed TLS handshake."""


class OriginTimeout(OriginError):
    """Connecting took longer than `connect_timeout`, or a silence longer than `read_timeout`."""


class OriginProtocolError(OriginError):
    """The origin closed early or sent what RFC 9112 does not allow."""


class BadRequest(GatekeeperError):
    """The client sent a request that must not be forwarded; `status` is 400, 413, 417 or 431."""

    def __init__(self, public: str, *, status: int = 400) -> None:
        super().__init__(public)
        self.status = status
