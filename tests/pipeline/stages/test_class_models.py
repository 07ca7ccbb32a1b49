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
from pipeline.data.preprocess import normalise
from pipeline.models.load import load_model
from pipeline.stages.class_models import ClassModelsStage, cut_out, to_frames
from pipeline.stages.model_stage import ScanSource
from pipeline.store import JobFolder, JobStore
from pipeline.store.encode import encode
from schemas.jobs.class_models import TARGET_LIST, ClassModelsSpec
from schemas.manifest import Shard
from schemas.specs import DatasetSpec, ModelSpec, PreprocessSpec, Resources

SIDE, BATCH = 24, 3
TARGETS = [("relu1", 4, 0), ("relu2", 1, 0), ("relu2", 1, 1), ("relu2", 6, 0), ("fc", 2, 0)]
FRAME = PreprocessSpec(resize_px=None, crop_px=SIDE)


def _stage(folder: Path, net: str = "small", **given: object) -> ClassModelsStage:
    """Five targets of three layers, ready to run."""
    model = ModelSpec(arch=f"{nets.__file__}:{net}", weights="random", trust_code=True)
    job = JobFolder(str(folder / "run"), "class-models")
    rows = [
        {"layer": layer, "unit": unit, "start": start, "class_name": None}
        for layer, unit, start in TARGETS
    ]
    JobStore(job).put_work_list(TARGET_LIST, pa.Table.from_pylist(rows, schema=TARGET_LIST.schema))
    spec = ClassModelsSpec.model_validate({"run": job.run, "steps": 6, "rate": 0.1} | given)
    data = DatasetSpec(uri=str(folder))
    stage = ClassModelsStage(
        ScanSource(job.run, model, load_model(model).weights_sha256, FRAME, data),
        Resources(local=True, threads=1), spec, BATCH,
    )  # fmt: skip
    stage.setup("cpu")
    return stage


def _written(stage: ClassModelsStage, tables: dict[str, pa.Table]) -> dict[str, bytes]:
    return {name: encode(stage.parts[name], rows) for name, rows in tables.items()}


def test_process_of_a_shard_gives_the_same_bytes_each_time(tmp_path: Path):
    stage = _stage(tmp_path)
    shard = Shard(index=0, start=0, stop=3)
    first = _written(stage, stage.process(shard).tables)
    stage.process(Shard(index=1, start=3, stop=5))
    assert _written(stage, stage.process(shard).tables) == first


def test_process_counts_targets_whose_value_did_not_rise(tmp_path: Path):
    # So heavy a penalty leaves the mean colour.
    stage = _stage(tmp_path, l2=1e6)
    done = stage.process(Shard(index=0, start=0, stop=5))
    rows = done.tables["models"].to_pandas()
    fell = ~(rows["score_end"] > rows["score_start"])
    wrong = rows["predicted"].notna() & (rows["predicted"] != rows["unit"])
    assert done.counts["missed"] == int((fell | wrong).sum()) > 0


@pytest.mark.parametrize("basis", ["pixel", "fourier"])
def test_process_of_a_target_does_not_depend_on_its_shard(tmp_path: Path, basis: str):
    stage = _stage(tmp_path, basis=basis, blur_px=0.5)
    whole = stage.process(Shard(index=0, start=0, stop=5)).tables
    curve = stage.spec.steps + 1
    for start in range(5):
        alone = stage.process(Shard(index=0, start=start, stop=start + 1)).tables
        assert alone["models"] == whole["models"].slice(start, 1)
        assert alone["ascent"] == whole["ascent"].slice(start * curve, curve)


def test_process_tells_of_each_target_what_it_answers_to(tmp_path: Path):
    stage = _stage(tmp_path, l2=1e-5)
    done = stage.process(Shard(index=0, start=0, stop=5))
    rows = done.tables["models"].to_pandas()
    wrong = rows["predicted"].notna() & (rows["predicted"] != rows["unit"])
    assert done.counts == {"targets": 5, "missed": int(wrong.sum())}
    assert rows["raised"].tolist() == ["conv1", "conv2", "conv2", "conv2", "fc"]
    assert (rows["score_end"] > rows["score_start"]).all()
    assert rows["p_target"].notna().tolist() == rows["predicted"].notna().tolist()
    assert rows["p_target"].notna().tolist() == [False] * 4 + [True]
    assert rows["jitter_px"].tolist() == [0, 1, 1, 1, 3]
    assert rows["box_y1"].sub(rows["box_y0"]).tolist() == [3, 9, 9, 9, 24]
    sizes = [Image.open(io.BytesIO(row["bytes"])).size for row in rows["picture"]]
    assert sizes == [(3, 3), (9, 9), (9, 9), (9, 9), (24, 24)]
    ends = done.tables["ascent"].to_pandas().groupby(["layer", "unit", "start"], sort=False).last()
    assert ends["step"].tolist() == [6] * 5
    np.testing.assert_array_equal(ends["score"], rows["score_end"])
    np.testing.assert_array_equal(ends["penalty"], rows["penalty_end"])


def test_process_of_a_class_s_picture_gives_its_p_again(tmp_path: Path):
    stage = _stage(tmp_path, rate=0.3)
    [row] = stage.process(Shard(index=0, start=4, stop=5)).tables["models"].to_pylist()
    pixels = np.asarray(Image.open(io.BytesIO(row["picture"]["bytes"])))
    frame = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None]
    with torch.no_grad():
        p = nets.small().eval()(normalise(frame, FRAME, torch.float32)).softmax(dim=1)[0]
    assert row["p_target"] == pytest.approx(float(p[2]), rel=1e-6)
    assert row["predicted"] == int(p.argmax())
    assert row["saturated"] == pytest.approx(np.isin(pixels, (0, 255)).mean())


def test_process_with_another_seed_gives_other_images(tmp_path: Path):
    shard = Shard(index=0, start=0, stop=1)
    stage = _stage(tmp_path)
    other = replace(stage, spec=stage.spec.model_copy(update={"seed": 1}))
    other.setup("cpu")
    found = [each.process(shard).tables["models"]["score_start"] for each in (stage, other)]
    assert found[0] != found[1]


def test_process_of_weights_that_are_no_numbers_gives_the_mean_colour(tmp_path: Path):
    rows = _stage(tmp_path, "poisoned").process(Shard(index=0, start=4, stop=5)).tables["models"]
    [row] = rows.to_pylist()
    assert np.isnan(row["score_end"])
    pixels = np.asarray(Image.open(io.BytesIO(row["picture"]["bytes"])))
    assert (pixels[:, :, 0] == 124).all()  # red alone meets the weight that is none


def test_to_frames_undoes_normalise():
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (2, 3, 8, 8), generator=generator, dtype=torch.uint8)
    for spec in (FRAME, PreprocessSpec(value_range=255, mean=(125, 123, 114), std=(64, 64, 64))):
        assert torch.equal(to_frames(normalise(frames, spec, torch.float32), spec), frames)


def test_cut_out_is_where_box_and_frame_overlap():
    frame = torch.arange(3 * 36).view(3, 6, 6)
    assert torch.equal(cut_out(frame, np.array([-2, 3, 4, 9])), frame[:, 0:4, 3:6])
