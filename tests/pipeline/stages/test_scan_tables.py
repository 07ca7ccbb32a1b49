"""Parts and merges: any split, in any order, gives the tables of one sort of everything."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from pipeline.analysis.predictions import predict
from pipeline.analysis.topk import TopPatches, find_peaks
from pipeline.analysis.unit_stats import UnitStats
from pipeline.data.image_rows import list_rows, number_rows
from pipeline.data.loader import Batch
from pipeline.models.layer import Layer
from pipeline.models.network import open_network
from pipeline.models.receptive_field import Axis, Layout
from pipeline.stages import scan_tables
from pipeline.store.encode import decode, encode
from schemas.jobs.scan import (
    PART_TOP,
    PART_UNITS,
    SCAN_IMAGES,
    SCAN_LAYERS,
    SCAN_REJECTS,
    SCAN_TOP_PATCHES,
    SCAN_UNITS,
)
from tests.reference import top_peaks, unit_statistics
from tests.tiny_nets import flat, small

CPU = torch.device("cpu")
LEVELS = st.sampled_from([-1.0, 0.0, 0.0, 2.0, 2.5, np.nan, np.inf])


def layer(name: str, units: int, height: int, width: int, *, position: int = 0) -> Layer:
    """A layer whose unit c sees the box of 3 + c pixels around every second pixel."""
    low = -1 - np.arange(units)
    down, across = (Axis(dim, 2, low, np.full(units, 2)) for dim in (2, 3))
    layout = Layout((1, units, height, width), (1,), down, across)
    return Layer(name, position, "relu", layout, default=True)


def scanned(
    maps: dict[str, NDArray[np.float32]], start: int, k: int, batch_size: int
) -> dict[str, TopPatches]:
    """The top patches of images ``start`` and following, fed in batches."""
    tops = {name: TopPatches(values.shape[1], k, CPU) for name, values in maps.items()}
    for name, values in maps.items():
        for first in range(0, len(values), batch_size):
            batch = torch.from_numpy(values[first : first + batch_size])
            peaks = find_peaks(batch)
            ids = torch.arange(start + first, start + first + len(batch))
            tops[name].update(batch, peaks, torch.isfinite(peaks.maxima), ids)
    return tops


def expected_rows(
    layers: list[Layer], maps: dict[str, NDArray[np.float32]], k: int
) -> list[list[dict[str, object]]]:
    """Rows of scan/top_patches, a list a layer, written from the definitions."""
    tables = []
    for one in layers:
        units = top_peaks(enumerate(maps[one.name]), k, above_zero=False)
        tables.append(
            [
                {
                    "layer": one.name,
                    "unit": unit,
                    "rank": rank,
                    "image_id": peak.image_id,
                    "uri": f"image {peak.image_id}",
                    "value": peak.value,
                    "y": peak.y,
                    "x": peak.x,
                    "box_y0": 2 * peak.y - 1 - unit,
                    "box_x0": 2 * peak.x - 1 - unit,
                    "box_y1": 2 * peak.y + 2,
                    "box_x1": 2 * peak.x + 2,
                }
                for unit, peaks in enumerate(units)
                for rank, peak in enumerate(peaks, start=1)
            ]
        )
    return tables


@settings(max_examples=60)
@given(
    first=hnp.arrays(np.float32, (9, 3, 2, 3), elements=LEVELS),
    second=hnp.arrays(np.float32, (9, 2, 1, 1), elements=LEVELS),
    k=st.integers(1, 11),
    cuts=st.sets(st.integers(1, 8)),
    batch_size=st.integers(1, 5),
    data=st.data(),
)
def test_top_merge_of_any_shards_in_any_order_equals_a_sort_of_everything(
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    k: int,
    cuts: set[int],
    batch_size: int,
    data: st.DataObject,
):
    maps = {"a": first, "b": second}
    layers = [layer("a", 3, 2, 3), layer("b", 2, 1, 1, position=4)]
    parts = []
    for start, stop in pairwise(sorted({0, 9} | cuts)):
        shard = {name: values[start:stop] for name, values in maps.items()}
        part = scan_tables.top_rows(scanned(shard, start, k, batch_size))
        parts.append(decode(encode(PART_TOP, part), PART_TOP))
    merge = scan_tables.TopMerge(k)
    for part in data.draw(st.permutations(parts)):
        merge.add(part)

    uris = pa.chunked_array(
        [[f"image {i}" for i in range(start, start + 3)] for start in (0, 3, 6)]
    )
    tables = list(merge.tables(layers, uris))
    assert [table.to_pylist() for table in tables] == expected_rows(layers, maps, k)
    assert all(table.schema.equals(SCAN_TOP_PATCHES.schema) for table in tables)


def test_top_merge_without_rows_gives_an_empty_table_a_layer():
    merge = scan_tables.TopMerge(3)
    merge.add(PART_TOP.schema.empty_table())
    tables = list(
        merge.tables([layer("a", 3, 2, 3), layer("b", 1, 1, 1)], pa.chunked_array([["u"]]))
    )

    assert [table.num_rows for table in tables] == [0, 0]
    assert all(encode(SCAN_TOP_PATCHES, table) for table in tables)


def test_unit_rows_come_back_as_they_were_and_make_the_units_table():
    random = np.random.default_rng(0)
    maxima = random.normal(size=(7, 5)).astype(np.float32)
    maxima[2, 1] = np.nan
    maxima[:, 4] = np.inf
    stats = UnitStats(5, CPU)
    stats.update(torch.from_numpy(maxima), torch.ones(7, dtype=torch.bool))

    part = decode(encode(PART_UNITS, scan_tables.unit_rows(stats)), PART_UNITS)
    layers = [layer("a", 3, 2, 3), layer("b", 2, 1, 1)]
    table = scan_tables.unit_table(layers, scan_tables.sums_of(part))

    assert encode(SCAN_UNITS, table)
    rows = table.to_pylist()
    assert [(row["layer"], row["unit"]) for row in rows] == [
        ("a", 0),
        ("a", 1),
        ("a", 2),
        ("b", 0),
        ("b", 1),
    ]
    for row, values in zip(rows, maxima.T.tolist(), strict=True):
        wanted = unit_statistics(values)
        counts = (row["images"], row["active"], row["nonfinite"], row["max"], row["histogram"])
        assert counts == (
            wanted.images,
            wanted.active,
            wanted.nonfinite,
            wanted.max,
            wanted.histogram,
        )
        assert row["mean"] == (wanted.mean and pytest.approx(wanted.mean, rel=1e-12))
        assert row["std"] == (wanted.std and pytest.approx(wanted.std, rel=1e-9))
    assert (rows[4]["images"], rows[4]["mean"], rows[4]["std"], rows[4]["max"]) == (
        0,
        None,
        None,
        None,
    )


def test_units_table_names_the_edges_of_its_histogram():
    column = SCAN_UNITS.schema.field("histogram")
    edges = json.loads(column.metadata[b"edges"])
    stats = UnitStats(1, CPU)

    assert edges == sorted(edges)
    assert stats.histogram.shape == (1, len(edges) + 1)


def batch_of(labels: list[int | None], valid: list[bool], places: int) -> Batch:
    """A batch at image 10 whose last places are padding."""
    count = len(labels)
    rows = list_rows(
        [f"u{i}" for i in range(10 + count)],
        label=[None] * 10 + labels,
        class_name=[None] * 10 + ["c" if label == 1 else None for label in labels],
    )
    return Batch(
        frames=torch.zeros(places, 3, 1, 1, dtype=torch.uint8),
        valid=torch.tensor(valid + [False] * (places - count)),
        image_ids=torch.tensor([*range(10, 10 + count), *[-1] * (places - count)]),
        heights=torch.arange(1, places + 1, dtype=torch.int32),
        widths=torch.arange(101, places + 101, dtype=torch.int32),
        rejects=(),
        rows=number_rows(rows).slice(10, count),
    )


def test_image_rows_leave_out_rejects_and_padding():
    batch = batch_of([1, None, 7, 0], [True, True, True, False], places=6)
    scores = torch.tensor([[0.0, 2.0]] * 6)
    labels = torch.tensor([1, -1, 7, 0, -1, -1])
    table = scan_tables.image_rows(batch, predict(scores, labels))

    assert table.schema.equals(SCAN_IMAGES.schema)
    rows = table.to_pylist()
    assert [row["image_id"] for row in rows] == [10, 11, 12]
    assert [row["uri"] for row in rows] == ["u10", "u11", "u12"]
    assert [(row["width"], row["height"]) for row in rows] == [(101, 1), (102, 2), (103, 3)]
    assert [row["label"] for row in rows] == [1, None, 7]
    assert [row["class_name"] for row in rows] == ["c", None, None]
    assert [row["label_rank"] for row in rows] == [1, None, None]
    assert [row["predicted"] for row in rows] == [1, 1, 1]
    p = 1 / (1 + np.exp(-2.0))
    assert [row["p_predicted"] for row in rows] == [pytest.approx(p, rel=1e-6)] * 3
    assert [row["p_label"] for row in rows] == [pytest.approx(p, rel=1e-6), None, None]


def test_image_rows_of_rejects_alone_are_none():
    batch = batch_of([1, 1], [False, False], places=2)
    table = scan_tables.image_rows(batch, predict(torch.zeros(2, 3), torch.tensor([1, 1])))

    assert table.num_rows == 0
    assert encode(SCAN_IMAGES, table)


def test_reject_rows_keep_the_order_they_came_in():
    rejects = [(3, "u3", "empty", "zero bytes"), (9, "u9", "missing", "not there")]

    assert scan_tables.reject_rows(rejects).to_pylist() == [
        {"image_id": 3, "uri": "u3", "reason": "empty", "detail": "zero bytes"},
        {"image_id": 9, "uri": "u9", "reason": "missing", "detail": "not there"},
    ]
    assert scan_tables.reject_rows([]).schema.equals(SCAN_REJECTS.schema)


def test_layer_table_tells_the_geometry_of_a_network():
    table = scan_tables.layer_table(open_network(small(), 24).layers)
    rows = {row["layer"]: row for row in table.to_pylist()}

    assert table.schema.equals(SCAN_LAYERS.schema)
    geometry = ("units", "map_height", "map_width", "stride_y", "field_height", "field_width")
    # conv 3 pad 1: 24; pool 3/2: 11; conv 3/2: 5; fields 3, then 3 + 2 = 5, then 5 + 2 * 2 = 9.
    assert [rows["relu1"][name] for name in geometry] == [6, 24, 24, 1, 3, 3]
    assert [rows["pool1"][name] for name in geometry] == [6, 11, 11, 2, 5, 5]
    assert [rows["relu2"][name] for name in geometry] == [8, 5, 5, 4, 9, 9]
    # Behind the global pool every position counts: the whole frame.
    assert [rows["fc"][name] for name in geometry] == [5, 1, 1, 0, 24, 24]
    assert [rows[name]["activation"] for name in ("conv1", "relu1", "fc")] == [False, True, False]
    assert [rows[name]["kind"] for name in ("conv1", "relu1", "fc")] == ["conv2d", "relu", "linear"]
    assert not any(row["gated"] or row["whole_frame"] for row in rows.values())


def test_layer_table_of_a_network_without_convolutions():
    rows = scan_tables.layer_table(open_network(flat(), 16).layers).to_pylist()

    shapes = {row["layer"]: (row["units"], row["map_height"], row["field_height"]) for row in rows}
    assert shapes["fc"] == (4, 1, 16)
