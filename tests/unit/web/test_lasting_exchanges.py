"""Which exchanges keep a session: those that two sweeps find, and only while they last."""

import asyncio
from types import SimpleNamespace
from typing import Any

from gatekeeper.web.lasting_exchanges import LastingExchanges


class Sessions:
    """Replaces `Admission`: records every session that was kept."""

    def __init__(self) -> None:
        self.ends: list[asyncio.Future[None]] = []

    def session_end(self, _: object) -> asyncio.Future[None]:
        self.ends.append(asyncio.get_running_loop().create_future())
        return self.ends[-1]


class Exchange:
    def __init__(self, sessions: Sessions) -> None:
        self.admission = sessions
        self.pass_: Any = object()
        self.began_s = 1.0
        self.cuts: list[float] = []

    def cut(self, began_s: float) -> None:
        self.cuts.append(began_s)


def lasting_exchanges(*handled: Exchange) -> LastingExchanges:
    server: Any = SimpleNamespace(connections=set())
    exchanges = LastingExchanges(server)
    added: Any = set(handled)
    exchanges.handled = added
    return exchanges


async def test_short_exchange_keeps_no_session() -> None:
    sessions = Sessions()
    exchanges = lasting_exchanges(Exchange(sessions))
    exchanges.sweep()
    exchanges.handled.clear()
    exchanges.sweep()
    assert sessions.ends == []
    assert len(exchanges) == 0


async def test_lasting_exchange_keeps_one_session_until_it_ends() -> None:
    sessions = Sessions()
    exchange = Exchange(sessions)
    exchanges = lasting_exchanges(exchange)
    for _ in range(4):
        exchanges.sweep()
    [end] = sessions.ends
    assert not end.done()
    exchanges.handled.clear()
    exchanges.sweep()
    assert end.cancelled()
    await asyncio.sleep(0)
    assert exchange.cuts == []


async def test_next_exchange_of_a_connection_is_another_one() -> None:
    sessions = Sessions()
    exchange = Exchange(sessions)
    exchanges = lasting_exchanges(exchange)
    for began_s in (1.0, 2.0, 2.0, 3.0, 4.0):
        exchange.began_s = began_s
        exchanges.sweep()
    [end] = sessions.ends
    assert end.cancelled()


async def test_session_that_ends_cuts_its_exchange() -> None:
    sessions = Sessions()
    exchange = Exchange(sessions)
    exchanges = lasting_exchanges(exchange)
    exchanges.sweep()
    exchanges.sweep()
    sessions.ends[0].set_result(None)
    await asyncio.sleep(0)
    assert exchange.cuts == [1.0]
    exchanges.sweep()  # in case the exchange only waited then
    assert exchange.cuts == [1.0, 1.0]
    assert len(sessions.ends) == 1


async def test_closing_keeps_no_session_and_cuts_nothing() -> None:
    sessions = Sessions()
    exchange = Exchange(sessions)
    exchanges = lasting_exchanges(exchange)
    exchanges.sweep()
    exchanges.sweep()
    exchanges.close()
    await asyncio.sleep(0)
    assert sessions.ends[0].cancelled()
    assert exchange.cuts == []
