"""The base of every stage that works with the scanned network.

It loads the model and holds it against the weights that were scanned, and puts it on its device in
the precision that the plan names.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import pyarrow as pa
import torch
from torch import nn

from pipeline.models.load import LoadedModel, load_model
from pipeline.models.network import Network, open_network
from pipeline.stages.contract import StageOutput
from pipeline.store.commit import JobStore
from pipeline.store.layout import JobFolder
from pipeline.store.run import Run
from schemas.errors import ModelError
from schemas.jobs.scan import ScanSpec
from schemas.manifest import Shard
from schemas.specs import DatasetSpec, ModelSpec, Precision, PreprocessSpec, Resources
from schemas.tables import Table


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

    @classmethod
    def of(cls, run: Run) -> Self:
        """The source of a run's published scan.

        Raises:
            NotPublishedError: there is none yet.
        """
        manifest = run.manifest("scan")
        spec = ScanSpec.model_validate(manifest.spec)
        return cls(
            run=run.url,
            model=spec.model,
            weights_sha256=str(manifest.identity["weights_sha256"]),
            preprocess=PreprocessSpec.model_validate(manifest.identity["preprocess"]),
            data=spec.data,
        )

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
    """Works with the scanned network; see `pipeline.stages.contract.Stage`.

    A stage names itself, the rows of its work list and its part tables; `open` prepares what it
    needs of the network. One that shows it images is an `pipeline.stages.image_stage.ImageStage`.

    Attributes:
        name: the job's name.
        items: what a row of the work list is, in the plural.
        can_exclude: see `Stage.can_exclude`.
        source: the scanned model and its images.
        resources: where it runs.
    """

    name: ClassVar[str]
    items: ClassVar[str]
    can_exclude: ClassVar[bool] = False
    source: ScanSource
    resources: Resources

    @property
    @abstractmethod
    def parts(self) -> Mapping[str, Table]:
        """See `Stage.parts`."""

    @property
    def precision(self) -> Precision:
        """Of the network's arithmetic."""
        return "fp32"

    @abstractmethod
    def open(self, network: Network) -> None:
        """Prepare the work, once per worker; the network is on `device`, in `dtype`."""

    @abstractmethod
    def process(self, shard: Shard, upcoming: Shard | None = None) -> StageOutput:
        """See `Stage.process`."""

    def setup(self, device: str) -> None:
        """Load the model onto the device, and what the stage prepares of it."""
        loaded = self.source.load()
        network = open_network(loaded.module, self.source.preprocess.crop_px)
        self._store = JobStore(JobFolder(self.source.run, self.name))
        self.device = torch.device(device)
        self.dtype = prepare(loaded.module, self.device, self.precision)
        self.open(network)

    def work_rows(self, contract: Table, start: int, stop: int) -> pa.Table:
        """The rows [start, stop) of the work list, which is of that contract."""
        return self._store.work_rows(contract, start, stop)


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
