"""A request as rules and rooms match it: its facts, and the readings of its path and query.

Rules. Pure. Results are cached for the next rules.
"""

from __future__ import annotations

from gatekeeper.config.types import RoomName
from gatekeeper.policy.facts import RequestFacts
from gatekeeper.policy.parameters import parameter_values
from gatekeeper.policy.readings import (
    PathReadings,
    beyond_authority,
    host_labels,
    path_readings,
    queries_in_path,
)


class RequestReadings:
    """A request, with the readings of its path computed lazily and once.

    Its request line may differ from that of the facts, which are of an earlier request on the same
    connection.
    """

    __slots__ = (
        "_beyond",
        "_found_queries",
        "_labels",
        "_loose_paths",
        "_readings",
        "_values",
        "facts",
        "method",
        "rooms",
        "target",
    )

    def __init__(
        self, facts: RequestFacts, *, method: str | None = None, target: str | None = None
    ) -> None:
        self.facts = facts
        self.method = facts.method if method is None else method
        self.target = facts.target if target is None else target
        self._readings: PathReadings | None = None
        self._beyond: tuple[str, ...] | None = None
        self._labels: tuple[str, ...] | None = None
        self._loose_paths: dict[str, str] | None = None
        self._found_queries: tuple[str, ...] | None = None
        self.rooms: set[RoomName | None] | None = None  # set by the router
        self._values: dict[tuple[str, bool], tuple[str, ...]] = {}

    @property
    def readings(self) -> PathReadings:
        """The readings of the path. Raises TooManyReadings."""
        if self._readings is None:
            self._readings = path_readings(self.target)
        return self._readings

    @property
    def paths(self) -> tuple[str, ...]:
        """The distinct readings of the path."""
        return self.readings.paths

    @property
    def paths_beyond_authority(self) -> tuple[str, ...]:
        """The readings of the path after `//host`; they tighten if no other reading does."""
        if self._beyond is None:
            path = beyond_authority(self.target)
            self._beyond = () if path is None else path_readings(path).paths
        return self._beyond

    @property
    def loose_paths(self) -> dict[str, str]:
        """The readings for tightening rules: all readings, with and without the trailing slash,
        which Express and other origins ignore; each as a pair with its lower-case form."""
        if self._loose_paths is None:
            found: dict[str, str] = {}
            for path in (*self.paths, *self.paths_beyond_authority):
                found[path] = path.lower()
                other = path[:-1] if path.endswith("/") else f"{path}/"
                if other:
                    found[other] = other.lower()
            self._loose_paths = found
        return self._loose_paths

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the Host."""
        if self._labels is None:
            self._labels = host_labels(self.facts.client.host)
        return self._labels

    def values(self, parameter: str, *, every: bool) -> tuple[str, ...]:
        """The values of a parameter of the query, in every reading of its name and value; with
        `every` none unless the plain reading has it. Raises TooManyValues."""
        if "?" not in self.target and "%" not in self.target:
            return ()
        key = (parameter, every)
        if key not in self._values:
            query, *others = self._queries
            values = parameter_values(query, parameter, every=every)
            if values or not every:
                for other in others:
                    values += parameter_values(other, parameter, every=False)
            self._values[key] = values
        return self._values[key]

    @property
    def _queries(self) -> tuple[str, ...]:
        """The original query, then those that an origin may find in the path."""
        if self._found_queries is None:
            query = self.target.partition("?")[2].partition("#")[0]
            self._found_queries = (query, *queries_in_path(self.target))
        return self._found_queries
