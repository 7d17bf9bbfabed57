"""`gatekeeper demo`: a sample shop behind a gate, with a simulated crowd in line.

shop  the sample origin; also `python -m gatekeeper.demo.shop`
show  starts shop, gate and crowd in one process group, and ends them together
opening_show  the same with an event: a prequeue, a draw and an opening
"""
