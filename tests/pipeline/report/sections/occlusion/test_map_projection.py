from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.report.patches import Crop
from pipeline.report.sections.occlusion.map_projection import of_top_patch, read_projections
from pipeline.store import open_run
from tests import made_up_run
from tests.occluded import PATCH


def test_read_projections_gives_those_asked_for(tmp_path: Path):
    url = made_up_run.scan(tmp_path / "run", {"conv1": 2})
    made_up_run.occlude(url, [3, 4, 5])

    found = read_projections(open_run(url), [5, 3], made_up_run.FRAME_PX)

    assert found.keys() == {3, 5}
    own = found[3]
    assert (own.box, own.value, own.missing) == ((4, 8, 20, 24), 6.0, "")
    assert own.picture is not None
    assert (own.picture.height, own.picture.width, own.picture.top) == (16, 16, 0)


def test_read_projections_says_why_one_is_missing(tmp_path: Path):
    url = made_up_run.scan(tmp_path / "run", {"conv1": 2})
    made_up_run.occlude(url, [3], missing="act1 is gelu")

    own = read_projections(open_run(url), [3], made_up_run.FRAME_PX)[3]

    assert (own.picture, own.missing) == (None, "act1 is gelu")


def test_read_projections_of_an_older_release_is_empty(tmp_path: Path):
    url = made_up_run.scan(tmp_path / "run", {"conv1": 2})
    made_up_run.occlude(url, [3], missing=None)

    assert read_projections(open_run(url), [3], made_up_run.FRAME_PX) == {}


def test_of_top_patch_is_the_patch_s_own_or_says_why_not():
    grey = Crop(8, 8, 0, 0, np.full((8, 8, 3), 128, np.uint8))

    made = of_top_patch(replace(PATCH, projection=grey))

    assert (made.picture, made.value, made.box, made.missing) == (grey, 1.0, PATCH.box, "")
    assert "its top patch has not been projected" in of_top_patch(PATCH).missing
    assert "not among the unit's top patches" in of_top_patch(None).missing
