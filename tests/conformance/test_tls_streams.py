"""With the listener's TLS, back-pressure limits a body to the speed of the slower side, as without
TLS."""

from tests.conformance.gate_pair import StageOpener, visitor_request
from tests.conformance.tls_stage import Tls
from tests.integration.proxy.forwarding import Origin, Script, Wire, stuck_at

MIB = 1 << 20
# More than all socket buffers between origin and client.
BODY_MIB = 64
# Encrypted data that was not sent would be in the gate, in addition to those buffers.
MAX_HELD_MIB = 40


async def test_client_that_reads_slowly_over_tls_pauses_the_origin(
    tls: Tls, open_stage: StageOpener
) -> None:
    sent = received = 0

    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            nonlocal sent
            await origin.request(wire)
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (BODY_MIB * MIB))
            for number in range(BODY_MIB):
                wire.send(bytes([number]) * MIB)
                await wire.writer.drain()
                sent += 1

        return script

    async with open_stage(script_of, toml=tls.toml, tls=tls.client) as stage:
        wire = await stage.connect()
        wire.send(visitor_request(b"GET /"))
        assert (await wire.head()).status == 200
        for number in range(BODY_MIB):
            if number % 16 == 0:
                assert await stuck_at(lambda: sent) <= received + MAX_HELD_MIB
            assert await wire.exactly(MIB) == bytes([number]) * MIB
            received += 1
