"""The occlusion of one shard of images: every window at every position (ZF 4.2, fig. 7).

A picture's rows depend on the picture and the plan alone.

Figure 7 c, what the strongest map saw, is the deconvnet projection of the map's largest activation
on the clean image, as for the top patches of other images that it stands beside (ZF 2.1): one
activation is kept, all others of its layer are zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from pipeline.analysis.deconvnet.projector import Projector, Targets
from pipeline.analysis.occlusion.fill import fill_frame
from pipeline.analysis.occlusion.metrics import Box, summarise
from pipeline.analysis.occlusion.occluder import Occluder, Occlusion, softmax
from pipeline.analysis.predictions import explained_classes
from pipeline.data.loader import Batch
from pipeline.data.object_boxes import Boxes, ObjectBox, in_frame
from pipeline.models.layer import Layer
from pipeline.models.network import Network
from pipeline.stages.image_stage import ImageStage
from pipeline.stages.stored_pictures import encode_png, scaled_pixels, shown_boxes
from schemas.arrays import Floats, Ints
from schemas.errors import LayerError, TraceError
from schemas.jobs.occlude import (
    OCCLUSION_MAPS,
    OCCLUSION_PICTURES,
    OCCLUSION_PROJECTIONS,
    OccludeSpec,
)
from schemas.tables import Table

_BOX = ("box_y0", "box_x0", "box_y1", "box_x1")


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
        return {
            "pictures": OCCLUSION_PICTURES,
            "maps": OCCLUSION_MAPS,
            "map_projections": OCCLUSION_PROJECTIONS,
        }

    @property
    def batch_size(self) -> int:
        """Images decoded together: the windows of one fill a forward pass."""
        return 4

    def open(self, network: Network) -> None:
        """Plan the windows, and build the deconvnet where its rule is defined."""
        layer = network.layer(self.layer)
        self._watched, self._projector = layer, projector_of(network, layer)
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
        """Windows, at every position of every image, and projections."""
        projections = tables["map_projections"]["projection"]
        return {
            "positions": tables["maps"].num_rows,
            "projections": len(projections) - projections.null_count,
        }

    def batch(self, batch: Batch) -> dict[str, pa.Table]:
        """The maps of a batch's images under every window, what sums them up, and figure c."""
        pictures: list[dict[str, object]] = []
        maps: list[pa.Table] = []
        projections: list[dict[str, object]] = []
        for place, row in enumerate(batch.rows.to_pylist()):
            frame = batch.frames[place : place + 1].to(self.device)
            size = (int(batch.heights[place]), int(batch.widths[place]))
            boxes = [
                in_frame(box, size, self.source.preprocess)
                for box in object_boxes(self.boxes.get(row["uri"], ()), row["class_name"])
            ]
            found = [self._occlude(window, frame) for window in range(len(self._occluders))]
            for window, one in enumerate(found):
                picture, table = self._rows(row, window, one, boxes)
                pictures.append(picture)
                maps.append(table)
            projections.append(
                {"image_id": row["image_id"], **self._project(self.images(frame), found[0])}
            )
        return {
            "pictures": pa.Table.from_pylist(pictures, schema=OCCLUSION_PICTURES.schema),
            "maps": pa.concat_tables(maps),
            "map_projections": pa.Table.from_pylist(
                projections, schema=OCCLUSION_PROJECTIONS.schema
            ),
        }

    def _occlude(self, window: int, frame: Tensor) -> Occlusion:
        side = max(self.spec.windows[window].size)
        fill = fill_frame(frame, self.spec.fill, self.source.preprocess, side / 2)
        return self._occluders[window].occlude(
            self.images(frame), fill.contiguous(memory_format=torch.channels_last)
        )

    def _rows(
        self, row: dict[str, Any], window: int, found: Occlusion, boxes: list[Box]
    ) -> tuple[dict[str, object], pa.Table]:
        """One image under one window: its row of occlude/pictures, and those of occlude/maps."""
        spec, occluder = self.spec.windows[window], self._occluders[window]
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

    def _project(self, image: Tensor, found: Occlusion) -> dict[str, object]:
        """What occlude/map_projections says of an image; ``image`` is the network's input."""
        (y, x), value = found.peak_at, found.peak
        [box] = self._watched.boxes(*(np.array([each]) for each in (found.unit, y, x)))
        about = {"layer": self.layer, "unit": found.unit, "y": y, "x": x, "value": value}
        about |= dict(zip(_BOX, box.tolist(), strict=True))
        if isinstance(self._projector, str):
            return about | {"missing": self._projector}
        if not np.isfinite(value):
            return about | {"missing": "the map's largest activation is not finite"}
        rows, units, ys, xs = (torch.tensor([each]) for each in (0, found.unit, y, x))
        shown = shown_boxes(box[None], self.source.preprocess.crop_px)
        one = Targets(rows, units, ys, xs, torch.tensor([value]), shown)
        [signal] = self._projector.project(image, {self.layer: one})[self.layer].pictures
        pixels, scale = scaled_pixels(signal.float().cpu().numpy())
        png = encode_png(pixels, self.source.preprocess.crop_px)
        return about | {"projection": {"bytes": png, "path": None}, "scale": scale}


def projector_of(network: Network, layer: Layer) -> Projector | str:
    """Projects a layer's activations by the deconvnet's rule; or why that cannot be done."""
    try:
        return Projector(network, (layer,), "deconvnet")
    except (TraceError, LayerError) as error:
        # What comes after the fact is advice for the projection of top patches.
        return str(error).partition(";")[0]


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
