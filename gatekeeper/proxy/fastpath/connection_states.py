"""The states of a client connection on the fast path.

HEAD ──plain, admitted──▶ (CONNECTING) ──▶ RESPONSE ──▶ BODY ──▶ HEAD
  ├──plain, the gate responds──▶ GATE ──▶ SENT ──▶ HEAD
  └──any other──▶ CLOSED here, served by aiohttp

With bytes of a further request, NEXT comes before HEAD: one turn of the event loop for the others.
"""

from enum import Enum, auto


class State(Enum):
    HEAD = auto()  # waiting for a request
    CONNECTING = auto()
    RESPONSE = auto()  # waiting for the response head
    BODY = auto()
    GATE = auto()  # waiting for the gate's own response
    SENT = auto()  # it was written; the client has yet to read it
    NEXT = auto()  # more was received, and has its turn soon
    CLOSED = auto()  # closed, or handed over


# Looking up a module-level name is several times faster than a member of an Enum.
HEAD, CONNECTING, RESPONSE, BODY, GATE, SENT, NEXT, CLOSED = State
