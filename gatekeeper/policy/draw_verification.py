"""Verifies the record of a draw with the list of its participants.

Rules. Pure. The record is not trusted: every turn is recomputed. The list is verified line by line,
in constant memory; the number of reported problems is bounded.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from gatekeeper.policy.draw import LaneSpan, commitment_of, hashed_turn_us, id_hash
from gatekeeper.policy.draw_record import HASH, DrawRecord
from gatekeeper.policy.tokens import is_visitor_id

_LINE: Final = re.compile(r"([0-9a-f]{64})(?: ([a-z0-9_-]+))?")
_LINES_SHOWN: Final = 5  # maximum number of reported bad lines; further ones are counted


@dataclass(frozen=True, slots=True)
class VisitorPlace:
    """The place of one participant in the drawn order."""

    id_hash: str
    turn_us: int
    lane: str  # "": none
    place: int | None  # from 1; equal turns have the same place; None: there is no list


class DrawVerification:
    """Verifies a drawn record: `line` for each line of participants, then `problems`.

    `visitor` is a visitor id or its hash; `turn_us` is the turn that the visitor was shown.
    `commitment` is the one that was published before the start, as the caller noted it. Without a
    list (`has_list`), participants are not verified.
    """

    def __init__(
        self,
        record: DrawRecord,
        *,
        visitor: str = "",
        turn_us: int | None = None,
        commitment: str = "",
        has_list: bool = True,
    ) -> None:
        self.has_list = has_list
        self._record = record
        self._seed = record.seed
        self._visitor = _hash_of(visitor) if visitor else ""
        self._turn_us = turn_us
        self._noted_commitment = commitment.lower()
        self._count = 0
        self._before = ""
        self._spans: dict[str, LaneSpan] = {each.lane: each for each in record.lanes}
        # The visitor's turn in each possible lane, and how many participants have an earlier turn.
        lanes = ("", *self._spans) if self._visitor else ()
        self._own_us = {lane: self._turn_of(self._visitor, lane) for lane in lanes}
        self._ahead = dict.fromkeys(self._own_us, 0)
        self._lane: str | None = None  # as listed
        self._bad_lines: list[str] = []
        self._bad_count = 0

    def line(self, line: str) -> None:
        """The next line of the list of participants, without its line feed."""
        self._count += 1
        match = _LINE.fullmatch(line)
        if match is None:
            self._bad_line(f"{line[:80]!r} is not a hash; expected 64 lower-case hex digits")
            return
        hashed, lane = match[1], match[2] or ""
        if hashed == self._before:
            self._bad_line("the same hash as the line before; expected each participant once")
        elif hashed < self._before:
            self._bad_line("not in ascending order")
        self._before = hashed
        if lane and lane not in self._spans:
            self._bad_line(f'no lane "{lane}" in the record')
            return
        if self._visitor and self._seed is not None:
            if hashed == self._visitor:
                self._lane = lane
            turn_us = self._turn_of(hashed, lane)
            for own_lane, own_us in self._own_us.items():
                self._ahead[own_lane] += turn_us < own_us

    @property
    def count(self) -> int:
        """The lines seen so far."""
        return self._count

    def problems(self) -> list[str]:
        """All problems, one line each; empty: the draw is verified."""
        record = self._record
        if record.state != "drawn" or record.secret is None:
            return ["state: the draw has not taken place yet; only the commitment is public"]
        found = []
        if commitment_of(bytes.fromhex(record.secret)) != record.commitment:
            found.append(
                f"secret: its SHA-256 is {hashlib.sha256(bytes.fromhex(record.secret)).hexdigest()}"
                f"; expected the commitment {record.commitment}"
            )
        if self._noted_commitment and self._noted_commitment != record.commitment:
            found.append(
                f"commitment: {record.commitment} now; expected {self._noted_commitment}, "
                "as noted before the start"
            )
        if self.has_list:
            found += self._list_problems()
        return found + self._visitor_problems()

    def place(self) -> VisitorPlace | None:
        """The visitor's place; None: no visitor was given, or it is not a participant."""
        if not self._visitor or (self.has_list and self._lane is None):
            return None
        lane = self._own_lane()
        place = self._ahead[lane] + 1 if self.has_list else None
        return VisitorPlace(self._visitor, self._own_us[lane], lane, place)

    def _own_lane(self) -> str:
        """The visitor's lane in the list; without a list, the lane of the turn that the visitor was
        shown, if any."""
        if self._lane is not None:
            return self._lane
        return next((lane for lane, us in self._own_us.items() if us == self._turn_us), "")

    def _list_problems(self) -> list[str]:
        found = list(self._bad_lines)
        if self._bad_count > len(found):
            more = self._bad_count - len(found)
            found.append(f"participants: {more} more bad line{'' if more == 1 else 's'}")
        if self._count != self._record.participants:
            found.append(
                f"participants: {self._count} lines; expected {self._record.participants} as "
                "recorded"
            )
        return found

    def _visitor_problems(self) -> list[str]:
        if not self._visitor:
            return []
        found = []
        if self.has_list and self._lane is None:
            found.append(f"visitor: {self._visitor} is not among the participants")
        own_us = self._own_us[self._own_lane()]
        if self._turn_us is not None and self._turn_us != own_us:
            found.append(f"visitor: turn {self._turn_us}; expected {own_us}")
        return found

    def _turn_of(self, hashed: str, lane: str) -> int:
        if self._seed is None:
            return 0
        if lane:
            return self._spans[lane].turn_us(self._seed, bytes.fromhex(hashed))
        return hashed_turn_us(
            self._seed,
            bytes.fromhex(hashed),
            start_us=self._record.start_us,
            span_us=self._record.span_us,
        )

    def _bad_line(self, problem: str) -> None:
        self._bad_count += 1
        if len(self._bad_lines) < _LINES_SHOWN:
            self._bad_lines.append(f"participants: line {self._count}: {problem}")


def is_visitor(text: str) -> bool:
    """Whether `text` is a visitor id or the hash of one."""
    return is_visitor_id(text) or HASH.fullmatch(text) is not None


def _hash_of(visitor: str) -> str:
    return visitor if HASH.fullmatch(visitor) else id_hash(visitor).hex()
