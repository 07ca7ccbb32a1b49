from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pytest

import tests.tiny_nets as nets
from pipeline.data.listing import list_images
from pipeline.data.loader import Batch
from pipeline.models.load import load_model
from pipeline.models.network import Network
from pipeline.stages.image_stage import ImageStage
from pipeline.stages.model_stage import ScanSource
from pipeline.store import JobFolder, JobStore
from schemas.errors import DatasetError, ModelError
from schemas.manifest import Shard
from schemas.specs import DatasetSpec, ModelSpec, PreprocessSpec, Resources
from schemas.tables import IMAGE_ID, IMAGE_LIST, Column, Table
from tests.tiny_pictures import draw

SEEN = Table("seen", "seen", (IMAGE_ID, Column("batch", "int32", "its batch")), ("image_id",), ())
SUMS = Table("seen", "sums", (Column("total", "int64", "of the ids"),), ("total",), ())


@dataclass
class SeenStage(ImageStage):
    """Notes which images came in which batch, newest first, and adds up their ids."""

    name: ClassVar[str] = "seen"

    @property
    def parts(self) -> dict[str, Table]:
        return {"seen": SEEN, "sums": SUMS}

    @property
    def batch_size(self) -> int:
        return 2

    def open(self, network: Network) -> None:
        self.layers = [layer.name for layer in network.layers]

    def begin(self) -> None:
        self._total = self._batches = 0

    def batch(self, batch: Batch) -> dict[str, pa.Table]:
        ids = batch.rows["image_id"].to_pylist()
        self._total += sum(ids)
        self._batches += 1
        assert self.images(batch.frames).shape == (2, 3, 24, 24)
        rows = [{"image_id": image_id, "batch": self._batches} for image_id in ids]
        return {"seen": pa.Table.from_pylist(rows, schema=SEEN.schema)}

    def finish(self) -> dict[str, pa.Table]:
        return {"sums": pa.table({"total": [self._total]}, schema=SUMS.schema)}

    def arrange(self, rows: pa.Table) -> pa.Table:
        return rows.sort_by([(rows.column_names[0], "descending")])


@pytest.fixture
def stage(tmp_path: Path) -> SeenStage:
    """Five pictures."""
    draw(tmp_path / "pictures", 5)
    data = DatasetSpec(uri=str(tmp_path / "pictures"))
    model = ModelSpec(arch=f"{nets.__file__}:small", weights="random", trust_code=True)
    folder = JobFolder(str(tmp_path / "run"), "seen")
    JobStore(folder).put_work_list(IMAGE_LIST, list_images(data))
    frame = PreprocessSpec(resize_px=None, crop_px=24)
    source = ScanSource(folder.run, model, load_model(model).weights_sha256, frame, data)
    return SeenStage(source, Resources(local=True, threads=1))


def test_process_shows_the_images_of_a_shard_batch_by_batch(stage: SeenStage):
    stage.setup("cpu")

    for _ in range(2):
        output = stage.process(Shard(index=1, start=1, stop=4))

        assert output.tables["seen"].to_pydict() == {"image_id": [3, 2, 1], "batch": [2, 1, 1]}
        assert output.tables["sums"].to_pydict() == {"total": [6]}
        assert output.counts == {"images": 3, "seen": 3, "sums": 1}


def test_process_of_an_image_that_was_scanned_and_is_broken_now_names_it(
    stage: SeenStage, tmp_path: Path
):
    broken = sorted((tmp_path / "pictures").iterdir())[2]
    broken.write_bytes(b"no picture")
    stage.setup("cpu")

    with pytest.raises(DatasetError, match=rf"{broken.name}: was scanned, and now it cannot be"):
        stage.process(Shard(index=0, start=0, stop=5))


def test_setup_refuses_weights_that_are_not_the_scanned_ones(stage: SeenStage):
    object.__setattr__(stage.source, "weights_sha256", "0" * 64)

    with pytest.raises(ModelError, match=r"the scan in .* was made with 000"):
        stage.setup("cpu")
