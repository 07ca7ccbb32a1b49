"""A shard's tables equal the definitions and depend on the shard and the plan alone."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn

import tests.tiny_nets as nets
from pipeline.data.image_rows import list_rows, number_rows
from pipeline.models.load import load_model
from pipeline.stages.contract import StageOutput
from pipeline.stages.model_stage import ScanSource
from pipeline.stages.scan import ScanStage
from pipeline.stages.scan_tables import PARTS, TopMerge, sums_of
from pipeline.store.commit import JobStore
from pipeline.store.encode import encode
from pipeline.store.layout import JobFolder
from schemas.errors import ModelError, WorkerError
from schemas.jobs.scan import ScanSpec
from schemas.manifest import Shard
from schemas.specs import DatasetSpec, ModelSpec, PreprocessSpec, Resources
from schemas.tables import IMAGE_LIST
from tests.reference import (
    feature_maps,
    prediction,
    raw_picture,
    top_peaks,
    unit_statistics,
)
from tests.tiny_pictures import draw

LAYERS = ("relu1", "relu2", "fc")
UNITS = {"relu1": 6, "relu2": 8, "fc": 5}
WIDTHS = {"relu1": 24, "relu2": 5, "fc": 1}
PREPROCESS = PreprocessSpec(resize_px=None, crop_px=24)
MakeStage = Callable[..., ScanStage]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    return draw(tmp_path / "pictures", 13)


@pytest.fixture
def make(tmp_path: Path) -> MakeStage:
    """A stage over pictures, set up; each call has a folder of its own."""
    made = []

    def make_stage(
        uris: Sequence[Path],
        net: str = "small",
        *,
        labels: Sequence[int | None] | None = None,
        layers: tuple[str, ...] = LAYERS,
        source: dict[str, object] | None = None,
        **changes: object,
    ) -> ScanStage:
        run = str(tmp_path / f"run-{len(made)}")
        rows = list_rows([str(uri) for uri in uris], **({"label": labels} if labels else {}))
        JobStore(JobFolder(run, "scan")).put_work_list(IMAGE_LIST, number_rows(rows))
        model = ModelSpec(arch=f"{nets.__file__}:{net}", weights="random", trust_code=True)
        data = DatasetSpec(uri="unused")
        plain = ScanSource(run, model, load_model(model).weights_sha256, PREPROCESS, data)
        given = {"model": model, "data": data, "out": run, "top": 4, "batch_size": 4} | changes
        here = Resources(local=True, threads=1)
        spec = ScanSpec.model_validate(given)
        stage = ScanStage(replace(plain, **(source or {})), here, spec, layers)
        stage.setup("cpu")
        made.append(stage)
        return stage

    return make_stage


def slice_of(start: int, stop: int, *, index: int = 0, excluded: tuple[int, ...] = ()) -> Shard:
    return Shard(index=index, start=start, stop=stop, excluded=excluded)


def encoded(output: StageOutput) -> dict[str, bytes]:
    return {name: encode(PARTS[name], table) for name, table in output.tables.items()}


def peaks_of(output: StageOutput) -> dict[tuple[str, int], list[tuple[int, int, int, float]]]:
    """(image_id, y, x, value) by layer and unit, best first; units without rows are left out."""
    places = [(name, unit) for name in LAYERS for unit in range(UNITS[name])]
    found: dict[tuple[str, int], list[tuple[int, int, int, float]]] = {}
    for row in output.tables["part_top"].to_pylist():
        place = places[row["slot"]]
        y, x = divmod(row["position"], WIDTHS[place[0]])
        found.setdefault(place, []).append((row["image_id"], y, x, row["value"]))
    return found


def reference_maps(net: nn.Module, paths: Sequence[Path]) -> list[dict[str, np.ndarray]]:
    """Maps in float64 of every picture alone."""
    mean, std = (
        torch.tensor(values, dtype=torch.float64).view(3, 1, 1)
        for values in (PREPROCESS.mean, PREPROCESS.std)
    )
    return list(
        feature_maps(net.double(), LAYERS, ((raw_picture(path) - mean) / std for path in paths))
    )


def test_scan_of_a_shard_equals_the_definitions(make: MakeStage, pictures: list[Path]):
    labels = [number % 7 if number % 3 else None for number in range(13)]
    output = make(pictures, "wounded", labels=labels).process(slice_of(0, 13))
    maps = reference_maps(nets.wounded(), pictures)

    found = peaks_of(output)
    stats = output.tables["part_units"].to_pylist()
    for layer in LAYERS:
        of_layer = [one[layer] for one in maps]
        tops = top_peaks(enumerate(of_layer), 4, above_zero=layer != "fc")
        for unit, wanted in enumerate(tops):
            rows = found.get((layer, unit), [])
            assert [row[:3] for row in rows] == [(one.image_id, one.y, one.x) for one in wanted]
            assert [row[3] for row in rows] == pytest.approx([p.value for p in wanted], rel=1e-5)
            row = stats.pop(0)
            sums = unit_statistics([float(values[unit].max()) for values in of_layer])
            assert (row["images"], row["active"], row["nonfinite"]) == (13, sums.active, 0)
            assert row["histogram"] == sums.histogram
            assert row["total"] / 13 == pytest.approx(sums.mean, rel=1e-5, abs=1e-6)
    for row, values, label in zip(output.tables["images"].to_pylist(), maps, labels, strict=True):
        wanted = prediction(values["fc"].reshape(-1).tolist(), label)
        assert (row["label"], row["predicted"], row["label_rank"]) == (
            label,
            wanted.predicted,
            wanted.label_rank,
        )
        assert row["p_predicted"] == pytest.approx(wanted.p_predicted, rel=1e-5)
        assert row["p_label"] == (wanted.p_label and pytest.approx(wanted.p_label, rel=1e-5))
    assert output.counts == {"images": 13, "rejects": 0}


def test_scan_ranks_above_zero_behind_activations_only(make: MakeStage, pictures: list[Path]):
    found = peaks_of(make(pictures, "wounded").process(slice_of(0, 13)))

    assert ("relu2", 3) not in found, "a unit that never fires has no row"
    assert {layer for layer, _ in found} == set(LAYERS)
    assert all(row[3] > 0 for (layer, _), rows in found.items() if layer != "fc" for row in rows)
    assert len(found["fc", 1]) == 4
    assert all(row[3] < 0 for row in found["fc", 1])


def test_scan_twice_gives_the_same_bytes_whatever_ran_between(
    make: MakeStage, pictures: list[Path]
):
    stage, other = make(pictures), make(pictures)
    first = encoded(stage.process(slice_of(0, 8), slice_of(8, 13, index=1)))
    stage.process(slice_of(8, 13, index=1), slice_of(4, 8, index=2))

    assert encoded(stage.process(slice_of(0, 8))) == first
    assert encoded(other.process(slice_of(0, 8))) == first


@pytest.mark.parametrize("cuts", [(0, 4, 8, 13), (0, 8, 13), (0, 1, 2, 3, 6, 12, 13)])
def test_scan_of_slices_merges_to_that_of_the_whole(
    make: MakeStage, pictures: list[Path], cuts: tuple[int, ...]
):
    stage = make(pictures)
    whole = stage.process(slice_of(0, 13))
    parts = [
        stage.process(slice_of(start, stop, index=index))
        for index, (start, stop) in enumerate(pairwise(cuts))
    ]

    images = pa.concat_tables([part.tables["images"] for part in parts])
    assert images.equals(whole.tables["images"])
    merge = TopMerge(4)
    for part in reversed(parts):
        merge.add(part.tables["part_top"])
    assert merge._rows.equals(whole.tables["part_top"])
    sums = sums_of(parts[0].tables["part_units"])
    for part in parts[1:]:
        sums += sums_of(part.tables["part_units"])
    of_whole = sums_of(whole.tables["part_units"])
    assert (sums.histogram == of_whole.histogram).all()
    np.testing.assert_allclose(sums.total, of_whole.total, rtol=1e-12)


def test_scan_rejects_in_the_middle_leave_other_images_as_they_are(
    make: MakeStage, pictures: list[Path]
):
    whole = make(pictures, top=13).process(slice_of(0, 13))
    pictures[1].unlink()
    pictures[6].write_bytes(b"<html>")
    pictures[12].write_bytes(b"")
    output = make(pictures, top=13).process(slice_of(0, 13, excluded=(7,)))

    gone = {1: "missing", 6: "not_an_image", 7: "kills_worker", 12: "empty"}
    rejects = output.tables["rejects"].to_pylist()
    assert {row["image_id"]: row["reason"] for row in rejects} == gone
    by_reason = {f"rejects_{reason}": 1 for reason in gone.values()}
    assert output.counts == {"images": 9, "rejects": 4, **by_reason}
    for name in ("images", "part_top"):
        kept = [row for row in whole.tables[name].to_pylist() if row["image_id"] not in gone]
        assert output.tables[name].to_pylist() == kept
    assert set(output.tables["part_units"]["images"].to_pylist()) == {9}


def test_scan_of_rejects_alone_gives_empty_tables(make: MakeStage, pictures: list[Path]):
    for path in pictures:
        path.write_bytes(b"")
    output = make(pictures).process(slice_of(0, 13))

    assert output.counts == {"images": 0, "rejects": 13, "rejects_empty": 13}
    assert output.tables["part_top"].num_rows == output.tables["images"].num_rows == 0
    assert set(output.tables["part_units"]["images"].to_pylist()) == {0}
    assert encoded(output)


def test_scan_of_equal_outputs_orders_by_image(make: MakeStage, pictures: list[Path]):
    found = peaks_of(make(pictures, "constant").process(slice_of(0, 13)))

    assert len(found) == sum(UNITS.values())
    for rows in found.values():
        assert [row[:3] for row in rows] == [(0, 0, 0), (1, 0, 0), (2, 0, 0), (3, 0, 0)]


def test_scan_of_copies_orders_them_by_image(make: MakeStage, pictures: list[Path]):
    copies = [pictures[number] for number in (5, 2, 5, 5, 2, 5, 5, 5)]
    found = peaks_of(make(copies, top=8, batch_size=3).process(slice_of(0, 8)))

    for rows in found.values():
        groups = [[row[0] for row in rows if row[0] in ids] for ids in ({1, 4}, {0, 2, 3, 5, 6, 7})]
        assert all(group == sorted(group) for group in groups)
        assert len({row[3] for row in rows}) <= 2


def test_scan_of_nan_weights_counts_and_never_ranks_them(make: MakeStage, pictures: list[Path]):
    output = make(pictures, "poisoned").process(slice_of(0, 13))
    found = peaks_of(output)
    stats = output.tables["part_units"].to_pylist()

    assert all(np.isfinite(row[3]) for rows in found.values() for row in rows)
    # conv1's unit 2 is NaN everywhere, and the next convolution mixes it into every unit.
    assert {place for place in found if place[0] != "relu1"} == set()
    assert ("relu1", 2) not in found
    assert [row["nonfinite"] for row in stats[:6]] == [0, 0, 13, 0, 0, 0]
    assert {row["nonfinite"] for row in stats[6:]} == {13}
    assert all(np.isfinite([row["total"], row["squares"]]).all() for row in stats)


def test_scan_of_infinite_activations_counts_and_never_ranks_them(
    make: MakeStage, pictures: list[Path]
):
    reds = [round(raw_picture(path)[0, 0].max().item() * 255) for path in pictures]
    finite = [number for number, red in enumerate(reds) if red < 250]
    output = make(pictures, "overflowing", layers=("relu1",), top=9).process(slice_of(0, 13))
    unit = output.tables["part_units"].to_pylist()[0]

    assert 0 < len(finite) < 9
    ranked = sorted(finite, key=lambda number: -reds[number])
    assert [row[0] for row in peaks_of(output)["relu1", 0]] == ranked
    assert (unit["images"], unit["nonfinite"]) == (len(finite), 13 - len(finite))


def test_scan_of_an_untraceable_network_goes_by_hooks(make: MakeStage, pictures: list[Path]):
    layers = ("body.relu1", "body.relu2", "output")
    hooked = make(pictures, "forked", layers=layers).process(slice_of(0, 13)).tables
    traced = make(pictures, layers=LAYERS[:2]).process(slice_of(0, 13)).tables

    both = traced["part_top"].num_rows
    assert hooked["part_top"].slice(0, both).equals(traced["part_top"])


def test_scan_of_a_layer_that_a_batch_does_not_reach_is_an_error(
    make: MakeStage, pictures: list[Path]
):
    bright = PREPROCESS.model_copy(update={"mean": (-1.0, -1.0, -1.0)})
    layers = ("body.relu1", "dark", "output")
    stage = make(pictures, "forked", layers=layers, source={"preprocess": bright})

    with pytest.raises(WorkerError, match=r"dark gave no value.*layers\.exclude"):
        stage.process(slice_of(0, 13))


def test_scan_in_bf16_is_near_fp32_and_repeats(make: MakeStage, pictures: list[Path]):
    stage = make(pictures, precision="bf16")
    output = stage.process(slice_of(0, 13))
    exact = make(pictures).process(slice_of(0, 13)).tables["part_units"]["max"].to_numpy()

    assert encoded(stage.process(slice_of(0, 13))) == encoded(output)
    found = output.tables["part_units"]["max"].to_numpy()
    np.testing.assert_allclose(found, exact, rtol=0.05, atol=0.02)
    assert not np.array_equal(found, exact)


def test_scan_of_other_weights_than_planned_is_refused(make: MakeStage, pictures: list[Path]):
    with pytest.raises(ModelError, match=r"the scan in .* was made with 0000"):
        make(pictures, source={"weights_sha256": "0" * 64})


def test_scan_of_a_network_without_class_scores_is_an_error(make: MakeStage, pictures: list[Path]):
    stage = make(pictures, "maps_only", layers=("relu",))

    with pytest.raises(WorkerError, match=r"shape \[4, 4, 22, 22\], not \[images, classes\]"):
        stage.process(slice_of(0, 4))


def test_scan_stage_travels_small_before_it_is_set_up(make: MakeStage, pictures: list[Path]):
    stage = make(pictures)
    fresh = replace(stage)
    data = pickle.dumps(fresh)
    copy = pickle.loads(data)
    copy.setup("cpu")

    assert len(data) < 3000
    assert encoded(copy.process(slice_of(0, 5))) == encoded(stage.process(slice_of(0, 5)))
