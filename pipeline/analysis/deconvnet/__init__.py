"""Deconvnet projections: from one activation back to pixels (ZF 2.1)."""
