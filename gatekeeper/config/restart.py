"""The keys whose change requires a restart.

Rules. A key is listed in `_RELOADED` if a reload applies it; any other key of a section requires a
restart. Rooms, rules and events are reloaded as a whole. A value that may contain a password is not
shown.
"""

from __future__ import annotations

from gatekeeper.config.problems import shown
from gatekeeper.config.schema import Config
from gatekeeper.config.section import Section

_RELOADED = {
    "server": {
        "trusted_proxies",
        "tls_cert",
        "tls_key",
        "shutdown_timeout",
        "default_rules",
        "templates",
        "static",
    },
    "edge": {"domains", "email", "acme_ca", "acme_ca_root", "tls_cert", "tls_key"},
    "tokens": {
        "secret_file",
        "secrets",
        "cookie",
        "same_site",
        "partitioned",
        "cookie_domain",
    },
    "admin": {"token", "tokens"},
}
_WHOLE = frozenset({"rooms", "rules", "schedule"})


def restart_problems(running: Config, new: Config) -> list[str]:
    """The changes that a reload cannot apply, each as a problem with its path."""
    problems = []
    for name in Config.model_fields.keys() - _WHOLE:
        before, after = getattr(running, name), getattr(new, name)
        assert isinstance(before, Section)
        problems += [
            f"{name}.{key}: {_change(before, after, key)} requires a restart; expected "
            f"{_expected(before, key)} until then"
            for key in type(before).model_fields
            if key not in _RELOADED.get(name, ()) and getattr(before, key) != getattr(after, key)
        ]
    if running.server.tls != new.server.tls:
        change = "a certificate" if new.server.tls else "no certificate"
        problems.append(
            f"server.tls_cert: {change} requires a restart; expected HTTP"
            f"{'S' if running.server.tls else ' without TLS'} until then"
        )
    if running.edge.is_on != new.edge.is_on:
        change = "the first domain" if new.edge.is_on else "no domain"
        expected = ", ".join(running.edge.domains) or "none"
        problems.append(
            f"edge.domains: {change} requires a restart; expected {expected} until then"
        )
    elif running.listens != new.listens:
        change = "its own port next to the edge" if new.listens else "no port next to the edge"
        expected = running.server.listen if running.listens else "none"
        problems = [each for each in problems if not each.startswith("server.listen: ")]
        problems.append(
            f"server.listen: {change} requires a restart; expected {expected} until then"
        )
    return sorted(problems)


def _change(before: Section, after: Section, key: str) -> str:
    return f"{shown(getattr(after, key))}" if _is_shown(before, key) else "another value"


def _expected(before: Section, key: str) -> str:
    return f"{shown(getattr(before, key))}" if _is_shown(before, key) else "the value at the start"


def _is_shown(section: Section, key: str) -> bool:
    return type(section).model_fields[key].repr
