from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

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
from tests.tiny_pictures import draw


@pytest.fixture
def stage(tmp_path: Path) -> OccludeStage:
    """Five pictures without labels, in two shards."""
    draw(tmp_path / "pictures", 5)
    data = DatasetSpec(uri=str(tmp_path / "pictures"))
    model = ModelSpec(arch=f"{nets.__file__}:small", weights="random", trust_code=True)
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
