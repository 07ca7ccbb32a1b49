"""What the page and the picture say of an invariance, in words."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.report.formats import counted, percent
from pipeline.report.sections.invariance.reader import Area
from schemas.moves import Transform

AXES: dict[Transform, str] = {
    "translation": "vertical translation, pixels down",
    "scale": "scale, factor about the middle",
    "rotation": "rotation, degrees counter-clockwise",
}
"""What the amounts of a transform are, in the order of ZF fig. 5."""


def sentences(areas: Sequence[Area]) -> tuple[str, ...]:
    """What the areas say, a sentence each: do the layers differ, what hurts the class most.

    Args:
        areas: of a run, by transform and layer; at least one.
    """
    return (*_layers_compared(areas), _most_harmful(areas))


def _layers_compared(areas: Sequence[Area]) -> tuple[str, ...]:
    """How the top layer varies against the first, where there are two."""
    pairs = [(own[0], own[-1]) for own in by_transform(areas).values() if len(own) > 1]
    pairs = [pair for pair in pairs if all(area.area_mean == area.area_mean for area in pair)]
    if not pairs:
        return ()
    less = [first.transform for first, top in pairs if top.area_mean < first.area_mean]
    more = [first.transform for first, top in pairs if top.area_mean >= first.area_mean]
    first, top = pairs[0]
    if not more:
        claim = f"varies less than the first, {first.layer}, under {_listed(less)}"
    elif not less:
        claim = f"varies no less than the first, {first.layer}, under {_listed(more)}"
    else:
        claim = (
            f"varies less than the first, {first.layer}, under {_listed(less)}, "
            f"not under {_listed(more)}"
        )
    numbers = "; ".join(
        f"{low.transform} {high.area_mean:.2f} against {low.area_mean:.2f}" for low, high in pairs
    )
    return (f"The top layer, {top.layer}, {claim} (invariance area {numbers}).",)


def _most_harmful(areas: Sequence[Area]) -> str:
    """Which transform lowers the class's probability most."""
    one_each = sorted(
        (own[0] for own in by_transform(areas).values()), key=lambda area: area.p_moved
    )
    worst, plain = one_each[0], one_each[0].p_plain
    kept = "; ".join(
        f"{area.transform} {area.p_moved:.2f}, another class in {percent(area.changed)}"
        for area in one_each
    )
    if worst.p_moved < plain:
        verdict = f"{worst.transform.capitalize()} hurts most" if one_each[1:] else "It falls"
    else:
        verdict = "No move hurts"
    return (
        f"{verdict}: the class's probability is {plain:.2f} for the plain picture, and on the mean "
        f"over {counted(worst.images, 'image')} and the amounts that move it: {kept}."
    )


def by_transform(areas: Sequence[Area]) -> dict[Transform, list[Area]]:
    """The areas by transform, in the order of ZF fig. 5."""
    found = {name: [area for area in areas if area.transform == name] for name in AXES}
    return {name: own for name, own in found.items() if own}


def _listed(names: Sequence[str]) -> str:
    *before, last = names
    return f"{', '.join(before)} and {last}" if before else last
