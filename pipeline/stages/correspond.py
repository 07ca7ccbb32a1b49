"""The correspondence of one shard of images: signs of what masks change, counted by position.

A mask's counts depend on the images of the shard alone; those of shards add up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from pipeline.analysis.correspondence import Box, SignCounts, random_box
from pipeline.analysis.occlusion.fill import fill_frame
from pipeline.data.loader import Batch
from pipeline.models.layer import Layer
from pipeline.models.network import Network
from pipeline.stages.image_stage import ImageStage
from schemas.jobs.correspond import PART_ITSELF, CorrespondSpec
from schemas.tables import LAYER, Column, Table

MASKS_AT_ONCE = 16
"""Masked frames per forward pass."""

SIGNS = Table(
    job="correspond",
    name="signs",
    columns=(
        LAYER,
        Column("part", "string", "the part's name"),
        Column("draw", "int32", "-1: the part itself; from 0: random places"),
        Column("images", "int64", "images of the shard in which it was masked"),
        Column("positive", "counts", "of those, by position of the layer's vector: eps > 0"),
        Column("negative", "counts", "of those, by position of the layer's vector: eps < 0"),
    ),
    key=("layer", "part", "draw"),
    sort=("layer", "part", "draw"),
)

PartBoxes = dict[str, Box]
"""The boxes of one image by part, in pixels of the input frame."""


class _Mask(NamedTuple):
    """A box to mask; ``kind`` is its row among a layer's."""

    kind: int
    part: str
    box: Box


@dataclass
class CorrespondStage(ImageStage):
    """Masks the parts, and random boxes, in images of shards.

    Attributes:
        spec: what to do.
        layers: names, in the order of the network.
        parts_masked: names, ascending.
        boxes: by image_id. They are given, not read here: a worker may be on another machine, and
            the file may change while the job runs.
    """

    name: ClassVar[str] = "correspond"
    spec: CorrespondSpec
    layers: tuple[str, ...]
    parts_masked: tuple[str, ...]
    boxes: Mapping[int, PartBoxes]

    @property
    def parts(self) -> dict[str, Table]:
        """Counts, from which the merge computes the final tables."""
        return {"signs": SIGNS}

    @property
    def batch_size(self) -> int:
        """Images decoded together: the masks of one image fill a forward pass."""
        return 4

    def open(self, network: Network) -> None:
        """Compile the run that taps the layers."""
        self._layers = [network.layer(name) for name in self.layers]
        self._run = network.runner(self.layers)

    def begin(self) -> None:
        """Begin a shard's counts."""
        kinds = len(self.parts_masked) * (self.spec.draws + 1)
        self._images = np.zeros(kinds, np.int64)
        self._counts = {
            layer.name: SignCounts(kinds, vector_length(layer), self.device)
            for layer in self._layers
        }

    def batch(self, batch: Batch) -> dict[str, pa.Table]:
        """Count the signs of a batch's images; the rows are the whole shard's."""
        with torch.inference_mode():
            for place, image_id in enumerate(batch.rows["image_id"].to_pylist()):
                self._count(image_id, batch.frames[place : place + 1].to(self.device))
        return {}

    def finish(self) -> dict[str, pa.Table]:
        """A row per layer, part and draw, also where no image of the shard has the part."""
        draws = range(PART_ITSELF, self.spec.draws)
        keys = [(part, draw) for part in self.parts_masked for draw in draws]
        tables = [
            pa.table(
                [
                    [name] * len(keys),
                    [part for part, _ in keys],
                    pa.array([draw for _, draw in keys], pa.int32()),
                    self._images,
                    _lists(counts.positive),
                    _lists(counts.negative),
                ],
                schema=SIGNS.schema,
            )
            for name, counts in self._counts.items()
        ]
        return {"signs": pa.concat_tables(tables)}

    def counts(self, tables: Mapping[str, pa.Table]) -> dict[str, int]:
        """Masks: of parts and of random places, in every image."""
        rows = tables["signs"].slice(0, len(self._images))
        return {"masks": sum(rows["images"].to_pylist())}

    def _masks(self, image_id: int) -> Iterator[_Mask]:
        frame_px, seed = self.source.preprocess.crop_px, self.spec.seed
        for part, box in sorted(self.boxes[image_id].items()):
            first = self.parts_masked.index(part) * (self.spec.draws + 1)
            yield _Mask(first, part, box)
            for draw in range(self.spec.draws):
                place = random_box(box, frame_px, seed, image_id, part, draw)
                yield _Mask(first + 1 + draw, part, place)

    def _count(self, image_id: int, frame: Tensor) -> None:
        """Compare the layers of an image with those under each of its masks."""
        image = self.images(frame)
        fills = {
            part: self._fill(frame, box).to(self.dtype)
            for part, box in self.boxes[image_id].items()
        }
        # The clean image in every place of a batch of one shape: kernels may round by the place.
        copies = image.repeat(MASKS_AT_ONCE, 1, 1, 1)
        clean = self._vectors(copies)
        masks = list(self._masks(image_id))
        for start in range(0, len(masks), MASKS_AT_ONCE):
            group = masks[start : start + MASKS_AT_ONCE]
            frames = copies.clone()
            for place, (_, part, (y0, x0, y1, x1)) in enumerate(group):
                frames[place, :, y0:y1, x0:x1] = fills[part][0, :, y0:y1, x0:x1]
            kinds = torch.tensor([mask.kind for mask in group], device=self.device)
            self._images[kinds.cpu().numpy()] += 1
            for name, vectors in self._vectors(frames).items():
                self._counts[name].add(kinds, clean[name][: len(group)], vectors[: len(group)])

    def _vectors(self, frames: Tensor) -> dict[str, Tensor]:
        """The layers' values, [N, length] by name."""
        found: dict[str, Tensor] = {}
        layers = {layer.name: layer for layer in self._layers}

        def tap(name: str, value: Tensor) -> None:
            found[name] = layers[name].maps(value).flatten(1)

        self._run(frames.contiguous(memory_format=torch.channels_last), tap)
        return found

    def _fill(self, frame: Tensor, box: Box) -> Tensor:
        side = max(box[2] - box[0], box[3] - box[1])
        return fill_frame(frame, self.spec.fill, self.source.preprocess, side / 2)


def vector_length(layer: Layer) -> int:
    """Values of a layer per image."""
    height, width = layer.layout.map_size
    return layer.units * height * width


def _lists(counts: Tensor) -> pa.Array:
    """[masks, length] as one list per mask."""
    values = counts.to(torch.int64).cpu().numpy()
    offsets = np.arange(len(values) + 1, dtype=np.int32) * values.shape[1]
    return pa.ListArray.from_arrays(
        offsets, values.ravel(), type=SIGNS.schema.field("positive").type
    )
