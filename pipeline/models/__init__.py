"""Load a network, trace it, and know the geometry of every node."""
