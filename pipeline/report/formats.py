"""Numbers as a person reads them, the same on every page and picture."""

from __future__ import annotations

from collections.abc import Sequence

_FEW = 12


def three_digits(value: float) -> str:
    """A number in three significant digits."""
    return f"{float(f'{value:.3g}'):,g}"


def percent(share: float) -> str:
    """A share from 0 to 1 in percent; rounding never makes it 0% or 100%."""
    if 0 < share < 0.001:
        return "< 0.1%"
    if 0.999 < share < 1:
        return "> 99.9%"
    return f"{share:.0%}" if share in (0, 1) else f"{share:.1%}"


def counted(count: int, noun: str) -> str:
    """A count and what is counted: "1 image", "1,204 images"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def few(ids: Sequence[int]) -> str:
    """The first twelve of some ids, as choices."""
    return ", ".join(map(str, ids[:_FEW])) + (" ..." if len(ids) > _FEW else "")
