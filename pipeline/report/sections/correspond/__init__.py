"""Correspondence of parts: the consistency of each against random places (ZF 4.3, table 1)."""
