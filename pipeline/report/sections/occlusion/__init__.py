"""Occluded images: heat maps of class probability and activity (ZF fig. 7)."""
