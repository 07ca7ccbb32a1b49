"""Pictures of a projection: the right extent, and a scale that can be undone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pipeline.stages.model_stage import ScanSource
from pipeline.stages.project import ProjectStage, part_name
from schemas.errors import DatasetError
from schemas.jobs.project import PROJECTIONS, ProjectSpec
from schemas.specs import DatasetSpec, ModelSpec, PreprocessSpec, Resources


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
