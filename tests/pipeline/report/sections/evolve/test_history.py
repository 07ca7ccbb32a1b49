from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.report.sections.evolve.history import EvolutionReader, Moment
from pipeline.store import open_run
from schemas.errors import LayerError, NotPublishedError, StoreError
from tests import evolving, made_up_run

LAYERS = {"conv2": 6, "conv1": 2}


@pytest.fixture
def reader(tmp_path: Path) -> EvolutionReader:
    run = made_up_run.scan(tmp_path / "run", LAYERS)
    evolving.publish(run, LAYERS)
    return EvolutionReader(open_run(run))


def test_reader_knows_the_checkpoints_and_how_layers_changed(reader: EvolutionReader):
    assert reader.checkpoints == ("e1", "e2", "e3")
    assert (reader.layers, reader.threshold) == (("conv2", "conv1"), 0.5)

    conv2, conv1 = reader.histories()

    assert (conv2.layer, conv2.units, conv2.settled) == ("conv2", 6, None)
    assert (conv1.layer, conv1.units, conv1.settled) == ("conv1", 2, 1)
    first, second, _ = conv2.steps
    assert (first.compared, first.jumps, first.stayed, first.overlap) == (None,) * 4
    assert (first.dead, first.overlap_last) == (1, 0.0)
    assert (second.compared, second.jumps, second.overlap, second.overlap_last) == (
        6,
        1,
        0.25,
        0.25,
    )


def test_units_are_those_that_were_projected_at_every_checkpoint(reader: EvolutionReader):
    units = reader.units("conv2")

    assert [history.unit for history in units] == [0, 1, 2, 3]
    assert {len(history.moments) for history in units} == {3}
    assert units[2].moments[0] == Moment(0)
    jumping = units[1].moments[1]
    assert (jumping.jumped, jumping.image, jumping.value) == (True, "image11.png", "2.5")
    assert jumping.class_name == "thing 1"  # as the first image of its label
    assert [moment.jumped for history in units for moment in history.moments].count(True) == 1


def test_pictures_are_those_of_the_table_cut_at_the_frame(reader: EvolutionReader):
    moment = reader.units("conv2")[3].moments[0]

    assert moment.box == (-8, 4, 8, 20)
    for crop, colour in ((moment.patch, (200, 30, 10)), (moment.projection, (0, 30, 255))):
        assert crop is not None
        assert (crop.height, crop.width, crop.top, crop.left) == (16, 16, 8, 0)
        assert crop.pixels.shape == (8, 16, 3)
        assert crop.pixels.reshape(-1, 3).tolist() == [list(colour)] * 128


def test_layer_that_was_not_followed_is_refused(reader: EvolutionReader):
    with pytest.raises(LayerError, match="'conv3' was not followed; nearest: conv"):
        reader.units("conv3")


def test_evolution_of_another_scan_or_of_none_is_refused(tmp_path: Path):
    run = made_up_run.scan(tmp_path / "run", LAYERS)
    with pytest.raises(NotPublishedError):
        EvolutionReader(open_run(run))
    evolving.publish(run, LAYERS, of_scan="another")
    with pytest.raises(StoreError, match="checkpoints were made from the scan another"):
        EvolutionReader(open_run(run))
