"""The occlusion of one shard of images: every window at every position.

The invariant: a picture's rows depend on the picture and the plan alone.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from pipeline.analysis.occlusion.fill import fill_frame
from pipeline.analysis.occlusion.metrics import Box, summarise
from pipeline.analysis.occlusion.occluder import Occluder, Occlusion, softmax
from pipeline.data.loader import Batch, ImageLoader
from pipeline.data.object_boxes import Boxes, ObjectBox, in_frame
from pipeline.data.preprocess import normalise
from pipeline.models.load import load_model
from pipeline.models.network import open_network
from pipeline.stages.contract import StageOutput
from pipeline.stages.precision import prepare
from pipeline.store.commit import JobStore
from pipeline.store.layout import JobFolder
from schemas.arrays import Floats, Ints
from schemas.errors import DatasetError, ModelError
from schemas.jobs import OccludeSpec
from schemas.manifest import Shard
from schemas.specs import DatasetSpec, ModelSpec, PreprocessSpec, Resources
from schemas.tables import OCCLUSION_MAPS, OCCLUSION_PICTURES

PARTS = {"pictures": OCCLUSION_PICTURES, "maps": OCCLUSION_MAPS}
"""What a shard of the occlusion gives: the final tables' own rows."""


@dataclass
class OccludeStage:
    """Occludes the images of shards; see `pipeline.stages.contract.Stage`.

    Attributes:
        folder: the occlusion's folder; its image list holds the chosen images.
        model: as in the scan.
        weights_sha256: of the scan.
        preprocess: of the scan.
        data: of the scan.
        spec: what to do.
        layer: whose strongest map is watched.
        boxes: of the objects in the chosen images. They are given, not read here: a worker may be
            on another machine, and the file may change while the job runs.
        resources: see the contract.
    """

    folder: JobFolder
    model: ModelSpec
    weights_sha256: str
    preprocess: PreprocessSpec
    data: DatasetSpec
    spec: OccludeSpec
    layer: str
    boxes: Boxes
    resources: Resources
    name: str = field(default="occlude", init=False)

    def setup(self, device: str) -> None:
        """Load the model and plan the windows."""
        loaded = load_model(self.model)
        if loaded.weights_sha256 != self.weights_sha256:
            raise ModelError(
                f"weights: {self.model.weights} has sha256 {loaded.weights_sha256}, the scan was "
                f"made with {self.weights_sha256}; give back those weights, or scan again"
            )
        network = open_network(loaded.module, self.preprocess.crop_px)
        layer = network.layer(self.layer)
        self._device = torch.device(device)
        prepare(loaded.module, self._device, "fp32")
        self._occluders = [
            Occluder(
                network,
                layer,
                window,
                frame_px=self.preprocess.crop_px,
                engine=self.spec.engine,
                batch_bytes=self.spec.batch_bytes,
            )
            for window in self.spec.windows
        ]
        self._loader = ImageLoader(
            JobStore(self.folder).image_rows,
            preprocess=self.preprocess,
            data=self.data,
            batch_size=4,
            threads=self.resources.decode_threads,
        )

    def process(self, shard: Shard, upcoming: Shard | None = None) -> StageOutput:
        """Occlude one shard; gives the tables pictures and maps."""
        pictures: list[dict[str, object]] = []
        maps: list[pa.Table] = []
        for batch in self._loader.batches(shard, upcoming):
            _require_readable(batch)
            rows = batch.rows.to_pylist()
            for place, row in enumerate(rows):
                frame = batch.frames[place : place + 1].to(self._device)
                size = (int(batch.heights[place]), int(batch.widths[place]))
                boxes = [
                    in_frame(box, size, self.preprocess)
                    for box in object_boxes(self.boxes.get(row["uri"], ()), row["class_name"])
                ]
                for window in range(len(self._occluders)):
                    picture, table = self._occlude(row, window, frame, boxes)
                    pictures.append(picture)
                    maps.append(table)
        tables = {
            "pictures": pa.Table.from_pylist(pictures, schema=OCCLUSION_PICTURES.schema),
            "maps": pa.concat_tables(maps),
        }
        positions = tables["maps"].num_rows
        return StageOutput(tables, {"images": shard.stop - shard.start, "positions": positions})

    def _occlude(
        self, row: dict[str, object], window: int, frame: Tensor, boxes: list[Box]
    ) -> tuple[dict[str, object], pa.Table]:
        spec, occluder = self.spec.windows[window], self._occluders[window]
        fill = fill_frame(frame, self.spec.fill, self.preprocess, max(spec.size) / 2)
        image = normalise(frame, self.preprocess, torch.float32)
        layout = torch.channels_last
        found = occluder.occlude(
            image.contiguous(memory_format=layout), fill.contiguous(memory_format=layout)
        )
        target = self._target(row, found)
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

    def _target(self, row: dict[str, object], found: Occlusion) -> int:
        """The class asked for, else the label where it is a class, else the prediction."""
        if self.spec.target is not None:
            return self.spec.target
        label = row["label"]
        if isinstance(label, int) and label < len(found.clean):
            return label
        return int(found.clean.argmax())


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


def _require_readable(batch: Batch) -> None:
    if batch.rejects:
        one = batch.rejects[0]
        raise DatasetError(
            f"{one.uri}: was scanned, and now it cannot be read ({one.reason}: {one.detail}); put "
            "it back, or choose other images"
        )
