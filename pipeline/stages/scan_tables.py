"""Between a scan's state and its tables: a shard's parts, and the merge of all shards.

A merge is order-free for top patches (the total order decides) and always goes by
shard number for sums, so the final tables are one and the same however the parts came about.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa

from pipeline.analysis.predictions import Predictions
from pipeline.analysis.topk import TopPatches, cut_to_top
from pipeline.analysis.unit_stats import UnitStats, UnitSums
from pipeline.data.loader import Batch
from pipeline.models.layer import Layer
from schemas.arrays import Ints
from schemas.jobs.scan import (
    HISTOGRAM_EDGES,
    PART_TOP,
    PART_UNITS,
    SCAN_IMAGES,
    SCAN_LAYERS,
    SCAN_REJECTS,
    SCAN_TOP_PATCHES,
    SCAN_UNITS,
)

PARTS = {
    "images": SCAN_IMAGES,
    "rejects": SCAN_REJECTS,
    "part_top": PART_TOP,
    "part_units": PART_UNITS,
}
"""What a shard of the scan gives."""
_BINS = len(HISTOGRAM_EDGES) + 1


def image_rows(batch: Batch, predictions: Predictions) -> pa.Table:
    """Rows of scan/images for the images of a batch that could be read."""
    count = batch.rows.num_rows
    valid = batch.valid[:count].numpy()
    # Read the tensors once, then let Arrow drop the places of rejected images.
    columns = {
        "width": batch.widths[:count].numpy(),
        "height": batch.heights[:count].numpy(),
        "predicted": predictions.predicted[:count].cpu().numpy().astype(np.int32),
        "p_predicted": predictions.p_predicted[:count].cpu().numpy(),
    }
    rank = predictions.label_rank[:count].cpu().numpy()
    no_label = rank == 0
    columns["p_label"] = pa.array(predictions.p_label[:count].cpu().numpy(), mask=no_label)
    columns["label_rank"] = pa.array(rank.astype(np.int32), mask=no_label)
    listed = {name: batch.rows[name] for name in ("image_id", "uri", "label", "class_name")}
    table = pa.table(listed | columns).select(SCAN_IMAGES.schema.names)
    return table.filter(pa.array(valid)).cast(SCAN_IMAGES.schema)


def reject_rows(rejects: Iterable[tuple[int, str, str, str]]) -> pa.Table:
    """Rows of scan/rejects from (image_id, uri, reason, detail)."""
    names = SCAN_REJECTS.schema.names
    rows = [dict(zip(names, reject, strict=True)) for reject in rejects]
    return pa.Table.from_pylist(rows, schema=SCAN_REJECTS.schema)


def top_rows(tops: Mapping[str, TopPatches]) -> pa.Table:
    """A shard's top patches; slots number the units of all layers, in the order of ``tops``."""
    columns: dict[str, list[np.ndarray]] = {name: [] for name in PART_TOP.schema.names}
    first = 0
    for top in tops.values():
        values = top.values.t().cpu().numpy()
        unit, place = np.nonzero(np.isfinite(values))
        columns["slot"].append(unit + first)
        columns["value"].append(values[unit, place])
        columns["image_id"].append(top.image_ids.t().cpu().numpy()[unit, place])
        columns["position"].append(top.positions.t().cpu().numpy()[unit, place])
        first += values.shape[0]
    return pa.table({name: np.concatenate(parts) for name, parts in columns.items()}).cast(
        PART_TOP.schema
    )


def unit_rows(stats: UnitStats) -> pa.Table:
    """A shard's unit statistics."""
    columns = {
        name: getattr(stats, name).cpu().numpy()
        for name in PART_UNITS.schema.names
        if name not in ("slot", "histogram")
    }
    slots = np.arange(len(columns["images"]), dtype=np.int32)
    table = {"slot": slots, **columns, "histogram": _lists(stats.histogram.cpu().numpy())}
    return pa.table(table).cast(PART_UNITS.schema)


def _lists(rows: Ints) -> pa.Array:
    offsets = np.arange(len(rows) + 1, dtype=np.int32) * rows.shape[1]
    return pa.ListArray.from_arrays(offsets, pa.array(rows.reshape(-1)))


class TopMerge:
    """Folds shards' top patches, in any order; memory is that of two shards."""

    def __init__(self, k: int) -> None:
        self._k = k
        self._rows = PART_TOP.schema.empty_table()

    def add(self, part: pa.Table) -> None:
        """Take in one shard's part."""
        rows = pa.concat_tables([self._rows, part])
        slots, values, ids = (rows[name].to_numpy() for name in ("slot", "value", "image_id"))
        kept, _ = cut_to_top(slots.astype(np.int64), values, ids, k=self._k)
        self._rows = rows.take(kept).combine_chunks()

    def tables(self, layers: Sequence[Layer], uris: pa.ChunkedArray) -> Iterable[pa.Table]:
        """Rows of scan/top_patches, one table per layer.

        Args:
            layers: as they were scanned.
            uris: of every image, by image_id.
        """
        slots = self._rows["slot"].to_numpy()
        first = 0
        for layer in layers:
            low, high = np.searchsorted(slots, (first, first + layer.units))
            yield _top_patches(layer, self._rows.slice(low, high - low), first, uris)
            first += layer.units


def _top_patches(layer: Layer, rows: pa.Table, first: int, uris: pa.ChunkedArray) -> pa.Table:
    units = rows["slot"].to_numpy().astype(np.int64) - first
    y, x = np.divmod(rows["position"].to_numpy().astype(np.int64), layer.layout.map_size[1])
    boxes = layer.boxes(units, y, x)
    rank = np.arange(len(units)) - np.searchsorted(units, units) + 1
    table = {
        "layer": pa.array([layer.name] * len(units), pa.string()),
        "unit": units,
        "rank": rank,
        "image_id": rows["image_id"],
        "uri": uris.take(rows["image_id"]),
        "value": rows["value"],
        "y": y,
        "x": x,
        "box_y0": boxes[:, 0],
        "box_x0": boxes[:, 1],
        "box_y1": boxes[:, 2],
        "box_x1": boxes[:, 3],
    }
    return pa.table(table).cast(SCAN_TOP_PATCHES.schema)


def sums_of(part: pa.Table) -> UnitSums:
    """A shard's unit statistics, read back."""
    histogram = part["histogram"].combine_chunks().flatten().to_numpy().reshape(-1, _BINS)
    columns = {
        name: part[name].to_numpy()
        for name in PART_UNITS.schema.names
        if name not in ("slot", "histogram")
    }
    return UnitSums(**columns, histogram=histogram)


def unit_table(layers: Sequence[Layer], sums: UnitSums) -> pa.Table:
    """Rows of scan/units for all layers."""
    none = sums.images == 0
    table = {
        "layer": pa.array([layer.name for layer in layers for _ in range(layer.units)]),
        "unit": np.concatenate([np.arange(layer.units) for layer in layers]),
        "images": sums.images,
        "active": sums.active,
        "nonfinite": sums.nonfinite,
        "max": pa.array(sums.max, mask=none),
        "mean": pa.array(sums.mean(), mask=none),
        "std": pa.array(sums.std(), mask=none),
        "histogram": _lists(sums.histogram),
    }
    return pa.table(table).cast(SCAN_UNITS.schema)


def layer_table(layers: Sequence[Layer]) -> pa.Table:
    """Rows of scan/layers."""
    rows = []
    for layer in layers:
        height, width = layer.layout.map_size
        field_height, field_width = layer.field_size
        rows.append(
            {
                "layer": layer.name,
                "position": layer.position,
                "kind": layer.kind,
                "activation": layer.activation,
                "units": layer.units,
                "map_height": height,
                "map_width": width,
                "stride_y": layer.layout.down.stride if height > 1 else 0,
                "stride_x": layer.layout.across.stride if width > 1 else 0,
                "field_height": field_height,
                "field_width": field_width,
                "gated": layer.layout.gated,
                "whole_frame": layer.layout.whole_frame,
            }
        )
    return pa.Table.from_pylist(rows, schema=SCAN_LAYERS.schema)
