"""The projection of one shard of images: every top patch that lies in them.

An activation that does not come out as the index has it is never drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.analysis.deconvnet.projector import Projected, Projector, Targets
from pipeline.data.loader import Batch
from pipeline.models.crops import crop
from pipeline.models.network import Network
from pipeline.stages.image_stage import ImageStage
from pipeline.stages.stored_pictures import encode_png, scaled_pixels, shown_boxes
from pipeline.store import open_run, within_units
from schemas.arrays import Ints
from schemas.errors import DatasetError
from schemas.jobs.project import PROJECTIONS, ProjectSpec
from schemas.tables import Table

_BOX = ["box_y0", "box_x0", "box_y1", "box_x1"]
_OUTSIDE = 128


def part_name(index: int) -> str:
    """The name of a layer's part table, by its place among the selected layers."""
    return f"layer_{index:04d}"


@dataclass
class ProjectStage(ImageStage):
    """Projects the top patches that lie in the images of shards.

    Attributes:
        spec: of the projection.
        layers: names, in the order of the network.
        tolerance: largest difference of a reproduced activation, relative to it, or to the layer's
            median in the index where that is larger.
    """

    name: ClassVar[str] = "project"
    unreadable: ClassVar[tuple[str, str]] = (
        "the index has top patches in this image",
        "put it back, or scan again",
    )
    spec: ProjectSpec
    layers: tuple[str, ...]
    tolerance: float

    @property
    def parts(self) -> dict[str, Table]:
        """One table per layer, so that a merge reads a layer at a time."""
        return {part_name(index): PROJECTIONS for index in range(len(self.layers))}

    @property
    def batch_size(self) -> int:
        """Images per forward pass."""
        return self.spec.batch_size

    def open(self, network: Network) -> None:
        """Build the deconvnet, and read the index."""
        layers = tuple(network.layer(name) for name in self.layers)
        self._projector = Projector(network, layers, self.spec.rule)
        self._index = _read_index(self.source.run, self.layers, self.spec)
        sizes = self._index["value"].abs().groupby(self._index["layer"], sort=False)
        self._usual = {str(layer): float(size) for layer, size in sizes.median().items()}
        self._encoders = ThreadPoolExecutor(self.resources.decode_threads)

    def arrange(self, rows: pa.Table) -> pa.Table:
        """By unit and rank."""
        return rows.sort_by([("unit", "ascending"), ("rank", "ascending")])

    def counts(self, tables: Mapping[str, pa.Table]) -> dict[str, int]:
        """Projections, over all layers."""
        return {"projections": sum(table.num_rows for table in tables.values())}

    def batch(self, batch: Batch) -> dict[str, pa.Table]:
        """The projections of the top patches in a batch, by layer."""
        ids = batch.image_ids.tolist()
        index = self._index[self._index["image_id"].isin(ids)]
        place = {image_id: row for row, image_id in enumerate(ids)}
        groups = {str(layer): rows for layer, rows in index.groupby("layer", sort=False)}
        targets = {layer: self._targets(rows, place) for layer, rows in groups.items()}
        projected = self._projector.project(self.images(batch.frames), targets)
        return {
            part_name(self.layers.index(layer)): self._table(
                layer, rows, targets[layer], projected[layer], batch.frames
            )
            for layer, rows in groups.items()
        }

    def _targets(self, rows: pd.DataFrame, place: dict[int, int]) -> Targets:
        def column(name: str) -> Tensor:
            return torch.from_numpy(rows[name].to_numpy().astype(np.int64))

        boxes = shown_boxes(rows[_BOX].to_numpy().astype(np.int64), self.source.preprocess.crop_px)
        return Targets(
            rows=torch.tensor([place[image_id] for image_id in rows["image_id"]]),
            units=column("unit"),
            y=column("y"),
            x=column("x"),
            values=torch.from_numpy(rows["value"].to_numpy().copy()),
            boxes=boxes,
        )

    def _table(
        self, layer: str, rows: pd.DataFrame, targets: Targets, projected: Projected, frames: Tensor
    ) -> pa.Table:
        self._require_reproduced(layer, rows, projected.reproduced.numpy())
        patches = self._patch_pngs(frames, targets)
        drawn = self._encoders.map(self._draw, projected.pictures)
        columns = {name: rows[name].to_numpy() for name in ("layer", "unit", "rank", "image_id")}
        columns |= {name: rows[name].to_numpy() for name in ("value", *_BOX)}
        pictures = [
            {
                "patch": {"bytes": patch, "path": None},
                "projection": {"bytes": projection, "path": None},
                "scale": scale,
            }
            for patch, (projection, scale) in zip(patches, drawn, strict=True)
        ]
        table = pa.table(columns)
        for name in ("patch", "projection", "scale"):
            kind = PROJECTIONS.schema.field(name).type
            table = table.append_column(name, pa.array([p[name] for p in pictures], kind))
        table = table.append_column("reproduced", pa.array(projected.reproduced.numpy()))
        return table.select(PROJECTIONS.schema.names).cast(PROJECTIONS.schema)

    def _require_reproduced(
        self, layer: str, rows: pd.DataFrame, reproduced: NDArray[np.float32]
    ) -> None:
        value = rows["value"].to_numpy()
        # A unit that hardly fires is a small difference of large sums: its error is the layer's.
        scale = np.maximum(np.abs(value), self._usual[layer])
        wrong = ~(np.abs(reproduced - value) <= self.tolerance * scale)
        if wrong.any():
            at = int(np.flatnonzero(wrong)[0])
            row = rows.iloc[at]
            raise DatasetError(
                f"{row['uri']}: {layer} unit {row['unit']} gives {reproduced[at]:.6g} there, the "
                f"index says {value[at]:.6g} ({int(wrong.sum())} of {len(rows)} differ): the index "
                "belongs to other weights or other pictures; scan again"
            )

    def _patch_pngs(self, frames: Tensor, targets: Targets) -> list[bytes]:
        """Each target's patch; units that are strongest at one place share one encoding."""
        keys = np.column_stack([targets.rows.numpy(), targets.boxes])
        keys, which = np.unique(keys, axis=0, return_inverse=True)
        drawn = list(self._encoders.map(lambda key: self._draw_patch(frames, key), keys))
        return [drawn[place] for place in which.ravel()]

    def _draw_patch(self, frames: Tensor, key: Ints) -> bytes:
        return encode_png(_patch(frames, int(key[0]), key[1:]), self.spec.picture_px)

    def _draw(self, signal: Tensor) -> tuple[bytes, float]:
        pixels, scale = scaled_pixels(signal.float().cpu().numpy())
        return encode_png(pixels, self.spec.picture_px), scale


def _read_index(run: str, layers: tuple[str, ...], spec: ProjectSpec) -> pd.DataFrame:
    source = open_run(run)
    filters = within_units(spec.units, spec.top)
    found = [
        source.table("top_patches", job="scan", layer=name, filters=filters) for name in layers
    ]
    return pd.concat(found, ignore_index=True)


def _patch(frames: Tensor, row: int, box: Ints) -> NDArray[np.uint8]:
    """What a box (y0, x0, y1, x1) shows of a frame, uint8 [height, width, 3]; grey outside."""
    starts = (torch.tensor([box[0]]), torch.tensor([box[1]]))
    size = (int(box[2] - box[0]), int(box[3] - box[1]))
    return crop(frames, (2, 3), starts, size, [row], fill=_OUTSIDE)[0].permute(1, 2, 0).numpy()
