from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from PIL import Image
from torch import nn

import tests.tiny_nets as nets
from pipeline.data.listing import list_images
from pipeline.data.object_boxes import ObjectBox
from pipeline.models.load import load_model
from pipeline.stages.model_stage import ScanSource
from pipeline.stages.occlude import OccludeStage, object_boxes
from pipeline.store import JobFolder, JobStore
from pipeline.store.encode import encode
from schemas.errors import DatasetError
from schemas.jobs.occlude import OccludeSpec
from schemas.manifest import Shard
from schemas.specs import DatasetSpec, ModelSpec, PreprocessSpec, Resources
from schemas.tables import IMAGE_LIST
from tests.reference import deconvnet, raw_picture
from tests.tiny_pictures import draw

MEAN, STD = (
    torch.tensor(values, dtype=torch.float64).view(3, 1, 1)
    for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
)


@pytest.fixture
def stage(tmp_path: Path) -> OccludeStage:
    """Five pictures without labels, in two shards."""
    return stage_of(tmp_path, "small")


def stage_of(tmp_path: Path, net: str) -> OccludeStage:
    draw(tmp_path / "pictures", 5)
    data = DatasetSpec(uri=str(tmp_path / "pictures"))
    model = ModelSpec(arch=f"{nets.__file__}:{net}", weights="random", trust_code=True)
    folder = JobFolder(str(tmp_path / "run"), "occlude")
    JobStore(folder).put_work_list(IMAGE_LIST, list_images(data))
    frame = PreprocessSpec(resize_px=None, crop_px=24)
    return OccludeStage(
        ScanSource(folder.run, model, load_model(model).weights_sha256, frame, data),
        Resources(local=True, threads=1),
        OccludeSpec(run=folder.run, window_px=("6", "3x9"), stride_px=(9,)),
        layer="relu2",
        boxes={},
    )


def written(stage: OccludeStage, tables: dict[str, pa.Table]) -> dict[str, bytes]:
    return {name: encode(stage.parts[name], rows) for name, rows in tables.items()}


def test_process_of_a_shard_gives_the_same_bytes_each_time(stage: OccludeStage):
    stage.setup("cpu")
    shard = Shard(index=0, start=0, stop=3)

    first = written(stage, stage.process(shard).tables)
    stage.process(Shard(index=1, start=3, stop=5))

    assert written(stage, stage.process(shard).tables) == first


def test_process_counts_images_and_positions(stage: OccludeStage):
    stage.setup("cpu")

    done = stage.process(Shard(index=1, start=3, stop=5))

    positions = done.tables["maps"].num_rows
    assert done.counts == {"images": 2, "positions": positions, "projections": 2}
    assert done.tables["pictures"].num_rows == 4


def test_projection_is_the_definition_s_of_the_map_s_largest_activation(stage: OccludeStage):
    """ZF 2.1 in float64; a picture's step is a 127th of its scale."""
    stage.setup("cpu")
    net = nets.small().double().eval()
    chain = list(net)[:5]

    done = stage.process(Shard(index=0, start=0, stop=5)).tables

    pictures = done["pictures"].filter(pc.equal(done["pictures"]["window"], 0)).to_pylist()
    worst = 0.0
    for row, picture in zip(done["map_projections"].to_pylist(), pictures, strict=True):
        frame = (raw_picture(Path(picture["uri"])) - MEAN) / STD
        with torch.inference_mode():
            maps = nn.Sequential(*chain)(frame)[0]
            peak = int(maps[row["unit"]].argmax())
            place = (row["unit"], peak // maps.shape[2], peak % maps.shape[2])
            wanted = deconvnet(chain, frame, place, float(maps[place]))[0]
        assert (row["image_id"], row["unit"]) == (picture["image_id"], picture["unit"])
        assert row["unit"] == int(maps.sum(dim=(1, 2)).argmax())
        assert (row["y"], row["x"]) == place[1:]
        assert row["value"] == pytest.approx(float(maps[place]), rel=1e-5)
        assert row["scale"] == pytest.approx(float(wanted.abs().max()), rel=1e-5)
        assert row["missing"] is None
        y0, x0, y1, x1 = (row[f"box_{edge}"] for edge in ("y0", "x0", "y1", "x1"))
        around = nn.functional.pad(wanted, (24, 24, 24, 24))
        inside = around[:, y0 + 24 : y1 + 24, x0 + 24 : x1 + 24]
        assert inside.count_nonzero() == wanted.count_nonzero() > 0, "all of it lies in the box"
        pixels = np.asarray(Image.open(io.BytesIO(row["projection"]["bytes"]))).transpose(2, 0, 1)
        off = np.abs((pixels.astype(float) - 128) / 127 * row["scale"] - inside.numpy()).max()
        worst = max(worst, off / row["scale"])
    assert worst <= 0.5 / 127 + 1e-5, worst


def test_projection_is_the_same_whatever_the_shards(stage: OccludeStage):
    stage.setup("cpu")
    whole = stage.process(Shard(index=0, start=0, stop=5)).tables["map_projections"]
    parts = [
        stage.process(Shard(index=at, start=start, stop=stop)).tables["map_projections"]
        for at, (start, stop) in enumerate(((0, 1), (1, 4), (4, 5)))
    ]
    assert pa.concat_tables(parts).equals(whole)


@pytest.mark.parametrize(
    ("net", "why"),
    [
        ("smooth", "rule 'deconvnet' is defined for networks of rectifiers, and relu2 is silu"),
        ("forked", "projections need a traced network: "),
        ("poisoned", "the map's largest activation is not finite"),
    ],
)
def test_projection_that_is_not_defined_is_missing_and_says_why(tmp_path: Path, net: str, why: str):
    stage = stage_of(tmp_path, net)
    stage.layer = "body.relu2" if net == "forked" else "relu2"
    stage.setup("cpu")

    done = stage.process(Shard(index=0, start=0, stop=2))

    rows = done.tables["map_projections"].to_pylist()
    assert [row["missing"].startswith(why) for row in rows] == [True, True], rows[0]["missing"]
    assert [(row["projection"], row["scale"]) for row in rows] == [(None, None)] * 2
    assert (done.counts["images"], done.counts["projections"]) == (2, 0)
    assert done.tables["pictures"].num_rows == 4


def test_target_without_a_label_is_the_prediction(stage: OccludeStage):
    stage.setup("cpu")

    pictures = stage.process(Shard(index=0, start=0, stop=2)).tables["pictures"]

    assert pictures["target"].to_pylist() == pictures["predicted"].to_pylist()


def test_picture_that_is_gone_is_named(stage: OccludeStage, tmp_path: Path):
    stage.setup("cpu")
    (tmp_path / "pictures" / "001.png").unlink()

    with pytest.raises(DatasetError, match=r"001.png: was scanned, and now it cannot be read"):
        stage.process(Shard(index=0, start=0, stop=3))


def test_object_boxes_are_those_of_the_class_or_all():
    eye, face = ObjectBox("eye", 0, 0, 1, 1), ObjectBox("face", 0, 0, 9, 9)

    assert object_boxes((eye, face), "face") == (face,)
    assert object_boxes((eye, face), "car") == (eye, face)
    assert object_boxes((eye,), None) == (eye,)
