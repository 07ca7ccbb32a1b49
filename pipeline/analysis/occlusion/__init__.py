"""Occlusion sensitivity: a window slid over the image (ZF 4.2, fig. 7)."""
