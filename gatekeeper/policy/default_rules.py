"""The default rules: requests that crawlers, browsers and certificate authorities make by
themselves.

Rules. They follow the operator's rules, and can be switched off (`server.default_rules`). A rule on
a path yields to the parameter of a room, since an origin may run the same program at any path.
"""

from __future__ import annotations

from collections.abc import Iterable

from gatekeeper.config.rule_schema import RuleConfig
from gatekeeper.policy.access import (
    AccessRule,
    Condition,
    FieldCondition,
    NamedValue,
    PathCondition,
)
from gatekeeper.policy.methods import MethodCondition
from gatekeeper.policy.preflight import PreflightCondition

_OPTIONS = frozenset({"OPTIONS"})
_READS = MethodCondition(frozenset({"GET", "HEAD"}))
_PREFLIGHT = (NamedValue("Origin"), NamedValue("Access-Control-Request-Method"))


def _path_rule(name: str, *conditions: Condition) -> AccessRule:
    return AccessRule(name, "bypass", conditions, yields_to_parameters=True)


DEFAULT_RULES = (
    AccessRule(
        "cors-preflight",
        "bypass",
        (MethodCondition(_OPTIONS), FieldCondition(_PREFLIGHT), PreflightCondition()),
    ),
    _path_rule("well-known", PathCondition(("/.well-known/**",))),
    _path_rule("robots", _READS, PathCondition(("/robots.txt",))),
    _path_rule("favicon", _READS, PathCondition(("/favicon.ico",))),
)


def access_rules(rules: Iterable[RuleConfig], *, default_rules: bool) -> tuple[AccessRule, ...]:
    """The rules in force, in order: the operator's, then the default ones."""
    return (*map(AccessRule.of, rules), *(DEFAULT_RULES if default_rules else ()))
