"""The kinds of requests that clients without cookies send: method and fields."""

from __future__ import annotations

from enum import Enum

_HTML = "Accept: text/html\r\n"
_NAVIGATE = "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n"


class RequestKind(Enum):
    """Method and fields."""

    SCRIPT = ("GET", "Accept: */*\r\n")
    PAGE = ("GET", _HTML)
    BROWSER = ("GET", _HTML + _NAVIGATE)
    FETCH = ("GET", "Sec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\n")
    HEAD = ("HEAD", "Accept: */*\r\n")
    IMAGE = ("GET", "Sec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image\r\n")
    PREFETCH = ("GET", _HTML + _NAVIGATE + "Sec-Purpose: prefetch\r\n")
    PREFLIGHT = (
        "OPTIONS",
        "Origin: http://shop.example\r\nAccess-Control-Request-Method: POST\r\n",
    )
    POST = ("POST", "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 0\r\n")

    @property
    def method(self) -> str:
        return self.value[0]

    @property
    def fields(self) -> str:
        return self.value[1]
