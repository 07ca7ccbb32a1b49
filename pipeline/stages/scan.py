"""The scan of one shard: every selected layer in one forward pass.

A shard's tables depend on the shard and the plan alone: batches are cut at fixed
places and always full size, and sums are added in the order of the batches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
import torch
from torch import Tensor

from pipeline.analysis.predictions import predict
from pipeline.analysis.topk import TopPatches, find_peaks
from pipeline.analysis.unit_stats import UnitStats
from pipeline.data.loader import Batch
from pipeline.models.layer import Layer
from pipeline.models.network import Network
from pipeline.stages import scan_tables
from pipeline.stages.image_stage import ImageStage
from schemas.errors import WorkerError
from schemas.jobs.scan import ScanSpec
from schemas.specs import Precision
from schemas.tables import Table


@dataclass
class ScanStage(ImageStage):
    """Scans shards of an image list.

    Attributes:
        spec: of the scan.
        layers: names of the layers, in the order of the network.
    """

    name: ClassVar[str] = "scan"
    keeps_rejects: ClassVar[bool] = True
    spec: ScanSpec
    layers: tuple[str, ...]

    @property
    def parts(self) -> dict[str, Table]:
        """See `Stage.parts`."""
        return scan_tables.PARTS

    @property
    def batch_size(self) -> int:
        """Images per forward pass."""
        return self.spec.batch_size

    @property
    def precision(self) -> Precision:
        """Of the forward pass."""
        return self.spec.precision

    def open(self, network: Network) -> None:
        """Compile the run that taps the layers."""
        self._layers = [network.layer(name) for name in self.layers]
        self._run = network.runner(self.layers)

    def begin(self) -> None:
        """Begin a shard's top patches and sums."""
        self._shard = _ShardScan(self._layers, self.spec.top, self.device)

    def batch(self, batch: Batch) -> dict[str, pa.Table]:
        """The predictions of one batch; what its units do goes to the shard's state."""
        # Not around the loader: its threads fill tensors that must not be inference tensors.
        with torch.inference_mode():
            predictions = predict(self._forward(batch), _labels(batch))
        return {
            "images": scan_tables.image_rows(batch, predictions),
            "rejects": scan_tables.reject_rows(batch.rejects),
        }

    def finish(self) -> dict[str, pa.Table]:
        """The shard's top patches and sums."""
        return {
            "part_top": scan_tables.top_rows(self._shard.tops),
            "part_units": scan_tables.unit_rows(self._shard.stats),
        }

    def counts(self, tables: Mapping[str, pa.Table]) -> dict[str, int]:
        """Images that could be used, and rejects by their reason."""
        reasons = tables["rejects"]["reason"].to_pylist()
        by_reason = Counter(f"rejects_{reason}" for reason in reasons)
        return {"images": tables["images"].num_rows, "rejects": len(reasons), **by_reason}

    def _forward(self, batch: Batch) -> Tensor:
        scan = self._shard
        scan.begin(batch.valid.to(self.device), batch.image_ids.to(self.device))
        scores = self._run(self.images(batch.frames), scan.tap)
        scan.finish()
        if scores.dim() != 2:
            raise WorkerError(
                f"model: {self.source.model.arch} returns scores of shape {list(scores.shape)}, "
                "not [images, classes]; wrap it in a module that does"
            )
        return scores


class _ShardScan:
    """The running state of one shard: per layer its top patches, and statistics of all units."""

    def __init__(self, layers: list[Layer], top: int, device: torch.device) -> None:
        self._layers = {layer.name: layer for layer in layers}
        self.tops = {layer.name: TopPatches(layer.units, top, device) for layer in layers}
        self.stats = UnitStats(sum(layer.units for layer in layers), device)
        self._maxima: dict[str, Tensor] = {}

    def begin(self, valid: Tensor, image_ids: Tensor) -> None:
        self._valid, self._image_ids = valid, image_ids

    def tap(self, name: str, value: Tensor) -> None:
        layer = self._layers[name]
        maps = layer.maps(value)
        peaks = find_peaks(maps)
        maxima = peaks.maxima
        eligible = torch.isfinite(maxima) & self._valid[:, None]
        if layer.activation:
            eligible &= maxima > 0
        self.tops[name].update(maps, peaks, eligible, self._image_ids)
        self._maxima[name] = maxima

    def finish(self) -> None:
        # A network that is hooked may take another path, or order, than the one it was planned by.
        if missed := [name for name in self._layers if name not in self._maxima]:
            raise WorkerError(
                f"layers: {', '.join(missed)} gave no value for a batch: the network's path "
                "depends on what it sees; leave them out with layers.exclude, in a new folder"
            )
        maxima = [self._maxima[name] for name in self._layers]
        self.stats.update(torch.cat(maxima, dim=1), self._valid)
        self._maxima.clear()


def _labels(batch: Batch) -> Tensor:
    """int64 [batch_size], -1 where the data set gives none."""
    labels = torch.full((len(batch.valid),), -1, dtype=torch.int64)
    given = batch.rows["label"].fill_null(-1).to_numpy().copy()
    labels[: len(given)] = torch.from_numpy(given).long()
    return labels
