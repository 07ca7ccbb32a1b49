from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

import tests.tiny_nets as nets
from pipeline.data.listing import list_images
from pipeline.models.load import load_model
from pipeline.models.network import open_network
from pipeline.stages.correspond import SIGNS, CorrespondStage, vector_length
from pipeline.stages.model_stage import ScanSource
from pipeline.store import JobFolder, JobStore
from pipeline.store.encode import encode
from schemas.errors import DatasetError
from schemas.jobs.correspond import CorrespondSpec
from schemas.manifest import Shard
from schemas.specs import DatasetSpec, ModelSpec, PreprocessSpec, Resources
from schemas.tables import IMAGE_LIST
from tests.tiny_pictures import draw

EYES = {"eye": (2, 3, 8, 9)}
NOSES = {"eye": (1, 1, 6, 7), "nose": (10, 10, 16, 15)}
BOXES = {0: EYES, 1: NOSES, 2: NOSES, 3: EYES, 4: NOSES}


@pytest.fixture
def stage(tmp_path: Path) -> CorrespondStage:
    """Five pictures, in two shards."""
    draw(tmp_path / "pictures", 5)
    data = DatasetSpec(uri=str(tmp_path / "pictures"))
    model = ModelSpec(arch=f"{nets.__file__}:small", weights="random", trust_code=True)
    folder = JobFolder(str(tmp_path / "run"), "correspond")
    JobStore(folder).put_work_list(IMAGE_LIST, list_images(data))
    frame = PreprocessSpec(resize_px=None, crop_px=24)
    stage = CorrespondStage(
        ScanSource(folder.run, model, load_model(model).weights_sha256, frame, data),
        Resources(local=True, threads=1),
        CorrespondSpec(run=folder.run, boxes="parts.csv", draws=20),
        layers=("relu2", "fc"),
        parts_masked=("eye", "nose"),
        boxes=BOXES,
    )
    stage.setup("cpu")
    return stage


def signs(stage: CorrespondStage, start: int, stop: int) -> pa.Table:
    return stage.process(Shard(index=0, start=start, stop=stop)).tables["signs"]


def test_process_of_a_shard_gives_the_same_bytes_each_time(stage: CorrespondStage):
    first = encode(SIGNS, signs(stage, 0, 3))
    signs(stage, 3, 5)

    assert encode(SIGNS, signs(stage, 0, 3)) == first


def test_counts_of_shards_add_up_to_those_of_all_images(stage: CorrespondStage):
    whole, parts = signs(stage, 0, 5), [signs(stage, 0, 2), signs(stage, 2, 5)]

    assert whole.select(["layer", "part", "draw"]) == parts[0].select(["layer", "part", "draw"])
    for name in ("positive", "negative"):
        flat = [table[name].combine_chunks().flatten().to_numpy() for table in (whole, *parts)]
        assert flat[0].sum() > 0
        assert (flat[0] == flat[1] + flat[2]).all()


def test_process_counts_masks_and_the_images_that_have_each_part(stage: CorrespondStage):
    done = stage.process(Shard(index=0, start=0, stop=5))

    rows = done.tables["signs"].to_pandas()
    assert done.counts == {"images": 5, "masks": 8 * 21}
    assert rows.groupby(["layer", "part"])["images"].unique().map(list).to_dict() == {
        ("relu2", "eye"): [5], ("relu2", "nose"): [3], ("fc", "eye"): [5], ("fc", "nose"): [3],
    }  # fmt: skip


def test_mask_that_hides_nothing_changes_nothing(
    stage: CorrespondStage, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(stage, "_fill", lambda frame, _: stage.images(frame))

    rows = signs(stage, 0, 5)

    assert sum(sum(counts) for counts in rows["positive"].to_pylist()) == 0
    assert sum(sum(counts) for counts in rows["negative"].to_pylist()) == 0


def test_vector_length_is_units_times_positions(stage: CorrespondStage):
    network = open_network(stage.source.load().module, 24)

    assert vector_length(network.layer("relu2")) == 8 * 5 * 5
    assert vector_length(network.layer("fc")) == 5


def test_picture_that_is_gone_is_named(stage: CorrespondStage, tmp_path: Path):
    (tmp_path / "pictures" / "001.png").unlink()

    with pytest.raises(DatasetError, match=r"001.png: was scanned, and now it cannot be read"):
        signs(stage, 0, 3)
