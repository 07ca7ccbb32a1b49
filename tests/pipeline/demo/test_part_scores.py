"""Parts in the middle of top patches: counted by hand on a table that fits on a screen."""

from __future__ import annotations

import pandas as pd

from pipeline.demo.part_scores import part_scores

PARTS = pd.DataFrame(
    [
        ("a", "eye", 40, 40, 44, 44),
        ("a", "eye", 40, 50, 44, 54),
        ("a", "face", 20, 20, 80, 80),
        ("b", "eye", 10, 10, 20, 20),
        ("c", "wheel", 0, 0, 10, 10),
    ],
    columns=["image", "part", "y0", "x0", "y1", "x1"],
)


def _tops(*rows: tuple[str, int, int, str, int, int]) -> pd.DataFrame:
    """(layer, unit, rank, image, y0, x0) of boxes of 20 x 20 pixels."""
    boxes = [(*row, row[4] + 20, row[5] + 20) for row in rows]
    edges = ["box_y0", "box_x0", "box_y1", "box_x1"]
    return pd.DataFrame(boxes, columns=["layer", "unit", "rank", "image", *edges])


def test_part_scores_count_patches_with_a_part_in_their_middle():
    tops = _tops(
        ("l", 0, 1, "a", 32, 37),  # centre 42, 47: eyes at 42, 42 and 42, 52; face at 50, 50
        ("l", 0, 2, "b", 5, 5),  # centre 15, 15: the eye's own
        ("l", 0, 3, "c", 0, 0),  # centre 10, 10, the wheel's 5, 5: just inside
        ("l", 1, 1, "c", 1, 0),  # one pixel further: outside
    )

    found = part_scores(tops, PARTS)

    assert found[["layer", "unit", "part", "hits", "patches"]].to_numpy().tolist() == [
        ["l", 0, "eye", 2, 3],
        ["l", 0, "wheel", 1, 3],
    ]
    # The other unit of the layer has no hit, so half of each share is usual.
    assert found["score"].round(6).tolist() == [round(1 / 3, 6), round(1 / 6, 6)]


def test_part_scores_take_off_what_every_unit_of_the_layer_shows():
    rows = [("deep", unit, 1, "b", 5, 5) for unit in range(4)]
    tops = _tops(*rows, ("early", 0, 1, "b", 5, 5), ("early", 1, 1, "c", 60, 60))

    found = part_scores(tops, PARTS)

    scores = dict(zip(zip(found["layer"], found["unit"], strict=True), found["score"], strict=True))
    assert scores[("early", 0)] == 0.5
    assert all(scores[("deep", unit)] == 0 for unit in range(4))
    assert found.iloc[0][["layer", "unit"]].tolist() == ["early", 0]


def test_part_scores_without_a_hit_are_empty():
    assert part_scores(_tops(("l", 0, 1, "c", 90, 90)), PARTS).empty
