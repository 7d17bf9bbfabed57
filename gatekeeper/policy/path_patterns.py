"""The patterns of a rule on a path: globs (`*` within a segment, `**` across segments) and regular
expressions, matched strictly where the rule loosens, and loosely where it tightens.

Rules. Pure. A glob also matches a path without percent-encoding, as its readings have it: `/a%20b`
is `/a b` there. What loosens needs a path to match exactly, and as it came to match as configured.
What tightens matches in any letter case.
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
        # Both: `[^a]` matches "A", and without regard to case it does not.
        in_any_case = [regex_matcher(each, ignore_case=True) for each in regexes]
        self._regexes_in_any_case = [*exact, *in_any_case]
        # What every path that matches begins with; empty where that is unknown.
        literals = tuple(glob.partition("*")[0] for glob in globs)
        self.prefixes = () if regexes or not all(literals) else literals

    def match_as_configured(self, path: str) -> bool:
        return any(matches(path) for matches in self._as_configured)

    def match(self, path: str) -> bool:
        """Whether this reading of a path matches."""
        return self.match_as_configured(path) or any(matches(path) for matches in self._decoded)

    def match_loosely(self, path: str, lowered: str) -> bool:
        """Whether a path, also given in lower case, matches in any letter case."""
        for matches in self._any_case:  # for each rule in turn, and faster than `any`
            if matches(lowered):
                return True
        regexes = self._regexes_in_any_case
        return bool(regexes) and any(matches(path) for matches in regexes)


def _matchers(globs: Iterable[str], literal: Callable[[str], str] = str) -> list[Matcher]:
    return [glob_matcher(glob, separator="/", literal=literal) for glob in globs]


def _decoded_and_lowered(text: str) -> str:
    return decoded_path(text).lower()
