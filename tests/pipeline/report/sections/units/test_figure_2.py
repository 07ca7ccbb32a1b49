from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.report.sections.units.figure_2 import UNITS, choose_layers, draw_figure_2
from pipeline.store import open_run
from tests import made_up_run


def _reds_and_blues(picture: np.ndarray) -> tuple[int, int]:
    """How many pixels are of patches and of projections, see `made_up_run.PICTURES`."""
    pixels = picture.astype(int)
    difference = pixels[:, :, 0] - pixels[:, :, 2]
    return int((difference > 150).sum()), int((difference < -150).sum())


def _layers(*sides: tuple[int, bool]) -> pd.DataFrame:
    rows = [
        {"layer": f"l{place}", "position": place, "map_height": side, "map_width": side}
        | {"activation": activation}
        for place, (side, activation) in enumerate(sides)
    ]
    return pd.DataFrame(rows)


def _names(layers: pd.DataFrame) -> list[str]:
    return [row["layer"] for row in choose_layers(layers)]


def test_choose_layers_takes_activations_with_a_map_first_last_and_between():
    every = [(8, True)] * 9
    assert _names(_layers(*every)) == ["l0", "l2", "l4", "l6", "l8"]
    assert _names(_layers((8, False), (8, True), (1, True), (8, True))) == ["l1", "l3"]
    assert _names(_layers((1, False), (1, False))) == ["l0", "l1"]


def test_draw_figure_2_has_projections_and_patches_of_units_of_every_layer(tmp_path: Path):
    layers = {"conv1": 2, "conv2": 4, "conv3": 60}
    url = made_up_run.scan(tmp_path / "run", layers)
    alone = np.asarray(draw_figure_2(open_run(url)))
    reds, blues = _reds_and_blues(alone)
    assert (reds, blues) == (0, 0)  # its pictures are gone, and nothing is projected

    made_up_run.project(url, layers)
    run = open_run(url)
    picture = draw_figure_2(run)
    reds, blues = _reds_and_blues(np.asarray(picture))

    assert reds > 0
    assert reds == blues
    assert picture.width > UNITS * 2 * 3 * 64
    again = np.asarray(draw_figure_2(open_run(url)))
    assert (again == np.asarray(picture)).all()


def test_draw_figure_2_of_a_layer_takes_units_that_are_projected(tmp_path: Path):
    url = made_up_run.scan(tmp_path / "run", {"conv1": 60})
    made_up_run.project(url, {"conv1": 2})
    two = _reds_and_blues(np.asarray(draw_figure_2(open_run(url))))

    assert two[0] == two[1] > 0
