"""The occlusion of one shard of images: every window at every position.

A picture's rows depend on the picture and the plan alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from pipeline.analysis.occlusion.fill import fill_frame
from pipeline.analysis.occlusion.metrics import Box, summarise
from pipeline.analysis.occlusion.occluder import Occluder, Occlusion, softmax
from pipeline.analysis.predictions import explained_classes
from pipeline.data.loader import Batch
from pipeline.data.object_boxes import Boxes, ObjectBox, in_frame
from pipeline.models.network import Network
from pipeline.stages.image_stage import ImageStage
from schemas.arrays import Floats, Ints
from schemas.jobs.occlude import OCCLUSION_MAPS, OCCLUSION_PICTURES, OccludeSpec
from schemas.tables import Table


@dataclass
class OccludeStage(ImageStage):
    """Occludes the images of shards.

    Attributes:
        spec: what to do.
        layer: whose strongest map is watched.
        boxes: of the objects in the chosen images. They are given, not read here: a worker may be
            on another machine, and the file may change while the job runs.
    """

    name: ClassVar[str] = "occlude"
    spec: OccludeSpec
    layer: str
    boxes: Boxes

    @property
    def parts(self) -> dict[str, Table]:
        """The final tables' own rows."""
        return {"pictures": OCCLUSION_PICTURES, "maps": OCCLUSION_MAPS}

    @property
    def batch_size(self) -> int:
        """Images decoded together: the windows of one fill a forward pass."""
        return 4

    def open(self, network: Network) -> None:
        """Plan the windows."""
        layer = network.layer(self.layer)
        self._occluders = [
            Occluder(
                network,
                layer,
                window,
                frame_px=self.source.preprocess.crop_px,
                engine=self.spec.engine,
                batch_bytes=self.spec.batch_bytes,
            )
            for window in self.spec.windows
        ]

    def counts(self, tables: Mapping[str, pa.Table]) -> dict[str, int]:
        """Windows, at every position of every image."""
        return {"positions": tables["maps"].num_rows}

    def batch(self, batch: Batch) -> dict[str, pa.Table]:
        """The maps of a batch's images under every window, and what sums them up."""
        pictures: list[dict[str, object]] = []
        maps: list[pa.Table] = []
        for place, row in enumerate(batch.rows.to_pylist()):
            frame = batch.frames[place : place + 1].to(self.device)
            size = (int(batch.heights[place]), int(batch.widths[place]))
            boxes = [
                in_frame(box, size, self.source.preprocess)
                for box in object_boxes(self.boxes.get(row["uri"], ()), row["class_name"])
            ]
            for window in range(len(self._occluders)):
                picture, table = self._occlude(row, window, frame, boxes)
                pictures.append(picture)
                maps.append(table)
        return {
            "pictures": pa.Table.from_pylist(pictures, schema=OCCLUSION_PICTURES.schema),
            "maps": pa.concat_tables(maps),
        }

    def _occlude(
        self, row: dict[str, Any], window: int, frame: Tensor, boxes: list[Box]
    ) -> tuple[dict[str, object], pa.Table]:
        spec, occluder = self.spec.windows[window], self._occluders[window]
        fill = fill_frame(frame, self.spec.fill, self.source.preprocess, max(spec.size) / 2)
        found = occluder.occlude(
            self.images(frame), fill.contiguous(memory_format=torch.channels_last)
        )
        target = int(explained_classes(found.clean[None], [row["label"]], self.spec.target))
        clean, p = softmax(found.clean), softmax(found.scores)
        predicted = p.argmax(axis=1)
        numbers = summarise(
            p[:, target],
            predicted,
            (float(clean[target]), int(clean.argmax())),
            occluder.grid,
            boxes,
        )
        picture = {
            **{name: row[name] for name in ("image_id", "uri", "label", "class_name")},
            "window": window,
            "target": target,
            "p_target": float(clean[target]),
            "predicted": int(clean.argmax()),
            "p_predicted": float(clean.max()),
            "layer": self.layer,
            "unit": found.unit,
            "activity": found.clean_activity,
            "fill": self.spec.fill,
            "window_px": spec.height_px,
            "window_width_px": spec.width_px,
            "stride_px": spec.stride_px,
            "rows": len(occluder.grid.rows),
            "cols": len(occluder.grid.columns),
            "engine": occluder.engine,
            **asdict(numbers),
        }
        key = (row["image_id"], window)
        return picture, _map_rows(key, target, p, found, occluder.grid.corners)


def _map_rows(
    key: tuple[object, int], target: int, p: Floats, found: Occlusion, corners: Ints
) -> pa.Table:
    """Rows of occlude/maps for one picture and window; p is [windows, classes]."""
    columns = {
        "image_id": np.full(len(corners), key[0]),
        "window": np.full(len(corners), key[1]),
        "y_px": corners[:, 0],
        "x_px": corners[:, 1],
        "p_target": p[:, target].astype(np.float32),
        "predicted": p.argmax(axis=1),
        "p_predicted": p.max(axis=1).astype(np.float32),
        "activity": found.activity.numpy().astype(np.float32),
    }
    return pa.table(columns).cast(OCCLUSION_MAPS.schema)


def object_boxes(boxes: tuple[ObjectBox, ...], class_name: object) -> tuple[ObjectBox, ...]:
    """Of an image's boxes those that bear its class's name, where any does; else all."""
    own = tuple(box for box in boxes if box.name == class_name)
    return own or boxes
