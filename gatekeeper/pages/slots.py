"""Placeholders for a visitor's values, while a template renders a page skeleton.

Rules: a `Slot` can be printed, formatted, compared and counted. Printing writes a mark that is
filled in later. Each test of a value is recorded, since a visitor with another result needs another
skeleton. Computing with a slot raises `ComposeError`: such a template is rendered for each visitor.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from markupsafe import Markup

# Noncharacters (Unicode 23.7): not used in text interchange, and unchanged by escaping.
_OPEN, _CLOSE = "\ufdd0", "\ufdd1"

Value = int | float | str
Values = Mapping[str, Value | None]
# The name of a value, an operation, and its operand.
ValueTest = tuple[str, Callable[[Any, Any], Any], object]


def has_mark(*texts: str) -> bool:
    """Whether a text contains a mark of a slot."""
    return any(_OPEN in text or _CLOSE in text for text in texts)


class ComposeError(Exception):
    """The template computes with a visitor's value."""


@dataclass(slots=True)
class SlotRecord:
    """One rendering with slots: the tests of values, and the values that fill the marks."""

    tests: list[ValueTest] = field(default_factory=list)
    # The name of a value, and whether it is formatted.
    fills: list[tuple[str, bool]] = field(default_factory=list)

    def slots(self, values: Values) -> dict[str, Slot | None]:
        """Slots for values; None stays None, so that a template can test whether a value is
        known."""
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
        """The text between the marks, and the index of the fill for each mark.

        Raises ComposeError if a mark was truncated or changed.
        """
        first, *rest = text.split(_OPEN)
        pieces, wanted = [first], []
        for part in rest:
            mark, closed, piece = part.partition(_CLOSE)
            if not closed or not mark.isdecimal() or int(mark) >= len(self.fills):
                raise ComposeError("it changes a value that it prints")
            wanted.append(int(mark))
            pieces.append(piece)
        if any(_CLOSE in piece for piece in pieces):
            raise ComposeError("it changes a value that it prints")
        return pieces, wanted


class Slot:
    """One value of the visitor."""

    __slots__ = ("_name", "_record", "_value")

    def __init__(self, record: SlotRecord, name: str, value: Value) -> None:
        self._record = record
        self._name = name
        self._value = value

    def __str__(self) -> str:
        return self._record.mark(self._name, formatted=False)

    __html__ = __str__

    @property
    def formatted(self) -> Markup:
        """The mark of the number in the format of the language."""
        return Markup(self._record.mark(self._name, formatted=True))  # noqa: S704  a mark

    def counted(self, plural: Callable[[int], int]) -> int:
        """The number itself, only for the selection of a plural form."""
        self._test(_plural_form, plural)
        if not isinstance(self._value, int):
            self._refuse()
        return self._value

    def _test(self, operation: Callable[[Any, Any], Any], operand: object) -> Any:
        if isinstance(operand, Slot):
            self._refuse()
        test = (self._name, operation, operand)
        if test not in self._record.tests:
            self._record.tests.append(test)
        return operation(self._value, operand)

    def __bool__(self) -> bool:
        return bool(self._test(_is_true, None))

    def __eq__(self, other: object) -> bool:
        return bool(self._test(operator.eq, other))

    def __ne__(self, other: object) -> bool:
        return bool(self._test(operator.ne, other))

    def __lt__(self, other: object) -> bool:
        return bool(self._test(operator.lt, other))

    def __le__(self, other: object) -> bool:
        return bool(self._test(operator.le, other))

    def __gt__(self, other: object) -> bool:
        return bool(self._test(operator.gt, other))

    def __ge__(self, other: object) -> bool:
        return bool(self._test(operator.ge, other))

    def _refuse(self, *_: object) -> NoReturn:
        raise ComposeError(f"it computes with {self._name}")

    # Not TypeError: some filters catch it and treat the value as not a number.
    __int__ = __float__ = __index__ = __hash__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _refuse
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = _refuse
    __getitem__ = __len__ = __iter__ = __round__ = __neg__ = __abs__ = _refuse


def _plural_form(value: int, plural: Callable[[int], int]) -> int:
    return plural(value)


def _is_true(value: Value, _: object) -> bool:
    return bool(value)
