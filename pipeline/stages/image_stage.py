"""The base of every stage that shows images to the scanned network.

It feeds the images of a shard batch by batch to `ImageStage.batch`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import pyarrow as pa
import torch
from torch import Tensor

from pipeline.data.loader import Batch, ImageLoader
from pipeline.data.preprocess import normalise
from pipeline.stages.contract import StageOutput
from pipeline.stages.model_stage import ModelStage
from schemas.errors import DatasetError
from schemas.manifest import Shard
from schemas.tables import IMAGE_LIST


@dataclass
class ImageStage(ModelStage):
    """Shows the images of shards to a network; see `pipeline.stages.contract.Stage`.

    A stage says what becomes of a batch. One that sums up over a shard begins anew in `begin` and
    gives the sums in `finish`.

    Attributes:
        can_exclude: the loader rejects an image that kills its worker.
        keeps_rejects: an image that cannot be used is left to `batch`; else it is an error, since
            the scan could use it.
        keeps_pictures: batches come with the decoded pictures, `Batch.pictures`.
        unreadable: what that error says of the image, and the way out.
    """

    items: ClassVar[str] = "images"
    can_exclude: ClassVar[bool] = True
    keeps_rejects: ClassVar[bool] = False
    keeps_pictures: ClassVar[bool] = False
    unreadable: ClassVar[tuple[str, str]] = ("was scanned", "put it back, or choose other images")

    @property
    def batch_size(self) -> int:
        """Images per batch."""
        return 16

    def begin(self) -> None:
        """Called before each shard; does nothing unless a stage sums up over a shard."""

    @abstractmethod
    def batch(self, batch: Batch) -> dict[str, pa.Table]:
        """The rows of one batch, by part."""

    def finish(self) -> dict[str, pa.Table]:
        """The rows that sum up a whole shard, by part; none for most."""
        return {}

    def arrange(self, rows: pa.Table) -> pa.Table:
        """The rows of a part in its contract's order; for most that of the images."""
        return rows

    def counts(self, tables: Mapping[str, pa.Table]) -> dict[str, int]:
        """What a shard's tables are counted as, beside its images: rows by part."""
        return {name: table.num_rows for name, table in tables.items()}

    def setup(self, device: str) -> None:
        """Load the model onto the device, and what the stage prepares of it."""
        super().setup(device)
        self.loader = ImageLoader(
            partial(self.work_rows, IMAGE_LIST),
            preprocess=self.source.preprocess,
            data=self.source.data,
            batch_size=self.batch_size,
            threads=self.resources.decode_threads,
            keep_pictures=self.keeps_pictures,
        )

    def process(self, shard: Shard, upcoming: Shard | None = None) -> StageOutput:
        """Do one shard, batch after batch; gives the tables of `parts`."""
        found: dict[str, list[pa.Table]] = defaultdict(list)
        self.begin()
        for batch in self.loader.batches(shard, upcoming):
            if not self.keeps_rejects:
                self._require_readable(batch)
            for name, table in self.batch(batch).items():
                found[name].append(table)
        for name, table in self.finish().items():
            found[name].append(table)
        tables = {
            name: self.arrange(pa.concat_tables([contract.schema.empty_table(), *found[name]]))
            for name, contract in self.parts.items()
        }
        return StageOutput(tables, {self.items: shard.stop - shard.start, **self.counts(tables)})

    def _require_readable(self, batch: Batch) -> None:
        if batch.rejects:
            one, (fact, way_out) = batch.rejects[0], self.unreadable
            raise DatasetError(
                f"{one.uri}: {fact}, and now it cannot be read ({one.reason}: {one.detail}); "
                f"{way_out}"
            )

    def images(self, frames: Tensor) -> Tensor:
        """The network's input for uint8 frames [N, 3, S, S]: normalised, on the device."""
        frames = frames.to(self.device, non_blocking=True)
        frames = frames.contiguous(memory_format=torch.channels_last)
        return normalise(frames, self.source.preprocess, self.dtype)
