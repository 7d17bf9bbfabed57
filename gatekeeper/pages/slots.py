"""What a page holds of one visitor, as its template sees it while it is rendered for all of them.

Rules: a `Slot` can be printed, formatted, compared and counted. Printing leaves a mark to be
filled later; what is asked of it is written down, since whoever gets another answer needs another
page. To compute with it raises `Computed`: such a template is rendered for each visitor.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from markupsafe import Markup

# Noncharacters (Unicode 23.7): in no text that people exchange, and unchanged by escaping.
_OPEN, _CLOSE = "\ufdd0", "\ufdd1"

Value = int | float | str
Values = Mapping[str, Value | None]
# The name of a value, what is done with it, and with what.
Question = tuple[str, Callable[[Any, Any], Any], object]


def has_mark(*texts: str) -> bool:
    """Whether a text that is no slot's looks like one's."""
    return any(_OPEN in text or _CLOSE in text for text in texts)


class Computed(Exception):
    """The template computes with a value of the visitor's."""


@dataclass(slots=True)
class Sheet:
    """One rendering with slots: what was asked of them, and what each mark is to be filled with."""

    questions: list[Question] = field(default_factory=list)
    fills: list[tuple[str, bool]] = field(default_factory=list)  # a name, and whether formatted

    def slots(self, values: Values) -> dict[str, Slot | None]:
        """None stays None: a template may know that nobody knows."""
        return {
            name: None if value is None else Slot(self, name, value)
            for name, value in values.items()
        }

    def mark(self, name: str, *, formatted: bool) -> str:
        fill = (name, formatted)
        if fill not in self.fills:
            self.fills.append(fill)
        return f"{_OPEN}{self.fills.index(fill)}{_CLOSE}"

    def split(self, text: str) -> tuple[list[str], list[int]]:
        """The text between the marks, and which fill each of them wants.

        Raises Computed if a mark was cut or changed.
        """
        first, *rest = text.split(_OPEN)
        pieces, wanted = [first], []
        for part in rest:
            mark, closed, piece = part.partition(_CLOSE)
            if not closed or not mark.isdecimal() or int(mark) >= len(self.fills):
                raise Computed("it cuts or changes what it prints")
            wanted.append(int(mark))
            pieces.append(piece)
        if any(_CLOSE in piece for piece in pieces):
            raise Computed("it cuts or changes what it prints")
        return pieces, wanted


class Slot:
    """One value of the visitor's."""

    __slots__ = ("_name", "_sheet", "_value")

    def __init__(self, sheet: Sheet, name: str, value: Value) -> None:
        self._sheet = sheet
        self._name = name
        self._value = value

    def __str__(self) -> str:
        return self._sheet.mark(self._name, formatted=False)

    __html__ = __str__

    @property
    def formatted(self) -> Markup:
        """The mark of the number as its language writes it."""
        return Markup(self._sheet.mark(self._name, formatted=True))  # noqa: S704  a mark

    def counted(self, plural: Callable[[int], int]) -> int:
        """The number itself, for the choice of a plural form and nothing else."""
        self._ask(_form, plural)
        if not isinstance(self._value, int):
            self._refuse()
        return self._value

    def _ask(self, do: Callable[[Any, Any], Any], operand: object) -> Any:
        if isinstance(operand, Slot):
            self._refuse()
        question = (self._name, do, operand)
        if question not in self._sheet.questions:
            self._sheet.questions.append(question)
        return do(self._value, operand)

    def __bool__(self) -> bool:
        return bool(self._ask(_is_true, None))

    def __eq__(self, other: object) -> bool:
        return bool(self._ask(operator.eq, other))

    def __ne__(self, other: object) -> bool:
        return bool(self._ask(operator.ne, other))

    def __lt__(self, other: object) -> bool:
        return bool(self._ask(operator.lt, other))

    def __le__(self, other: object) -> bool:
        return bool(self._ask(operator.le, other))

    def __gt__(self, other: object) -> bool:
        return bool(self._ask(operator.gt, other))

    def __ge__(self, other: object) -> bool:
        return bool(self._ask(operator.ge, other))

    def _refuse(self, *_: object) -> NoReturn:
        raise Computed(f"it computes with {self._name}")

    # Some filters would take a TypeError of these for a value that is no number.
    __int__ = __float__ = __index__ = __hash__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _refuse
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = _refuse
    __getitem__ = __len__ = __iter__ = __round__ = __neg__ = __abs__ = _refuse


def _form(value: int, plural: Callable[[int], int]) -> int:
    return plural(value)


def _is_true(value: Value, _: object) -> bool:
    return bool(value)
