"""The units of a network through checkpoints of its training (ZF fig. 4)."""
