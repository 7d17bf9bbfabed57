"""The gate on the fast path: plain requests, decided without a store call.

lookup          the exit: the outcome of a plain head, by the caches below where it is known
known_forwards  a cache of forwarded requests, by their fields with or without what differs
check_cache     a cache of allowed forward-auth checks
head_cache      a cache of heads that the gate itself responds to
exchanges       the gate's own responses, as coroutines for `gatekeeper.stepper`
"""
