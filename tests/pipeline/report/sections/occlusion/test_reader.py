from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.report.patch_reader import PatchReader
from pipeline.report.sections.occlusion.reader import OcclusionReader, count_occluded
from pipeline.store import open_run
from schemas.errors import NotPublishedError, StoreError
from tests import made_up_run

LAYERS = {"conv1": 4, "conv2": 3}


def _reader(url: str) -> OcclusionReader:
    run = open_run(url)
    return OcclusionReader(run, PatchReader(run))


def _run(folder: Path) -> str:
    return made_up_run.scan(folder / "run", LAYERS)


def test_read_gives_the_tables_as_maps(tmp_path: Path):
    url = _run(tmp_path)
    made_up_run.occlude(url, [3, 20], windows=((8, 4), (16, 5)))
    first, second = _reader(url).read([20, 3])
    assert (first.image_id, second.image_id) == (20, 3)
    assert (second.image, second.class_name, first.class_name) == (
        "image3.png",
        "thing 3",
        "thing 10",
    )
    small, large = second.windows
    assert (small.size, small.stride_px, small.p.shape) == ((8, 8), 4, (7, 7))
    assert large.y_px.tolist() == large.x_px.tolist() == [0, 5, 10, 15, 16]
    p = np.full((7, 7), made_up_run.P_CLEAN, np.float32)
    p[made_up_run.HOLE] = made_up_run.P_LOW + 0.003
    assert (small.p == p).all()
    assert (small.activity == np.arange(10, 17)[:, None]).all()
    assert (small.predicted[0] == 900 + np.arange(7)).all()
    assert (small.predicted[1:] == 3).all()
    assert small.drop_at == (4, 8)
    assert (small.drop_inside, small.pointed) == (None, None)


def test_ranked_begins_with_the_largest_drop(tmp_path: Path):
    url = _run(tmp_path)
    made_up_run.occlude(url, [3, 7, 20])
    assert _reader(url).ranked() == [3, 7, 20]
    assert count_occluded(open_run(url)) == 3


def test_count_occluded_without_an_occlusion_is_0(tmp_path: Path):
    run = open_run(_run(tmp_path))
    assert count_occluded(run) == 0
    with pytest.raises(NotPublishedError, match="occlude"):
        OcclusionReader(run, PatchReader(run))


def test_evidence_names_the_image_s_own_patch(tmp_path: Path):
    url = _run(tmp_path)
    made_up_run.occlude(url, [4, 30])
    # Unit 0 has the images 0 to 8.
    inside, outside = (image.evidence for image in _reader(url).read([4, 30]))
    assert (inside.own, outside.own) == (4, None)
    assert (len(inside.others), len(outside.others)) == (8, 9)
    assert inside.own_patch is not None
    assert inside.own_patch.image == "image4.png"
    assert "image4.png" not in [patch.image for patch in inside.others]
    assert outside.own_patch is None


def test_projection_is_the_occlusion_s_own_for_every_image(tmp_path: Path):
    url = _run(tmp_path)
    made_up_run.occlude(url, [4, 30])
    made_up_run.project(url, LAYERS)
    for image in _reader(url).read([4, 30]):
        own = image.projection
        assert (own.box, own.value, own.missing) == ((4, 8, 20, 24), 6.0, "")
        assert own.picture is not None
        assert (own.picture.pixels == (0, 0, 255)).all()


def test_projection_of_a_release_that_made_none_is_the_top_patch_s(tmp_path: Path):
    url = _run(tmp_path)
    made_up_run.occlude(url, [4, 30], missing=None)
    for image in _reader(url).read([4, 30]):
        assert image.projection.picture is None
    made_up_run.project(url, LAYERS)
    inside, outside = (image.projection for image in _reader(url).read([4, 30]))
    assert inside.picture is not None
    assert "not among the unit's top patches" in outside.missing


def test_evidence_of_a_layer_that_was_not_scanned_is_empty(tmp_path: Path):
    url = _run(tmp_path)
    made_up_run.occlude(url, [4], layer="conv9")
    [image] = _reader(url).read([4])
    assert not image.evidence.scanned
    assert (image.evidence.patches, image.evidence.own_patch) == ((), None)
    assert image.projection.picture is not None


def test_class_name_is_the_data_set_s_first_or_a_number(tmp_path: Path):
    url = _run(tmp_path)
    made_up_run.occlude(url, [4])
    reader = _reader(url)
    # Label 1 is of images 1, 11 ...; label 0 is of 0 and 20, without names, and of 10.
    assert [reader.class_name(each) for each in (1, 0, 901)] == ["thing 1", "thing 10", "class 901"]


def test_reader_occlusion_of_another_scan_is_refused(tmp_path: Path):
    url = _run(tmp_path)
    made_up_run.occlude(url, [4], of_scan="another")
    with pytest.raises(StoreError, match=r"another.*scan-fingerprint"):
        _reader(url)
