"""Scores units by the annotated object parts in the middle of their top patches.

score = (share of the unit's top patches with the part) - (mean of that share over the units of its
layer); from -1 to 1. The mean is subtracted so that a frequent part does not score. A patch has a
part where the centre of the part's box lies in the middle of the patch.
"""

from __future__ import annotations

import pandas as pd

MIDDLE = 0.5
"""Share of a patch's height and of its width, around its centre, that counts as its middle."""


def part_scores(tops: pd.DataFrame, parts: pd.DataFrame) -> pd.DataFrame:
    """Count the parts in the middle of the units' top patches.

    Args:
        tops: columns layer, unit, rank, image and box_y0, box_x0, box_y1, box_x1, as in
            scan/top_patches; ``image`` is whatever names the image in both tables.
        parts: columns image, part, y0, x0, y1, x1, in the same pixels as the boxes.

    Returns:
        One row per (layer, unit, part) that was found: ``patches`` of the unit, ``hits`` (those of
        them with the part) and ``score``; the highest score first, then by layer, unit and part.
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
