"""Invariance to moves of the picture: curves per transform and layer, and the moved pictures."""
