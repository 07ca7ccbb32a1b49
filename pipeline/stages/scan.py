"""The scan of one shard: every selected layer in one forward pass.

The invariant: a shard's tables depend on the shard and the plan alone: batches are cut at fixed
places and always full size, and sums are added in the order of the batches.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pyarrow as pa
import torch
from torch import Tensor

from pipeline.analysis.predictions import predict
from pipeline.analysis.topk import TopPatches, find_peaks
from pipeline.analysis.unit_stats import UnitStats
from pipeline.data.loader import Batch, ImageLoader
from pipeline.data.preprocess import normalise
from pipeline.models.layer import Layer
from pipeline.models.load import load_model
from pipeline.models.network import open_network
from pipeline.stages import scan_tables
from pipeline.stages.contract import StageOutput
from pipeline.stages.precision import prepare
from pipeline.store.commit import JobStore
from pipeline.store.layout import JobFolder
from schemas.errors import WorkerError
from schemas.manifest import Shard
from schemas.specs import (
    DatasetSpec,
    ModelSpec,
    Precision,
    PreprocessSpec,
    Resources,
)


@dataclass
class ScanStage:
    """Scans shards of an image list; see `pipeline.stages.contract.Stage`.

    Attributes:
        folder: the scan's folder; the image list is read from its work folder.
        model: what to load.
        weights_sha256: what the weights must hash to, so that every worker scans one model.
        preprocess: resolved.
        data: for the bounds on pictures.
        layers: names of the layers, in the order of the network.
        top: k.
        batch_size: images a forward pass.
        precision: of the forward pass.
        resources: see the contract.
    """

    folder: JobFolder
    model: ModelSpec
    weights_sha256: str
    preprocess: PreprocessSpec
    data: DatasetSpec
    layers: tuple[str, ...]
    top: int
    batch_size: int
    precision: Precision
    resources: Resources
    name: str = field(default="scan", init=False)

    def setup(self, device: str) -> None:
        """Load the model onto the device and compile the run that taps the layers."""
        loaded = load_model(self.model)
        if loaded.weights_sha256 != self.weights_sha256:
            raise WorkerError(
                f"weights: {self.model.weights} changed while the scan ran (sha256 "
                f"{loaded.weights_sha256}, planned {self.weights_sha256}); scan into a new folder"
            )
        network = open_network(loaded.module, self.preprocess.crop_px)
        self._layers = [network.layer(name) for name in self.layers]
        self._device = torch.device(device)
        self._dtype = prepare(loaded.module, self._device, self.precision)
        self._run = network.runner(self.layers)
        self._loader = ImageLoader(
            JobStore(self.folder).image_rows,
            preprocess=self.preprocess,
            data=self.data,
            batch_size=self.batch_size,
            threads=self.resources.decode_threads,
        )

    def process(self, shard: Shard, upcoming: Shard | None = None) -> StageOutput:
        """Scan one shard; gives the tables images, rejects, part_top and part_units."""
        scan = _ShardScan(self._layers, self.top, self._device)
        images: list[pa.Table] = []
        rejects: list[tuple[int, str, str, str]] = []
        for batch in self._loader.batches(shard, upcoming):
            # Not around the loop: the decoding threads fill tensors that the loader makes in it.
            with torch.inference_mode():
                predictions = predict(self._forward(batch, scan), _labels(batch))
            images.append(scan_tables.image_rows(batch, predictions))
            rejects.extend(batch.rejects)
        tables = {
            "images": pa.concat_tables(images).combine_chunks(),
            "rejects": scan_tables.reject_rows(rejects),
            "part_top": scan_tables.top_rows(scan.tops),
            "part_units": scan_tables.unit_rows(scan.stats),
        }
        by_reason = Counter(f"rejects_{reason}" for _, _, reason, _ in rejects)
        counts = {"images": tables["images"].num_rows, "rejects": len(rejects), **by_reason}
        return StageOutput(tables, counts)

    def _forward(self, batch: Batch, scan: _ShardScan) -> Tensor:
        frames = batch.frames.to(self._device, non_blocking=True)
        frames = frames.contiguous(memory_format=torch.channels_last)
        images = normalise(frames, self.preprocess, self._dtype)
        scan.begin(batch.valid.to(self._device), batch.image_ids.to(self._device))
        scores = self._run(images, scan.tap)
        scan.finish()
        if scores.dim() != 2:
            raise WorkerError(
                f"model: {self.model.arch} returns scores of shape {list(scores.shape)}, not "
                "[images, classes]; wrap it in a module that does"
            )
        return scores


class _ShardScan:
    """The running state of one shard: top patches a layer, statistics of all units."""

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
