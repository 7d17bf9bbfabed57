"""A sorted set in memory."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping
from operator import itemgetter

_score = itemgetter(0)


class ZSet(dict[str, float]):
    """Member to score, with the members in order, so that a rank needs no scan."""

    def __init__(self, scores: Mapping[str, float] | None = None) -> None:
        super().__init__()
        self._order: list[tuple[float, bytes, str]] = []
        for member, score in (scores or {}).items():
            self[member] = score

    def __deepcopy__(self, _memo: object) -> "ZSet":
        return ZSet(self)

    def __setitem__(self, member: str, score: float) -> None:
        self.drop(member)
        super().__setitem__(member, score)
        insort(self._order, (score, member.encode(), member))

    def drop(self, member: str) -> bool:
        """Whether the member was there."""
        score = super().pop(member, None)
        if score is None:
            return False
        del self._order[bisect_left(self._order, (score, member.encode(), member))]
        return True

    def rank(self, member: str) -> int:
        return bisect_left(self._order, (self[member], member.encode(), member))

    def in_order(self, first: int = 0, last: int | None = None) -> list[tuple[str, float]]:
        """Members with scores, from rank `first` to before `last`."""
        return [(member, score) for score, _, member in self._order[first:last]]

    def ranks(
        self, least: float, limit: float, *, least_out: bool, most_out: bool
    ) -> tuple[int, int]:
        """The first rank within two scores, and the first one after them."""
        below = bisect_right if least_out else bisect_left
        upto = bisect_left if most_out else bisect_right
        return below(self._order, least, key=_score), upto(self._order, limit, key=_score)
