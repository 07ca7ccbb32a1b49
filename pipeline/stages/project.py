"""The projection of one shard of images: every top patch that lies in them.

The invariant: an activation that does not come out as the index has it is never drawn.
"""

from __future__ import annotations

import io
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pipeline.analysis.deconvnet.forward import Rule
from pipeline.analysis.deconvnet.projector import Projected, Projector, Targets
from pipeline.data.loader import Batch, ImageLoader
from pipeline.data.preprocess import normalise
from pipeline.models.crops import crop
from pipeline.models.load import load_model
from pipeline.models.network import open_network
from pipeline.stages.contract import StageOutput
from pipeline.stages.precision import prepare
from pipeline.store.commit import JobStore
from pipeline.store.encode import open_run
from pipeline.store.layout import JobFolder
from schemas.arrays import Ints
from schemas.errors import DatasetError, ModelError
from schemas.manifest import Shard
from schemas.specs import DatasetSpec, ModelSpec, PreprocessSpec, Resources
from schemas.tables import PROJECTIONS, Table

_BOX = ["box_y0", "box_x0", "box_y1", "box_x1"]
_OUTSIDE = 128
_ZLIB_RUNS = 3  # zlib's Z_RLE


def parts(layers: tuple[str, ...]) -> dict[str, Table]:
    """What a shard gives: one table a layer, so that a merge reads a layer at a time."""
    return {part_name(index): PROJECTIONS for index in range(len(layers))}


def part_name(index: int) -> str:
    """The name of a layer's part table, by its place among the selected layers."""
    return f"layer_{index:04d}"


@dataclass
class ProjectStage:
    """Projects the top patches of shards; see `pipeline.stages.contract.Stage`.

    Attributes:
        folder: the projection's folder; its image list holds the images that have top patches.
        model: as in the scan.
        weights_sha256: of the scan.
        preprocess: of the scan.
        data: of the scan.
        layers: names, in the order of the network.
        units: first and last unit, or None for all.
        rule: see `pipeline.analysis.deconvnet.forward`.
        tolerance: largest difference of a reproduced activation, relative to it, or to the layer's
            median in the index where that is larger.
        batch_size: images a forward pass.
        picture_px: longest side of a picture.
        resources: see the contract.
    """

    folder: JobFolder
    model: ModelSpec
    weights_sha256: str
    preprocess: PreprocessSpec
    data: DatasetSpec
    layers: tuple[str, ...]
    units: tuple[int, int] | None
    rule: Rule
    tolerance: float
    batch_size: int
    picture_px: int
    resources: Resources
    name: str = field(default="project", init=False)

    def setup(self, device: str) -> None:
        """Load the model and the index."""
        loaded = load_model(self.model)
        if loaded.weights_sha256 != self.weights_sha256:
            raise ModelError(
                f"weights: {self.model.weights} has sha256 {loaded.weights_sha256}, the index was "
                f"made with {self.weights_sha256}; give back those weights, or scan again"
            )
        network = open_network(loaded.module, self.preprocess.crop_px)
        layers = tuple(network.layer(name) for name in self.layers)
        self._device = torch.device(device)
        self._dtype = prepare(loaded.module, self._device, "fp32")
        self._projector = Projector(network, layers, self.rule)
        self._index = _read_index(self.folder.run, self.layers, self.units)
        sizes = self._index["value"].abs().groupby(self._index["layer"], sort=False)
        self._usual = {str(layer): float(size) for layer, size in sizes.median().items()}
        self._encoders = ThreadPoolExecutor(self.resources.decode_threads)
        self._loader = ImageLoader(
            JobStore(self.folder).image_rows,
            preprocess=self.preprocess,
            data=self.data,
            batch_size=self.batch_size,
            threads=self.resources.decode_threads,
        )

    def process(self, shard: Shard, upcoming: Shard | None = None) -> StageOutput:
        """Project one shard; gives a table a layer (see `parts`)."""
        found: dict[str, list[pa.Table]] = defaultdict(list)
        count = 0
        for batch in self._loader.batches(shard, upcoming):
            for layer, table in self._project(batch).items():
                found[layer].append(table)
                count += table.num_rows
        tables = {
            part_name(index): pa.concat_tables(found[layer])
            if layer in found
            else PROJECTIONS.schema.empty_table()
            for index, layer in enumerate(self.layers)
        }
        return StageOutput(tables, {"projections": count, "images": shard.stop - shard.start})

    def _project(self, batch: Batch) -> dict[str, pa.Table]:
        if batch.rejects:
            one = batch.rejects[0]
            raise DatasetError(
                f"{one.uri}: the index has top patches in this image, and now it cannot be read "
                f"({one.reason}: {one.detail}); put it back, or scan again"
            )
        ids = batch.image_ids.tolist()
        index = self._index[self._index["image_id"].isin(ids)]
        place = {image_id: row for row, image_id in enumerate(ids)}
        frames = batch.frames.to(self._device).contiguous(memory_format=torch.channels_last)
        images = normalise(frames, self.preprocess, self._dtype)
        groups = {str(layer): rows for layer, rows in index.groupby("layer", sort=False)}
        targets = {layer: self._targets(rows, place) for layer, rows in groups.items()}
        projected = self._projector.project(images, targets)
        return {
            layer: self._table(layer, rows, targets[layer], projected[layer], batch.frames)
            for layer, rows in groups.items()
        }

    def _targets(self, rows: pd.DataFrame, place: dict[int, int]) -> Targets:
        def column(name: str) -> Tensor:
            return torch.from_numpy(rows[name].to_numpy().astype(np.int64))

        boxes = shown_boxes(rows[_BOX].to_numpy().astype(np.int64), self.preprocess.crop_px)
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
        return _png(_patch(frames, int(key[0]), key[1:]), self.picture_px)

    def _draw(self, signal: Tensor) -> tuple[bytes, float]:
        return projection_png(signal.float().cpu().numpy(), self.picture_px)


def _read_index(run: str, layers: tuple[str, ...], units: tuple[int, int] | None) -> pd.DataFrame:
    source = open_run(run)
    filters: list[Any] | None = None
    if units is not None:
        filters = [("unit", ">=", units[0]), ("unit", "<=", units[1])]
    found = [
        source.table("top_patches", job="scan", layer=name, filters=filters) for name in layers
    ]
    return pd.concat(found, ignore_index=True)


def shown_boxes(boxes: Ints, frame_px: int) -> Ints:
    """What a picture shows: the box, or along an axis where it is larger than the frame, the frame.

    Args:
        boxes: int64 [n, 4], y0, x0, y1, x1, unclipped.
        frame_px: side of the input frame.
    """
    shown = boxes.copy()
    for low, high in ((0, 2), (1, 3)):
        wide = shown[:, high] - shown[:, low] >= frame_px
        shown[wide, low], shown[wide, high] = 0, frame_px
    return shown


def _patch(frames: Tensor, row: int, box: Ints) -> NDArray[np.uint8]:
    """What a box (y0, x0, y1, x1) shows of a frame, uint8 [height, width, 3]; grey outside."""
    starts = (torch.tensor([box[0]]), torch.tensor([box[1]]))
    size = (int(box[2] - box[0]), int(box[3] - box[1]))
    return crop(frames, (2, 3), starts, size, [row], fill=_OUTSIDE)[0].permute(1, 2, 0).numpy()


def projection_png(signal: NDArray[np.float32], longest_px: int) -> tuple[bytes, float]:
    """A projection as a PNG whose grey 128 is zero.

    Args:
        signal: [3, height, width]; one that is not finite, from weights that are not, is grey.
        longest_px: larger pictures are reduced to this, by averaging.

    Returns:
        The PNG, and the scale: ``value = (pixel - 128) / 127 * scale``.
    """
    scale = float(np.abs(signal).max())
    unit = signal / scale if 0 < scale < np.inf else np.zeros_like(signal)
    pixels = np.rint(128 + 127 * unit).astype(np.uint8)
    return _png(pixels.transpose(1, 2, 0), longest_px), scale


def _png(pixels: NDArray[np.uint8], longest_px: int) -> bytes:
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    if max(picture.size) > longest_px:
        ratio = longest_px / max(picture.size)
        size = [max(1, round(side * ratio)) for side in picture.size]
        picture = picture.resize((size[0], size[1]), Image.Resampling.BOX)
    data = io.BytesIO()
    # Runs alone: for filtered pictures as small as matches, and faster (measured).
    picture.save(data, "png", compress_level=1, compress_type=_ZLIB_RUNS)
    return data.getvalue()
