from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import tests.tiny_nets as nets
from pipeline.data.listing import list_images
from pipeline.models.load import load_model
from pipeline.stages.model_stage import ScanSource
from pipeline.stages.saliency import SaliencyStage, saliency_png
from pipeline.store import JobFolder, JobStore
from pipeline.store.encode import encode
from schemas.errors import DatasetError
from schemas.jobs.saliency import SaliencySpec
from schemas.manifest import Shard
from schemas.specs import DatasetSpec, ModelSpec, PreprocessSpec, Resources
from schemas.tables import IMAGE_LIST
from tests.tiny_pictures import draw

METHODS = ("smoothgrad", "gradient", "integrated", "guided")


@pytest.fixture
def stage(tmp_path: Path) -> SaliencyStage:
    """Five pictures without labels, in two shards."""
    draw(tmp_path / "pictures", 5)
    data = DatasetSpec(uri=str(tmp_path / "pictures"))
    model = ModelSpec(arch=f"{nets.__file__}:small", weights="random", trust_code=True)
    folder = JobFolder(str(tmp_path / "run"), "saliency")
    JobStore(folder).put_work_list(IMAGE_LIST, list_images(data))
    frame = PreprocessSpec(resize_px=None, crop_px=24)
    return SaliencyStage(
        ScanSource(folder.run, model, load_model(model).weights_sha256, frame, data),
        Resources(local=True, threads=1),
        SaliencySpec(run=folder.run, methods=METHODS, samples=5, steps=6),
    )


def written(stage: SaliencyStage, tables: dict[str, pa.Table]) -> dict[str, bytes]:
    return {name: encode(stage.parts[name], rows) for name, rows in tables.items()}


def test_process_of_a_shard_gives_the_same_bytes_each_time(stage: SaliencyStage):
    stage.setup("cpu")
    shard = Shard(index=0, start=0, stop=3)

    first = written(stage, stage.process(shard).tables)
    stage.process(Shard(index=1, start=3, stop=5))

    assert written(stage, stage.process(shard).tables) == first


def test_process_of_an_image_does_not_depend_on_its_shard(stage: SaliencyStage):
    stage.setup("cpu")
    whole = stage.process(Shard(index=0, start=0, stop=5)).tables["attributions"]

    for start in range(5):
        alone = stage.process(Shard(index=0, start=start, stop=start + 1)).tables["attributions"]
        assert alone == whole.slice(start * len(METHODS), len(METHODS))


@pytest.mark.parametrize("batch_bytes", [2**20, 2**25])
def test_process_with_other_bytes_gives_the_same_maps_but_for_rounding(
    stage: SaliencyStage, batch_bytes: int
):
    shard = Shard(index=0, start=0, stop=5)
    stage.setup("cpu")
    wanted = stage.process(shard).tables["attributions"].to_pandas()
    other = replace(stage, spec=stage.spec.model_copy(update={"batch_bytes": batch_bytes}))
    other.setup("cpu")
    found = other.process(shard).tables["attributions"].to_pandas()

    np.testing.assert_allclose(found["scale"], wanted["scale"], rtol=1e-4)
    np.testing.assert_allclose(found["score"], wanted["score"], rtol=1e-5)


def test_process_counts_images_and_maps(stage: SaliencyStage):
    stage.setup("cpu")

    done = stage.process(Shard(index=1, start=3, stop=5))

    assert done.counts == {"images": 2, "maps": 2 * len(METHODS)}
    rows = done.tables["attributions"].to_pandas()
    assert rows["method"].tolist() == sorted(METHODS) * 2
    assert rows["target"].equals(rows["predicted"])
    assert rows["completeness_error"].notna().tolist() == (rows["method"] == "integrated").tolist()


def test_picture_that_is_gone_is_named(stage: SaliencyStage, tmp_path: Path):
    stage.setup("cpu")
    (tmp_path / "pictures" / "001.png").unlink()

    with pytest.raises(DatasetError, match=r"001.png: was scanned, and now it cannot be read"):
        stage.process(Shard(index=0, start=0, stop=3))


def _decoded(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png))).astype(float)


@pytest.mark.parametrize("shape", [(9, 7), (3, 9, 7)])
@pytest.mark.parametrize("zero", [0, 128])
def test_saliency_png_is_undone_by_its_scale(shape: tuple[int, ...], zero: int):
    values = np.random.default_rng(0).normal(size=shape) * 3
    values = values if zero else np.abs(values)

    png, scale = saliency_png(values, zero, 64)

    pixels = _decoded(png)
    pixels = pixels.transpose(2, 0, 1) if pixels.ndim == 3 else pixels
    assert scale == np.abs(values).max()
    error = np.abs((pixels - zero) / (255 - zero) * scale - values).max()
    assert error <= 0.5001 / (255 - zero) * scale


def test_saliency_png_is_reduced_by_averaging():
    values = np.arange(32.0 * 64).reshape(32, 64)

    png, scale = saliency_png(values, 0, 16)

    means = values.reshape(8, 4, 16, 4).mean(axis=(1, 3))
    assert scale == means.max()
    assert np.abs(_decoded(png) / 255 * scale - means).max() <= 0.5001 / 255 * scale


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_saliency_png_of_nothing_or_not_finite_is_all_zero(value: float):
    png, _ = saliency_png(np.full((3, 4, 4), value), 128, 64)

    assert (_decoded(png) == 128).all()
