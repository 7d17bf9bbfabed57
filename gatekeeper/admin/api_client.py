"""The admin API's client, for the command line. Synchronous, one call at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlencode

from gatekeeper.config.types import split_listen
from gatekeeper.errors import ConfigError, GatekeeperError

_TIMEOUT_S = 5.0
_LONG_S = {
    "/admin/reload": 60.0,  # every worker reads templates, and starts new rooms
    # Searches all visitors.
    **dict.fromkeys(("/admin/find", "/admin/admit", "/admin/revoke"), 60.0),
    "/admin/report": 45.0,  # a week of minutes
}
_DONE = {200, 201}
_BAD_REQUEST = 400


class AdminClient:
    """Calls the admin listener at `listen`.

    Raises GatekeeperError when a call fails, ConfigError when the gate refuses a value.
    """

    def __init__(self, listen: str, *, token: str) -> None:
        host, self._port = split_listen(listen)
        self._host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def get(self, path: str, **query: str) -> Any:
        return self._call("GET", f"{path}?{urlencode(query)}" if query else path)

    def post(self, path: str, *, body: Mapping[str, object] | None = None, **query: str) -> Any:
        return self._call("POST", f"{path}?{urlencode(query)}" if query else path, body)

    def delete(self, path: str, **query: str) -> Any:
        return self._call("DELETE", f"{path}?{urlencode(query)}")

    def download(self, path: str, **query: str) -> bytes:
        """The body of a response of any type."""
        status, body = self._send("GET", f"{path}?{urlencode(query)}")
        if status not in _DONE:
            self._refuse(status, self._json(body), path)
        return body

    def _call(self, method: str, target: str, body: Mapping[str, object] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        status, received = self._send(method, target, data)
        result = self._json(received)
        if status not in _DONE:
            self._refuse(status, result, target.partition("?")[0])
        return result

    def _send(self, method: str, target: str, data: bytes | None = None) -> tuple[int, bytes]:
        timeout_s = _LONG_S.get(target.partition("?")[0], _TIMEOUT_S)
        connection = HTTPConnection(self._host, self._port, timeout=timeout_s)
        try:
            connection.request(method, target, body=data, headers=self._headers)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, HTTPException, ValueError) as error:
            raise self._no_gate() from error
        finally:
            connection.close()

    def _json(self, body: bytes) -> Any:
        try:
            return json.loads(body)
        except ValueError as error:
            raise self._no_gate() from error

    def _refuse(self, status: int, result: Any, path: str) -> None:
        if status == _BAD_REQUEST:
            problems = result.get("problems") or [str(result.get("error"))]
            raise ConfigError(problems, source=path)
        raise GatekeeperError(f"the gate refused: {result.get('error', status)}")

    def _no_gate(self) -> GatekeeperError:
        return GatekeeperError(
            f"no gate responds at {self._host}:{self._port}; expected a running gate with the "
            "same admin.listen"
        )
