"""The errors of the whole program.

Rules: a `GatekeeperError` has a public message for operators and visitors, and a private cause
(`__cause__`) for the log. Adapters translate library errors at their own boundary with
`raise … from`. Only `web` chooses an HTTP status, and only `cli` an exit code. Expected outcomes
(a full room, a forged token) are values, not errors.

A message that a person may read on a page is marked by `N_` where it is defined.
"""


def N_(message: str) -> str:  # noqa: N802  as gettext's users know it
    """Mark a message for translation; it is translated where it is shown."""
    return message


class GatekeeperError(Exception):
    """An error with a public message of one line."""

    def __init__(self, public: str) -> None:
        super().__init__(public)
        self.public = public


class ConfigError(GatekeeperError):
    """The configuration is invalid; `problems` has every problem, each with its path."""

    def __init__(self, problems: list[str], *, source: str = "configuration") -> None:
        super().__init__(f"{source}: " + "; ".join(problems))
        self.problems = problems
        self.source = source

    @property
    def located(self) -> list[str]:
        """Every problem with its source in front, for readers who do not know the file."""
        return [f"{self.source}: {problem}" for problem in self.problems]


class StartError(GatekeeperError):
    """A process cannot start: a port in use, an unreachable server, a missing binary."""


class StoreError(GatekeeperError):
    """The store did not respond in time, or returned an error."""


class OriginError(GatekeeperError):
    """The origin sent no usable response, and nothing was sent to the client yet."""


class OriginUnreachable(OriginError):
    """No connection: refused, reset while connecting, unknown name, or a failed TLS handshake."""


class OriginTimeout(OriginError):
    """Connecting exceeded `connect_timeout`, or a pause of the origin exceeded `read_timeout`."""


class OriginProtocolError(OriginError):
    """The origin closed early, or its response violates RFC 9112."""


class NotFound(GatekeeperError):
    """There is no such event or visitor."""


class Conflict(GatekeeperError):
    """The state of a room does not allow the requested change."""


class BadRequest(GatekeeperError):
    """The client sent a request that must not be forwarded; `status` is 400, 408, 413,
    415, 417 or 431."""

    def __init__(self, public: str, *, status: int = 400) -> None:
        super().__init__(public)
        self.status = status
