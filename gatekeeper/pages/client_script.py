"""`/.gatekeeper/client.js` for single-page apps: the static file with its texts, per language.

Rules: made at the start. Its name has no hash, since apps link to it, so no cache may store it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from gzip import compress

from gatekeeper.errors import N_, ConfigError
from gatekeeper.pages.languages import Language

FILE = "client.js"
_TEXTS_AT = "{ /* texts */ }"
_TEXTS = {
    "ending": N_("Your visit here ends at #. Please finish what you are doing before then."),
    "close": N_("Close"),
}


@dataclass(frozen=True, slots=True)
class ClientScript:
    """The script in one language."""

    body: bytes
    gzip: bytes
    content_type: str = "text/javascript; charset=utf-8"  # RFC 9239 section 6


def client_script(source: str, language: Language) -> ClientScript:
    """The script in `language`. Raises ConfigError for a file without the placeholder of the
    texts."""
    if _TEXTS_AT not in source:
        raise ConfigError([f"lacks {_TEXTS_AT}; expected the place of the texts"], source=FILE)
    texts = {name: language.translate(text) for name, text in _TEXTS.items()}
    texts |= {"lang": language.code, "dir": language.direction}
    body = source.replace(_TEXTS_AT, json.dumps(texts)).encode()
    return ClientScript(body, compress(body, mtime=0))
