"""Speaks to the admin listener of a gate, for the command line. Synchronous, one call at a time."""

from __future__ import annotations

import json
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlencode

from gatekeeper.config.types import split_listen
from gatekeeper.errors import ConfigError, GatekeeperError

_TIMEOUT_S = 5.0
_BAD_REQUEST = 400


class AdminClient:
    """The admin listener at `listen`; raises GatekeeperError, or ConfigError for a bad value."""

    def __init__(self, listen: str, *, token: str) -> None:
        host, self._port = split_listen(listen)
        self._host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def get(self, path: str) -> Any:
        return self._ask("GET", path)

    def post(self, path: str, **query: str) -> Any:
        return self._ask("POST", f"{path}?{urlencode(query)}")

    def _ask(self, method: str, target: str) -> Any:
        connection = HTTPConnection(self._host, self._port, timeout=_TIMEOUT_S)
        try:
            connection.request(method, target, headers=self._headers)
            response = connection.getresponse()
            answer = json.loads(response.read())
        except (OSError, HTTPException, ValueError) as error:
            raise GatekeeperError(
                f"no gate answers at {self._host}:{self._port}; is it running, and is "
                "admin.listen the same as its own?"
            ) from error
        finally:
            connection.close()
        if response.status == _BAD_REQUEST:
            raise ConfigError([str(answer.get("error"))], source=target.partition("?")[0])
        if response.status != 200:
            raise GatekeeperError(f"the gate refused: {answer.get('error', response.status)}")
        return answer
