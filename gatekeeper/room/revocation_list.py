"""Reads the store's list of revoked visitors, for a replica that missed events of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room.queue import Queue
from gatekeeper.room.view import ReplicaView


async def learn_revocations(
    queue: Queue,
    view: ReplicaView,
    count: int,
    *,
    on_revoked: Callable[[Sequence[VisitorId]], None],
) -> None:
    """Read the revocations that no event delivered; `count` is the total. Reads the whole list when
    these are too few (the store lost data, or replicas with other durations write to it). Raises
    StoreError."""
    missing = count - view.revocations_known
    if missing == 0:
        return
    for since_us in (view.revoked_through_us, 0.0):
        listed = await queue.revoked(since_us=since_us)
        news = [visitor for visitor in listed if visitor not in view.revoked()]
        learned = view.revoke_as_listed(listed, count=count)
        on_revoked(news)
        if 0 < missing <= learned:
            return
