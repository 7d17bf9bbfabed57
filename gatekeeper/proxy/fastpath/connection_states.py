"""The states of a client connection on the fast path.

HEAD ──plain, admitted──▶ (CONNECTING) ──▶ RESPONSE ──▶ BODY ──▶ HEAD
  ├──plain, the gate responds──▶ GATE ──▶ SENT ──▶ HEAD
  └──any other──▶ CLOSED here, served by aiohttp

With bytes of a further request, NEXT precedes HEAD: other connections get a turn of the event loop.
"""

from enum import Enum, auto


class State(Enum):
    HEAD = auto()  # waiting for a request
    CONNECTING = auto()
    RESPONSE = auto()  # waiting for the response head
    BODY = auto()
    GATE = auto()  # waiting for the gate's own response
    SENT = auto()  # written; the client has not read it yet
    NEXT = auto()  # more was received, and is served in a later turn
    CLOSED = auto()  # closed, or handed over


# Looking up a module-level name is several times faster than a member of an Enum.
HEAD, CONNECTING, RESPONSE, BODY, GATE, SENT, NEXT, CLOSED = State
