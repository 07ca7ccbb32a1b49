from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.report.patch_reader import PatchReader
from pipeline.report.sections.saliency.maps import SaliencyReader, contrasted, image_ids
from pipeline.store import open_run
from schemas.errors import NotPublishedError, StoreError
from tests import made_up_run
from tests.saliency_pictures import BRIGHT, METHODS, saliency


def _reader(url: str) -> SaliencyReader:
    run = open_run(url)
    return SaliencyReader(run, PatchReader(run))


def test_read_gives_images_in_the_order_asked_with_every_map(tmp_path: Path):
    url = made_up_run.scan(tmp_path / "run", {"conv1": 2})
    saliency(url, [3, 12, 16])
    reader = _reader(url)

    images = reader.read([16, 3])

    assert reader.image_ids() == [3, 12, 16]
    assert [image.image_id for image in images] == [16, 3]
    assert [image.title for image in images] == ["image16.png", "thing 3"]
    assert [each.method for each in images[0].maps] == list(METHODS)
    assert images[1].frame == "image gone"
    facts = dict(images[1].facts)
    assert facts["target"] == "thing 3, p 0.75"
    assert facts["most probable"] == "thing 7"
    assert [each.note for each in images[0].maps][2].endswith("the sum is off by 0.25")


def test_read_maps_are_bright_where_the_job_s_are(tmp_path: Path):
    url = made_up_run.scan(tmp_path / "run", {"conv1": 2})
    saliency(url, [3])
    for each in _reader(url).read([3])[0].maps:
        pixels = np.asarray(each.picture)
        inside = np.zeros(pixels.shape[:2], bool)
        inside[BRIGHT] = True
        assert (pixels[inside] == 255).all(), each.method
        assert (pixels[~inside] == (0 if each.method == "gradient" else 128)).all()


def test_image_ids_without_the_job_are_none(tmp_path: Path):
    assert image_ids(open_run(made_up_run.scan(tmp_path / "run", {"conv1": 2}))) == []


def test_reader_without_the_job_or_of_another_scan_is_refused(tmp_path: Path):
    url = made_up_run.scan(tmp_path / "run", {"conv1": 2})
    with pytest.raises(NotPublishedError, match="saliency"):
        _reader(url)
    saliency(url, [3], of_scan="other")
    with pytest.raises(StoreError, match="its saliency maps were made from the scan other"):
        _reader(url)


def test_contrasted_stretches_the_strongest_hundredth_to_white():
    pixels = np.zeros((10, 20), np.uint8)
    pixels[0, :3] = (100, 50, 200)

    shown = contrasted(pixels, 0)

    assert shown.shape == (10, 20, 3)
    # Two of two hundred pixels are the strongest hundredth: 100 and what is above it.
    assert shown[0, :3, 0].tolist() == [255, 127, 255]
    assert shown[1:].max() == 0


def test_contrasted_of_nothing_is_black_or_grey():
    assert contrasted(np.zeros((4, 4), np.uint8), 0).max() == 0
    assert (contrasted(np.full((4, 4, 3), 128, np.uint8), 128) == 128).all()
