"""The states of a client connection on the fast path.

HEAD ──plain, admitted──▶ (CONNECTING) ──▶ RESPONSE ──▶ BODY ──▶ HEAD
  ├──plain, the gate responds──▶ GATE ──▶ SENT ──▶ HEAD
  └──any other──▶ CLOSED here, served by aiohttp
"""

from enum import Enum, auto


class State(Enum):
    HEAD = auto()  # waiting for a request
    CONNECTING = auto()
    RESPONSE = auto()  # waiting for the response head
    BODY = auto()
    GATE = auto()  # waiting for the gate's own response
    SENT = auto()  # it was written; the client has yet to read it
    CLOSED = auto()  # closed, or handed over


# Looking up a module-level name is several times faster than a member of an Enum.
HEAD, CONNECTING, RESPONSE, BODY, GATE, SENT, CLOSED = State
