"""The store client of replicas and gates in the test's process: a busy machine is not an outage."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from gatekeeper.room.store import RedisStore, Reply, Script
from tests.servers import steady_stores, unresponsive_stores

STORE_TIMEOUT_S = 0.3  # for calls while the test makes the store unreachable
PATIENCE_S = 10.0  # for all other calls
# How long a room admits no visitor after a pause of all its replicas; the machine may cause the
# pause.
_RETURN = "MAX_PAUSE, RETURN, ATTENDED_KEPT_MS = 3000000, {}, "


class PatientStore(RedisStore):
    """Its timeout is short only while a test makes the store unresponsive. With a steady store, a
    pause of the machine is not an outage."""

    def __init__(self, url: str, *, timeout_s: float = STORE_TIMEOUT_S) -> None:
        self._url, self._short_s = url, timeout_s
        super().__init__(url, timeout_s=PATIENCE_S)

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[str]) -> Reply:
        if self._url in steady_stores:
            script = _patient(script)
        return await super().run(script, keys, args)

    @property
    def _timeout_s(self) -> float:
        return self._short_s if self._url in unresponsive_stores else PATIENCE_S

    @_timeout_s.setter
    def _timeout_s(self, _: float) -> None: ...


@cache
def _patient(script: Script) -> Script:
    usual = _RETURN.format(2_000_000)
    if "local MAX_PAUSE" not in script.text:
        return script  # not a script of a room
    assert script.text.count(usual) == 1
    text = script.text.replace(usual, _RETURN.format(0))
    sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    return replace(script, text=text, sha=sha)
