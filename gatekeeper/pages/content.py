"""A page as bytes, plain or gzipped.

Rules: the gzip is made on demand; a skeleton has most of it compressed already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from gzip import compress
from typing import Protocol

from markupsafe import escape

from gatekeeper.pages.composer import PageSkeleton
from gatekeeper.pages.languages import SOURCE, Language
from gatekeeper.pages.slots import Values


class Content(Protocol):
    @property
    def body(self) -> bytes: ...

    @property
    def gzip(self) -> bytes: ...


_OWN_SITE = ("'self'",)
_FRAMES = "frame-ancestors 'self'"  # in every policy of a public page


@dataclass(frozen=True, slots=True)
class Page:
    _content: Content
    csp: str
    language: str = SOURCE  # BCP 47; "": unknown
    reloads: bool = False  # by a `Refresh` field of the response
    content_type: str = "text/html; charset=utf-8"

    @property
    def body(self) -> bytes:
        return self._content.body

    @property
    def gzip(self) -> bytes:
        """The compressed body, made on demand: not every client accepts it."""
        return self._content.gzip

    def framed(self, ancestors: Sequence[str]) -> Page:
        """The page with a policy that lets `ancestors` embed it (CSP Level 3 section 6.4.2)."""
        if ancestors == _OWN_SITE:
            return self
        frames = "frame-ancestors " + " ".join(ancestors)
        return replace(self, csp=self.csp.replace(_FRAMES, frames))


@dataclass(frozen=True, slots=True)
class RenderedBody:
    """A page that was rendered for one visitor."""

    body: bytes

    @property
    def gzip(self) -> bytes:
        return compress(self.body, compresslevel=5, mtime=0)


@dataclass(frozen=True, slots=True)
class FilledSkeleton:
    """A skeleton for many visitors with the values of one."""

    skeleton: PageSkeleton
    values: Values
    language: Language

    @property
    def body(self) -> bytes:
        return self.skeleton.body(self._fill)

    @property
    def gzip(self) -> bytes:
        return self.skeleton.gzip(self._fill)

    def _fill(self, name: str, formatted: bool) -> bytes:
        value = self.values[name]
        if isinstance(value, str):
            return _escaped(value)
        assert value is not None  # slots exist only for known values
        return (self.language.number(value) if formatted else str(value)).encode()


@lru_cache(maxsize=4096)  # waiting visitors share minutes and spans of time
def _escaped(value: str) -> bytes:
    return str(escape(value)).encode()
