"""The patterns of a rule on a path: globs (`*` within a segment, `**` across segments) and regular
expressions, matched strictly if the rule loosens, and loosely if it tightens.

Rules. Pure. A glob also matches the decoded readings of a path: `/a%20b` also matches `/a b`. A
rule that loosens needs every reading to match exactly, and the original path to match as
configured. A rule that tightens matches in any letter case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gatekeeper.config.patterns import Matcher, glob_matcher, regex_matcher
from gatekeeper.policy.readings import decoded_path


class PathPatterns:
    """Patterns of which a path has to match one."""

    __slots__ = ("_any_case", "_as_configured", "_decoded", "_regexes_in_any_case", "prefixes")

    def __init__(self, globs: Iterable[str], regexes: Iterable[str]) -> None:
        globs, regexes = tuple(globs), tuple(regexes)
        encoded = [glob for glob in globs if "%" in glob]
        exact = [regex_matcher(each) for each in regexes]
        self._as_configured = [*_matchers(globs), *exact]
        self._decoded = _matchers(encoded, decoded_path)
        self._any_case = [*_matchers(globs, str.lower), *_matchers(encoded, _decoded_and_lowered)]
        # Both variants: `[^a]` matches "A" with case, and does not without.
        in_any_case = [regex_matcher(each, ignore_case=True) for each in regexes]
        self._regexes_in_any_case = [*exact, *in_any_case]
        # The common prefixes of all matching paths; empty if unknown.
        literals = tuple(glob.partition("*")[0] for glob in globs)
        self.prefixes = () if regexes or not all(literals) else literals

    def match_as_configured(self, path: str) -> bool:
        return any(matches(path) for matches in self._as_configured)

    def match(self, path: str) -> bool:
        """Whether this reading of a path matches."""
        return self.match_as_configured(path) or any(matches(path) for matches in self._decoded)

    def match_loosely(self, path: str, lowered: str) -> bool:
        """Whether a path, also given in lower case, matches in any letter case."""
        for matches in self._any_case:  # runs for each rule, and is faster than `any`
            if matches(lowered):
                return True
        regexes = self._regexes_in_any_case
        return bool(regexes) and any(matches(path) for matches in regexes)


def _matchers(globs: Iterable[str], literal: Callable[[str], str] = str) -> list[Matcher]:
    return [glob_matcher(glob, separator="/", literal=literal) for glob in globs]


def _decoded_and_lowered(text: str) -> str:
    return decoded_path(text).lower()
