"""The store of replicas and gates in the test's own process: a busy machine is no outage."""

from gatekeeper.room.store import RedisStore
from tests.servers import unresponsive_stores

STORE_TIMEOUT_S = 0.3  # of a call to a store that the test has made unreachable
PATIENCE_S = 10.0  # of every other call


class PatientStore(RedisStore):
    """Its timeout is short only while a test makes the store unresponsive."""

    def __init__(self, url: str, *, timeout_s: float = STORE_TIMEOUT_S) -> None:
        self._url, self._short_s = url, timeout_s
        super().__init__(url, timeout_s=PATIENCE_S)

    @property
    def _timeout_s(self) -> float:
        return self._short_s if self._url in unresponsive_stores else PATIENCE_S

    @_timeout_s.setter
    def _timeout_s(self, _: float) -> None: ...
