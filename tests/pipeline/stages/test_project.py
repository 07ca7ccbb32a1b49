"""Pictures of a projection: the right extent, and a scale that can be undone."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.stages.model_stage import ScanSource
from pipeline.stages.project import ProjectStage, part_name, projection_png, shown_boxes
from schemas.errors import DatasetError
from schemas.jobs.project import PROJECTIONS, ProjectSpec
from schemas.specs import DatasetSpec, ModelSpec, PreprocessSpec, Resources


def _pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png))).astype(np.float64)


def test_projection_png_scale_undone_gives_the_signal_back():
    signal = np.random.default_rng(0).normal(0, 40, (3, 9, 7)).astype(np.float32)

    png, scale = projection_png(signal, 96)

    back = (_pixels(png) - 128) / 127 * scale
    assert scale == np.abs(signal).max()
    assert np.abs(back.transpose(2, 0, 1) - signal).max() <= scale / 254 * 1.001


def test_projection_png_of_silence_is_grey():
    png, scale = projection_png(np.zeros((3, 4, 4), np.float32), 96)

    assert scale == 0.0
    assert (_pixels(png) == 128).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_projection_png_of_what_is_not_finite_is_grey_and_says_so(value: float):
    signal = np.linspace(-1, 1, 75, dtype=np.float32).reshape(3, 5, 5)
    signal[0, 2, 2] = value
    png, scale = projection_png(signal, 64)

    assert not np.isfinite(scale)
    assert (_pixels(png) == 128).all()


def test_projection_png_larger_than_allowed_is_reduced():
    png, _ = projection_png(np.ones((3, 40, 20), np.float32), 16)

    assert _pixels(png).shape == (16, 8, 3)


def test_shown_boxes_larger_than_the_frame_are_the_frame():
    boxes = np.array([[-3, 5, 4, 12], [-50, -2, 80, 6], [-1, -1, 31, 33]])

    shown = shown_boxes(boxes, 32)

    assert shown.tolist() == [[-3, 5, 4, 12], [0, -2, 32, 6], [0, 0, 32, 32]]
    assert boxes[1, 0] == -50


def _stage(*layers: str) -> ProjectStage:
    frame, data = PreprocessSpec(), DatasetSpec(uri="unused")
    source = ScanSource("unused", ModelSpec(arch="unused"), "", frame, data)
    return ProjectStage(source, Resources(), ProjectSpec(run="unused"), layers, tolerance=1e-3)


def test_parts_are_one_table_per_layer():
    assert _stage("a", "b").parts == {part_name(0): PROJECTIONS, part_name(1): PROJECTIONS}


def _require(values: list[float], again: list[float], usual: float) -> None:
    stage = _stage("relu")
    stage._usual = {"relu": usual}
    uris = [f"{number}.png" for number in range(len(values))]
    rows = pd.DataFrame({"uri": uris, "unit": range(len(values)), "value": np.float32(values)})
    stage._require_reproduced("relu", rows, np.float32(again))


@pytest.mark.parametrize(
    ("values", "again"),
    [([50.0, 3.0], [50.04, 2.9971]), ([50.0, 1e-4], [50.0, 2e-4]), ([-40.0], [-40.03])],
)
def test_require_reproduced_allows_for_rounding_on_the_layer_s_scale(
    values: list[float], again: list[float]
):
    _require(values, again, usual=10)


@pytest.mark.parametrize(
    ("values", "again", "culprit"),
    [
        ([50.0, 3.0], [50.0, 3.02], "1.png: relu unit 1 gives 3.02 there, the index says 3"),
        ([50.0, 3.0], [50.06, 3.02], r"0.png: .*\(2 of 2 differ\)"),
        ([3.0], [-3.0], "0.png"),
        ([3.0], [float("nan")], "gives nan"),
        ([3.0], [float("inf")], "gives inf"),
    ],
)
def test_require_reproduced_refuses_other_weights_or_pictures(
    values: list[float], again: list[float], culprit: str
):
    with pytest.raises(DatasetError, match=culprit):
        _require(values, again, usual=10)
