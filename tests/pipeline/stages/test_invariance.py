from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

import tests.tiny_nets as nets
from pipeline.data.decode import decode
from pipeline.data.listing import list_images
from pipeline.data.moved_picture import MovedPicture
from pipeline.data.preprocess import to_frame
from pipeline.models.load import load_model
from pipeline.stages.invariance import (
    STRIP_PICTURES,
    STRIP_PX,
    InvarianceStage,
    strip_places,
    strip_png,
)
from pipeline.stages.model_stage import ScanSource
from pipeline.store import JobFolder, JobStore
from pipeline.store.encode import encode
from schemas.errors import DatasetError
from schemas.jobs.invariance import InvarianceSpec
from schemas.manifest import Shard
from schemas.moves import Move
from schemas.specs import DatasetSpec, ModelSpec, PreprocessSpec, Resources
from schemas.tables import IMAGE_LIST
from tests.tiny_pictures import draw

FRAME = PreprocessSpec(resize_px=18, crop_px=12)
STEPS = {"translation_px": "-4..4/2", "scale": "1..1.8/0.4", "rotation_degrees": "0..270/90"}
MOVES = 5 + 3 + 4
LAYERS = ("relu1", "relu2")


@pytest.fixture
def stage(tmp_path: Path) -> InvarianceStage:
    """Five pictures without labels, in two shards."""
    draw(tmp_path / "pictures", 5, side=30)
    return make(tmp_path, "small")


def make(home: Path, net: str) -> InvarianceStage:
    data = DatasetSpec(uri=str(home / "pictures"))
    model = ModelSpec(arch=f"{nets.__file__}:{net}", weights="random", trust_code=True)
    folder = JobFolder(str(home / "run"), "invariance")
    JobStore(folder).put_work_list(IMAGE_LIST, list_images(data))
    return InvarianceStage(
        ScanSource(folder.run, model, load_model(model).weights_sha256, FRAME, data),
        Resources(local=True, threads=1),
        InvarianceSpec.model_validate({"run": folder.run, **STEPS}),
        LAYERS,
    )


def written(stage: InvarianceStage, tables: dict[str, pa.Table]) -> dict[str, bytes]:
    return {name: encode(stage.parts[name], rows) for name, rows in tables.items()}


def test_process_of_a_shard_gives_the_same_bytes_each_time(stage: InvarianceStage):
    stage.setup("cpu")
    shard = Shard(index=0, start=0, stop=3)

    first = written(stage, stage.process(shard).tables)
    stage.process(Shard(index=1, start=3, stop=5))

    assert written(stage, stage.process(shard).tables) == first


def test_process_of_an_image_does_not_depend_on_its_shard(stage: InvarianceStage):
    stage.setup("cpu")
    whole = stage.process(Shard(index=0, start=0, stop=5)).tables

    for start in range(5):
        alone = stage.process(Shard(index=0, start=start, stop=start + 1)).tables
        for name, rows in (("responses", MOVES * len(LAYERS)), ("pictures", 3)):
            assert alone[name] == whole[name].slice(start * rows, rows)


def test_process_with_other_bytes_gives_the_same_but_for_rounding(stage: InvarianceStage):
    shard = Shard(index=0, start=0, stop=2)
    stage.setup("cpu")
    wanted = stage.process(shard).tables["responses"].to_pandas()
    other = replace(stage, spec=stage.spec.model_copy(update={"batch_bytes": 1}))
    other.setup("cpu")
    found = other.process(shard).tables["responses"].to_pandas()

    for name in ("distance", "relative_distance", "p_target"):
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-4, atol=1e-6)


def test_process_gives_every_move_its_own_row_and_nothing_moves_by_nothing(stage: InvarianceStage):
    stage.setup("cpu")

    done = stage.process(Shard(index=1, start=3, stop=5))

    assert done.counts == {"images": 2, "moves": 2 * MOVES}
    rows = done.tables["responses"].to_pandas()
    keys = rows[["transform", "amount", "layer"]].values.tolist()
    assert keys == 2 * [[*move, name] for move in stage.spec.moves for name in LAYERS]
    still = [
        Move(*each).is_identity for each in zip(rows["transform"], rows["amount"], strict=True)
    ]
    assert sum(still) == 2 * 3 * len(LAYERS)
    assert ((rows["distance"] == 0) == still).all()
    assert (rows["relative_distance"][still] == 0).all()
    assert (rows["p_target"] == rows["p_plain"])[still].all()
    assert (rows["predicted"] == rows["predicted_plain"])[still].all()
    assert rows["target"].equals(rows["predicted_plain"])
    assert (rows["filled_share"][still] == 0).all()
    assert rows["filled_share"][rows["amount"] == 4].tolist() == [1 / 12] * 4


def test_relative_distance_of_a_layer_that_is_silent_is_null(tmp_path: Path):
    draw(tmp_path / "pictures", 1, side=30)
    stage = make(tmp_path, "dead")
    stage.setup("cpu")

    rows = stage.process(Shard(index=0, start=0, stop=1)).tables["responses"].to_pandas()

    silent = rows[rows["layer"] == "relu2"]
    assert (silent["distance"] == 0).all()
    assert silent["relative_distance"].isna().all()
    assert rows[rows["layer"] == "relu1"]["relative_distance"].notna().all()


def test_distance_of_weights_that_are_not_finite_is_not_hidden(tmp_path: Path):
    draw(tmp_path / "pictures", 1, side=30)
    stage = make(tmp_path, "poisoned")
    stage.setup("cpu")

    rows = stage.process(Shard(index=0, start=0, stop=1)).tables["responses"].to_pandas()

    assert rows["distance"].isna().all()
    assert rows["relative_distance"].isna().all()


def test_picture_that_is_gone_is_named(stage: InvarianceStage, tmp_path: Path):
    stage.setup("cpu")
    (tmp_path / "pictures" / "001.png").unlink()

    with pytest.raises(DatasetError, match=r"001.png: was scanned, and now it cannot be read"):
        stage.process(Shard(index=0, start=0, stop=3))


def test_strip_shows_the_plain_and_the_moved_frames(stage: InvarianceStage, tmp_path: Path):
    stage.setup("cpu")

    rows = stage.process(Shard(index=0, start=0, stop=1)).tables["pictures"].to_pylist()

    assert [(row["transform"], row["amounts"]) for row in rows] == [
        ("rotation", "0, 90, 180, 270"),
        ("scale", "1, 1.4, 1.8"),
        ("translation", "-4, -2, 0, 2, 4"),
    ]
    pixels = decode((tmp_path / "pictures" / "000.png").read_bytes(), max_pixels=10**6)
    turned = MovedPicture(pixels, FRAME, "mean").frame(Move("rotation", 90.0))[0]
    for row, frame, place in ((rows[0], turned, 1), (rows[2], to_frame(pixels, FRAME), 2)):
        strip = np.asarray(Image.open(io.BytesIO(row["strip"]["bytes"])))
        alone = np.asarray(Image.open(io.BytesIO(strip_png(frame[None]))))
        assert np.array_equal(strip[:, place * STRIP_PX :][:, :STRIP_PX], alone)


@pytest.mark.parametrize(
    ("count", "places"),
    [(1, [0]), (2, [0, 1]), (5, [0, 1, 2, 3, 4]), (9, [0, 2, 4, 6, 8]), (36, [0, 9, 18, 26, 35])],
)
def test_strip_places_reach_from_end_to_end(count: int, places: list[int]):
    assert strip_places(count) == places
    assert len(places) <= STRIP_PICTURES


def test_strip_is_as_wide_as_its_frames():
    frames = torch.zeros(3, 3, 40, 40, dtype=torch.uint8)

    assert Image.open(io.BytesIO(strip_png(frames))).size == (3 * STRIP_PX, STRIP_PX)
