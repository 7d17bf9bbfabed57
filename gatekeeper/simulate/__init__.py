"""What shows the gate at work: a sample shop, a crowd of real visitors, and both together.

origin     a small shop to stand in front of; also `python -m gatekeeper.demo.shop`
crowd      simulated visitors over HTTP, against any gate, at any of its addresses
judge      whether what the crowd saw kept the gate's promises
show       `gatekeeper demo`: shop, gate and crowd in one
simulate   `gatekeeper simulate`: the crowd alone, with a verdict
"""
