from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tests.tiny_nets as nets
from jobs import engine
from pipeline.report.pictures import SCALE
from pipeline.report.sections.units.maps import (
    FeatureMap,
    draw_grid,
    draw_map,
    draw_maps,
    layers_with_maps,
)
from pipeline.store import open_run
from pipeline.store.run import Run
from schemas.errors import DatasetError, LayerError, SpecError
from schemas.jobs.scan import MapsFigure, ScanSpec
from schemas.specs import DatasetSpec, ModelSpec, PreprocessSpec, Resources
from tests.tiny_pictures import draw


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    folder = tmp_path_factory.mktemp("maps")
    draw(folder / "pictures", 2)
    spec = ScanSpec(
        model=ModelSpec(arch=f"{nets.__file__}:small", weights="random", trust_code=True),
        data=DatasetSpec(uri=str(folder / "pictures")),
        preprocess=PreprocessSpec(resize_px=None, crop_px=24),
        out=str(folder / "run"),
        resources=Resources(local=True, threads=1),
    )
    engine.run(spec)
    return open_run(spec.out), folder / "pictures"


def test_draw_maps_of_an_image_has_a_tile_per_layer_or_per_channel(scanned: tuple[Run, Path]):
    run, _ = scanned
    layers = layers_with_maps(run)
    [layer] = run.table("layers", job="scan", layer=layers[0]).to_dict("records")

    means = draw_maps(run, MapsFigure(maps=1))
    channels = draw_maps(run, MapsFigure(maps=1, channels=layers[0]))

    # Every tile has its lightest and its darkest colour, if its map is not constant.
    assert 1 <= _lit(means) <= len(layers)
    assert 1 <= _lit(channels) <= layer["units"]
    again = draw_maps(run, MapsFigure(maps=1))
    assert (np.asarray(again) == np.asarray(means)).all()


def test_draw_maps_of_what_is_not_there_is_refused(scanned: tuple[Run, Path]):
    run, pictures = scanned
    with pytest.raises(SpecError, match=r"--maps 2: .* no such image; choices: 0, 1"):
        draw_maps(run, MapsFigure(maps=2))
    with pytest.raises(LayerError, match="--channels relu: not scanned, or without a map"):
        draw_maps(run, MapsFigure(maps=1, channels="relu"))
    file = sorted(pictures.iterdir())[1]
    kept = file.read_bytes()
    file.unlink()
    try:
        with pytest.raises(DatasetError, match=f"{file.name}: image gone; put the picture back"):
            draw_maps(run, MapsFigure(maps=1))
    finally:
        file.write_bytes(kept)


def test_draw_map_spans_its_own_range_and_greys_what_is_not_finite():
    pixels = np.asarray(draw_map(np.array([[-3.0, 5.0], [1.0, np.nan]]), 4))

    assert tuple(pixels[0, 0]) == SCALE[0]
    assert tuple(pixels[0, 3]) == SCALE[-1]
    assert tuple(pixels[3, 0]) == SCALE[len(SCALE) // 2]
    assert tuple(pixels[3, 3]) == (160, 160, 160)
    assert tuple(np.asarray(draw_map(np.ones((2, 2)), 4))[0, 0]) == SCALE[0]


@pytest.mark.parametrize("count", [1, 7, 64, 65, 256, 257, 1000])
def test_draw_grid_holds_every_map(count: int):
    ramp = np.arange(4.0).reshape(2, 2)
    maps = [FeatureMap(f"block.{place}.relu", ramp) for place in range(count)]

    page = draw_grid("name " * 60, "facts", np.zeros((24, 24, 3), np.uint8), maps)

    assert _lit(page) == count
    assert page.width < 4000


def _lit(page: Image.Image) -> int:
    """How many tiles have the lightest colour: regions of it, told apart by what lies between."""
    mask = (np.asarray(page) == SCALE[-1]).all(axis=2)
    corners = mask.copy()
    corners[1:] &= ~mask[:-1]
    corners[:, 1:] &= ~mask[:, :-1]
    return int(corners.sum())
