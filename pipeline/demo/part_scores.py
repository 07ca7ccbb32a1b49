"""Which annotated part each unit looks at, by where its top patches lie.

Invariant: a part counts for a patch by geometry alone (its box's centre lies in the middle of the
patch); what a layer's patches show anyway is taken off, so that a frequent part is no finding.
"""

from __future__ import annotations

import pandas as pd

MIDDLE = 0.5
"""Share of a patch's height and width, around its centre, in which a part's centre must lie."""


def part_scores(tops: pd.DataFrame, parts: pd.DataFrame) -> pd.DataFrame:
    """Count the parts in the middle of the units' top patches.

    Args:
        tops: columns layer, unit, rank, image and box_y0, box_x0, box_y1, box_x1, as in
            scan/top_patches; ``image`` is whatever names the image in both tables.
        parts: columns image, part, y0, x0, y1, x1, in the same pixels as the boxes.

    Returns:
        One row for each (layer, unit, part) that was found: ``patches`` of the unit, ``hits`` (of
        these, those with the part) and ``score``, the unit's share of patches with the part minus
        the mean of that share over the units of its layer; the highest score first, then the
        order of layer, unit and part.
    """
    both = tops.merge(parts, on="image")
    inside = pd.Series(data=True, index=both.index)
    for edge in ("y", "x"):
        low, high = both[f"box_{edge}0"], both[f"box_{edge}1"]
        offset = (both[f"{edge}0"] + both[f"{edge}1"] - low - high).abs() / 2
        inside &= offset <= (high - low) * MIDDLE / 2
    keys = ["layer", "unit", "part"]
    seen = both[inside].drop_duplicates([*keys, "rank"])
    found = seen.groupby(keys).size().rename("hits").reset_index()
    patches = tops.groupby(["layer", "unit"]).size().rename("patches").reset_index()
    patches["units"] = patches.groupby("layer")["unit"].transform("size")
    found = found.merge(patches, on=["layer", "unit"])
    share = found["hits"] / found["patches"]
    usual = share.groupby([found["layer"], found["part"]]).transform("sum") / found["units"]
    found["score"] = share - usual
    best = found.drop(columns="units").sort_values(
        ["score", *keys], ascending=[False, True, True, True]
    )
    return best.reset_index(drop=True)
