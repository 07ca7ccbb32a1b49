"""The base of every stage that shows images to the scanned network.

It loads the model and holds it against the weights that were scanned, puts it on its device in the
precision that the plan names, and feeds the images of a shard batch by batch to `ModelStage.batch`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import pyarrow as pa
import torch
from torch import Tensor, nn

from pipeline.data.loader import Batch, ImageLoader
from pipeline.data.preprocess import normalise
from pipeline.models.load import LoadedModel, load_model
from pipeline.models.network import Network, open_network
from pipeline.stages.contract import StageOutput
from pipeline.store.commit import JobStore
from pipeline.store.layout import JobFolder
from schemas.errors import DatasetError, ModelError
from schemas.manifest import Shard
from schemas.specs import DatasetSpec, ModelSpec, Precision, PreprocessSpec, Resources
from schemas.tables import IMAGE_LIST, Table


@dataclass(frozen=True)
class ScanSource:
    """Model, preprocessing and data of a scan, as a worker needs them.

    Attributes:
        run: the run's folder, a path or URL.
        model: what to load.
        weights_sha256: what its weights must hash to, so that every worker and every job of the
            run looks at one model.
        preprocess: from a picture to the network's input frame, resolved.
        data: where the images are listed, and the bounds on them.
    """

    run: str
    model: ModelSpec
    weights_sha256: str
    preprocess: PreprocessSpec
    data: DatasetSpec

    def load(self) -> LoadedModel:
        """The model that was scanned.

        Raises:
            ModelError: the weights are others now.
        """
        loaded = load_model(self.model)
        if loaded.weights_sha256 != self.weights_sha256:
            raise ModelError(
                f"weights: {self.model.weights} has sha256 {loaded.weights_sha256}, the scan in "
                f"{self.run} was made with {self.weights_sha256}; give back those weights, or scan "
                "into a new folder"
            )
        return loaded


@dataclass
class ModelStage(ABC):
    """Shows the images of shards to a network; see `pipeline.stages.contract.Stage`.

    A stage names itself and its part tables, and says what becomes of a batch; `open` prepares what
    that needs of the network. One that sums up over a shard begins anew in `begin` and gives the
    sums in `finish`.

    Attributes:
        name: the job's name.
        can_exclude: the loader rejects an image that kills its worker; see `Stage.can_exclude`.
        keeps_rejects: an image that cannot be used is left to `batch`; else it is an error, since
            the scan could use it.
        keeps_pictures: batches come with the decoded pictures, `Batch.pictures`.
        unreadable: what that error says of the image, and the way out.
        source: the scanned model and its images.
        resources: where it runs.
    """

    name: ClassVar[str]
    can_exclude: ClassVar[bool] = True
    keeps_rejects: ClassVar[bool] = False
    keeps_pictures: ClassVar[bool] = False
    unreadable: ClassVar[tuple[str, str]] = ("was scanned", "put it back, or choose other images")
    source: ScanSource
    resources: Resources

    @property
    @abstractmethod
    def parts(self) -> Mapping[str, Table]:
        """See `Stage.parts`."""

    @property
    def batch_size(self) -> int:
        """Images per batch."""
        return 16

    @property
    def precision(self) -> Precision:
        """Of the network's arithmetic."""
        return "fp32"

    @abstractmethod
    def open(self, network: Network) -> None:
        """Prepare the work, once per worker; the network is on `device`, in `dtype`."""

    def begin(self) -> None:  # noqa: B027 (a hook: most stages keep nothing over a shard)
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
        loaded = self.source.load()
        network = open_network(loaded.module, self.source.preprocess.crop_px)
        self.device = torch.device(device)
        self.dtype = prepare(loaded.module, self.device, self.precision)
        self.loader = ImageLoader(
            partial(JobStore(JobFolder(self.source.run, self.name)).work_rows, IMAGE_LIST),
            preprocess=self.source.preprocess,
            data=self.source.data,
            batch_size=self.batch_size,
            threads=self.resources.decode_threads,
            keep_pictures=self.keeps_pictures,
        )
        self.open(network)

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
        return StageOutput(tables, {"images": shard.stop - shard.start, **self.counts(tables)})

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


def prepare(module: nn.Module, device: torch.device, precision: Precision) -> torch.dtype:
    """Put a model on its device and set how its products are rounded.

    ``fp32`` is IEEE single precision on every device: no TF32, no reduced sums.

    Args:
        module: changed in place: device, dtype, memory format channels_last (2 times as fast on a
            CPU, measured).
        device: where the work runs; settings are global to the process.
        precision: fp32, tf32 (fp32 maps, TF32 products, CUDA only) or bf16 (weights and maps).

    Returns:
        The dtype that the network's input must have.
    """
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    # The same choice of algorithm in every process, or sums may differ between workers.
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    module.to(device=device, dtype=dtype)
    if any(parameter.dim() == 4 for parameter in module.parameters()):
        module.to(memory_format=torch.channels_last)
    return dtype
