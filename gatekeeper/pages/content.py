"""A page as it is sent: plain or gzipped, whichever is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from gzip import compress
from typing import Protocol

from markupsafe import escape

from gatekeeper.pages.composer import Composed
from gatekeeper.pages.languages import SOURCE, Language
from gatekeeper.pages.slots import Values


class Content(Protocol):
    @property
    def body(self) -> bytes: ...

    @property
    def gzip(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Page:
    _content: Content
    csp: str
    language: str = SOURCE  # "": nobody knows
    reloads: bool = False  # it is to be told to, by `Refresh`
    content_type: str = "text/html; charset=utf-8"

    @property
    def body(self) -> bytes:
        return self._content.body

    @property
    def gzip(self) -> bytes:
        """The body compressed, made when asked for: not every client takes it."""
        return self._content.gzip


@dataclass(frozen=True, slots=True)
class Rendered:
    """Made for one visitor."""

    body: bytes

    @property
    def gzip(self) -> bytes:
        return compress(self.body, compresslevel=5, mtime=0)


@dataclass(frozen=True, slots=True)
class Filled:
    """Composed for many, with the values of one."""

    composed: Composed
    values: Values
    words: Language

    @property
    def body(self) -> bytes:
        return self.composed.body(self._fill)

    @property
    def gzip(self) -> bytes:
        return self.composed.gzip(self._fill)

    def _fill(self, name: str, formatted: bool) -> bytes:
        value = self.values[name]
        if isinstance(value, str):
            return _escaped(value)
        assert value is not None  # else the template was rendered without a slot for it
        return (self.words.number(value) if formatted else str(value)).encode()


@lru_cache(maxsize=4096)  # those who wait share minutes and spans of time
def _escaped(value: str) -> bytes:
    return str(escape(value)).encode()
