"""How fast and how large the work is, beside plain loops and another tool on the same machine.

Absolute speeds belong to a machine and its neighbours, so every figure here is a ratio of two
sides measured in turn, in one run. Nothing fails by the clock.
"""
