from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.report.sections.invariance.reader import InvarianceReader, image_ids
from pipeline.store import open_run
from schemas.errors import NotPublishedError, StoreError
from tests import made_up_run
from tests.moved_images import COLOURS, LAYERS, P_MOVED, P_PLAIN, SIDE, STEPS, distance, publish


@pytest.fixture
def url(tmp_path: Path) -> str:
    return made_up_run.scan(tmp_path / "run", {"conv2": 2, "conv1": 2})


def test_curves_are_those_of_every_layer_and_of_the_probability(url: str):
    publish(url, [1, 2, 5])

    curves = InvarianceReader(open_run(url)).curves([2])

    assert {name: own[0].amounts for name, own in curves.items()} == STEPS
    first, second, p = curves["translation"]
    assert [first.layer, second.layer, p.layer] == [*LAYERS, None]
    assert first.lines == {2: (distance(2, 0, "conv2"), 0.0, distance(2, 2, "conv2"))}
    assert second.low == (distance(1, 0, "conv1"), 0.0, distance(1, 2, "conv1"))
    assert second.high == (distance(5, 0, "conv1"), 0.0, distance(5, 2, "conv1"))
    assert p.mean == (P_MOVED["translation"], P_PLAIN, P_MOVED["translation"])


def test_read_gives_images_with_their_strips_in_the_order_of_the_paper(url: str):
    publish(url, [1, 4])
    reader = InvarianceReader(open_run(url))

    four, one = reader.read([4, 1])

    assert reader.image_ids() == [1, 4]
    assert (one.title, one.file, one.target) == ("thing 1", "image1.png", "thing 1")
    assert (four.title, four.target, four.p_plain) == ("image4.png", "thing 14", P_PLAIN)
    assert [each.transform for each in one.strips] == ["translation", "scale", "rotation"]
    turned = one.strips[2]
    assert turned.amounts == ("0", "90", "180")
    assert turned.picture.size == (3 * SIDE, SIDE)
    assert turned.picture.getpixel((0, 0)) == COLOURS["rotation"]


def test_areas_are_read_by_transform_and_layer(url: str):
    publish(url, [1])

    areas = InvarianceReader(open_run(url)).areas()

    assert [(area.transform, area.layer) for area in areas] == [
        (name, layer) for name in STEPS for layer in LAYERS
    ]
    assert (areas[0].area_mean, areas[1].area_mean, areas[0].steps) == (0.8, 0.4, 2)


def test_reader_of_another_scan_or_of_none_is_refused(url: str):
    assert image_ids(open_run(url)) == []
    with pytest.raises(NotPublishedError):
        InvarianceReader(open_run(url))
    publish(url, [1], of_scan="another")
    with pytest.raises(StoreError, match="moved pictures were made from the scan another"):
        InvarianceReader(open_run(url))
