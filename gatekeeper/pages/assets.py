"""Static files that pages link to or embed, read once and named by their content.

Rules: everything is in memory after the start, so a request never touches the disk and a name
cannot leave its folder. A served name contains a hash of the content: it may be cached forever,
and two replicas in mid-upgrade never serve one name with two contents. The operator's folder
overrides built-in files one by one and may add files. A built-in script with a folder of the same
name is concatenated: the scripts of that folder, by name, then the script itself. Pages and
visitors see one file. The parts share one scope; outside of functions, a part uses nothing of a
later one.
"""

import hashlib
import mimetypes
import re
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from gzip import compress
from pathlib import Path

from gatekeeper.errors import ConfigError

_HASH_DIGITS = 12  # 48 bits: a name must change with its file, not resist forgery
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",  # RFC 9239 section 6
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
_COMMENT = re.compile(r"^[ \t]*/\*.*?\*/[ \t]*\n", re.MULTILINE | re.DOTALL)
# Also comment lines, indents and empty lines. Only in built-in files, where a trailing comment has
# two spaces before `//`.
_SIDE_COMMENT = re.compile(
    r"^[ \t]*// [^\n]*\n|(?<![ \t])[ \t]{2,}// [^\n]*$|^[ \t]+|^\n", re.MULTILINE
)
# Blanks after these, and before "{", have no meaning in CSS outside of strings, and no string of a
# built-in file contains one of them.
_CSS_BLANKS = re.compile(r"([{};,])\s+")
_ENDS_ELEMENT = re.compile(r"</(script|style)|<!--", re.IGNORECASE)  # HTML 4.12.1.3


@dataclass(frozen=True, slots=True)
class Asset:
    body: bytes
    gzip: bytes
    content_type: str


class Assets:
    """The built-in files and those of `overrides`, which take precedence, each under its hashed
    name."""

    def __init__(self, *, overrides: Path | None, prefix: str) -> None:
        self._prefix = prefix
        self._by_served_name: dict[str, Asset] = {}
        self._served_names: dict[str, str] = {}
        files = {path.name: path for path in _files(built_in("static"))}
        self._texts: dict[str, str] = {}  # by name: every page embeds them
        self._overridden: set[str] = set()
        if overrides is not None:
            own = {path.name: path for path in _files(overrides)}
            self._overridden.update(own)
            files |= own
        for name, path in files.items():
            body = _read(path) if name in self._overridden else _with_parts(path)
            self._served_names[name] = served = _served_name(path, body)
            self._by_served_name[served] = Asset(
                body=body, gzip=compress(body, mtime=0), content_type=_content_type(path)
            )

    def get(self, served_name: str) -> Asset | None:
        return self._by_served_name.get(served_name)

    def url(self, name: str) -> str:
        """The URL of the file `name`; raises KeyError if there is none."""
        return self._prefix + self._served_names[name]

    def text(self, name: str) -> str:
        """The text of the file `name`, to embed in a page, without comment lines; for a built-in
        file also without trailing comments, indentation and blanks of CSS. Raises KeyError if there
        is none."""
        if name in self._texts:
            return self._texts[name]
        text = self._by_served_name[self._served_names[name]].body.decode()
        # The browser normalizes line ends before it hashes embedded text.
        text = _COMMENT.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
        if name not in self._overridden:
            text = _SIDE_COMMENT.sub("", text)
            if name.endswith(".css"):
                text = _CSS_BLANKS.sub(r"\1", text).replace(" {", "{")
        if _ENDS_ELEMENT.search(text):
            raise ConfigError(["contains </script, </style or <!--; remove it"], source=name)
        self._texts[name] = text
        return text

    def sources(self, *names: str) -> str:
        """The Content-Security-Policy sources of these files if a page embeds their text."""
        digests = (hashlib.sha256(self.text(name).encode()).digest() for name in names)
        return " ".join(f"'sha256-{b64encode(digest).decode()}'" for digest in digests)


def built_in(folder: str) -> Path:
    """The folder `templates` or `static`: of the installed package, or at the top of a checkout."""
    package = Path(__file__).resolve().parent.parent
    shipped = package / "assets" / folder
    return shipped if shipped.is_dir() else package.parent / folder


def _files(folder: Path) -> Iterator[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise ConfigError([error.strerror or "cannot be read"], source=str(folder)) from error
    return (path for path in entries if path.is_file() and not path.name.startswith("."))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError([error.strerror or "cannot be read"], source=str(path)) from error


def _with_parts(path: Path) -> bytes:
    folder = path.with_suffix("")
    if path.suffix != ".js" or not folder.is_dir():
        return _read(path)
    parts = map(_read, [*_files(folder), path])
    return b"".join([b'(() => {\n"use strict";\n', *parts, b"})();\n"])


def _served_name(path: Path, body: bytes) -> str:
    digest = hashlib.sha256(body).hexdigest()[:_HASH_DIGITS]
    return f"{path.stem}.{digest}{path.suffix}"


def _content_type(path: Path) -> str:
    known = _TYPES.get(path.suffix.lower())
    return known or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
