"""The settings in force of one room: those of the file, with what operators changed live.

Rules. A change replaces `config` and `rules` together, as frozen objects, so that a reader sees one
consistent configuration. Tokens that were issued before a change keep their lifetime: the rules
remember the longest of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gatekeeper.config.event_schema import Spelled
from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.settings import effective_config
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.schedule import NO_SETTINGS


class RoomSettings:
    """`file` is the file's own configuration; `config` and `rules` are those in force."""

    def __init__(self, file: RoomConfig) -> None:
        self.file = self.config = file
        self.rules = Rules.of(file)
        self._overrides = ""
        self._event: Mapping[str, Spelled] = {}
        # Called after each change of `config`.
        self.on_change: Callable[[], None] = lambda: None

    def configure(self, file: RoomConfig) -> None:
        """Apply a reloaded file; the overrides that still apply stay in force. Does not call
        `on_change`."""
        self.file = file
        self._apply()

    def receive(self, overrides: str, event: Mapping[str, Spelled] = NO_SETTINGS) -> None:
        """Apply the overrides of the room's state, and the settings of its current event."""
        if overrides == self._overrides and event == self._event:
            return
        before = self.config
        self._overrides, self._event = overrides, event
        self._apply()
        if self.config != before:
            self.on_change()

    def _apply(self) -> None:
        self.config = effective_config(self.file, self._overrides, event=self._event)
        self.rules = Rules.of(self.config, after=self.rules)
