from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

import tests.tiny_nets as nets
from pipeline.models.load import load_model
from pipeline.stages.filters import FiltersStage, filter_png
from pipeline.stages.model_stage import ScanSource
from pipeline.store import JobFolder, JobStore
from pipeline.store.encode import encode
from schemas.jobs.filters import CONVOLUTIONS, FiltersSpec
from schemas.manifest import Shard
from schemas.specs import DatasetSpec, ModelSpec, PreprocessSpec, Resources
from tests import made_up_run

LAYERS = {"relu1": 6, "relu2": 8}


@pytest.fixture
def stage(tmp_path: Path) -> FiltersStage:
    """Two layers of `tiny_nets.small`, with a scan that is made up."""
    run = made_up_run.scan(tmp_path / "run", LAYERS)
    rows = [
        {"layer": f"relu{place}", "position": place, "convolution": f"conv{place}"}
        for place in (1, 2)
    ]
    table = pa.Table.from_pylist(rows, schema=CONVOLUTIONS.schema)
    JobStore(JobFolder(run, "filters")).put_work_list(CONVOLUTIONS, table)
    model = ModelSpec(arch=f"{nets.__file__}:small", weights="random", trust_code=True)
    frame, data = PreprocessSpec(resize_px=None, crop_px=24), DatasetSpec(uri="gone")
    source = ScanSource(run, model, load_model(model).weights_sha256, frame, data)
    made = FiltersStage(source, Resources(local=True, threads=1), FiltersSpec(run=run))
    made.setup("cpu")
    return made


def _written(stage: FiltersStage, tables: dict[str, pa.Table]) -> dict[str, bytes]:
    return {name: encode(stage.parts[name], rows) for name, rows in tables.items()}


def test_process_of_a_shard_gives_the_same_bytes_each_time(stage: FiltersStage):
    shard = Shard(index=0, start=0, stop=2)
    first = stage.process(shard)
    stage.process(Shard(index=1, start=1, stop=2))
    assert _written(stage, stage.process(shard).tables) == _written(stage, first.tables)
    assert first.counts == {
        "layers": 2, "filters": 14, "findings": first.tables["findings"].num_rows,
    }  # fmt: skip


def test_process_of_a_layer_does_not_depend_on_its_shard(stage: FiltersStage):
    whole = stage.process(Shard(index=0, start=0, stop=2)).tables
    alone = [stage.process(Shard(index=i, start=i, stop=i + 1)).tables for i in range(2)]
    for name, rows in whole.items():
        assert pa.concat_tables([each[name] for each in alone]) == rows


def test_process_says_of_units_what_the_scan_counted(stage: FiltersStage):
    rows = stage.process(Shard(index=0, start=0, stop=2)).tables["filters"].to_pandas()
    dead = rows["unit"] == made_up_run.DEAD
    assert rows["dead"].tolist() == dead.tolist()
    assert not rows["near_dead"].any()
    assert (rows["findings"][dead].str.contains("dead")).all()
    two = rows["unit"] == made_up_run.TWO
    assert (rows["active_share"][two] == 2 / made_up_run.IMAGES).all()


def _values(png: bytes, scale: float) -> np.ndarray:
    pixels = np.asarray(Image.open(io.BytesIO(png))).astype(float)
    return (pixels - 128) / 127 * scale


@pytest.mark.parametrize("shape", [(3, 7, 5), (3, 1, 1)])
def test_filter_png_in_colour_is_undone_by_its_scale(shape: tuple[int, ...]):
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0)).double().numpy()
    png, scale = filter_png(values, colour=True)
    assert scale == np.abs(values).max()
    assert np.abs(_values(png, scale) - values.transpose(1, 2, 0)).max() <= 0.501 / 127 * scale


def test_filter_png_without_colour_is_the_mean_over_channels():
    values = torch.randn(9, 3, 4, generator=torch.Generator().manual_seed(0)).double().numpy()
    png, scale = filter_png(values, colour=False)
    means = values.mean(axis=0)
    assert scale == np.abs(means).max()
    assert np.abs(_values(png, scale) - means).max() <= 0.501 / 127 * scale


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_filter_png_of_nothing_or_not_finite_is_grey(value: float):
    values = np.ones((3, 3, 3)) if value else np.zeros((3, 3, 3))
    values[1, 1, 1] = value
    png, scale = filter_png(values, colour=True)
    assert scale == 0
    assert (np.asarray(Image.open(io.BytesIO(png))) == 128).all()
