"""The gate on the fast path: plain requests, decided on sight.

lookup       the exit: the outcome of a plain head, with the cache of known fields
check_cache  known checks of forward auth
head_cache   known heads that the gate itself responds to
exchanges    the gate's own responses, as operations that are stepped
"""
