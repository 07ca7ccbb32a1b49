"""What a later job takes from a published scan: its model, its pictures, its preprocessing.

Invariant: other weights, another network or another image list than the scan's are refused by name,
before anything is put.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.data.listing import dataset_digest, list_images
from pipeline.models.load import load_model
from pipeline.models.network import Network, open_network
from pipeline.store.run import Run, open_run
from schemas.errors import DatasetError, ModelError
from schemas.jobs import ScanSpec
from schemas.manifest import Manifest
from schemas.specs import PreprocessSpec


@dataclass(frozen=True)
class Scanned:
    """A published scan.

    Attributes:
        run: its tables.
        manifest: of the scan.
        spec: of the scan.
        preprocess: as it was resolved.
    """

    run: Run
    manifest: Manifest
    spec: ScanSpec
    preprocess: PreprocessSpec

    @property
    def weights_sha256(self) -> str:
        """Of the weights that the scan was made with."""
        return str(self.manifest.identity["weights_sha256"])

    def network(self) -> Network:
        """The network that was scanned.

        Raises:
            ModelError: the weights are others now.
        """
        loaded = load_model(self.spec.model)
        if loaded.weights_sha256 != self.weights_sha256:
            raise ModelError(
                f"weights: {self.spec.model.weights} has sha256 {loaded.weights_sha256}, the index "
                f"in {self.run.url} was made with {self.weights_sha256}; give back those weights, "
                "or scan again"
            )
        return open_network(loaded.module, self.preprocess.crop_px)

    def images(self, ids: set[int]) -> pa.Table:
        """Those rows of the image list, in its order.

        Raises:
            DatasetError: the list is another one now.
        """
        rows = list_images(self.spec.data)
        listed = self.manifest.identity["images"]
        if dataset_digest(rows) != listed["sha256"]:
            raise DatasetError(
                f"data: {self.spec.data.uri} lists {rows.num_rows} images with other names or "
                f"labels than the {listed['count']} that were scanned; put the list back, or scan "
                "again"
            )
        return rows.filter(pc.is_in(rows["image_id"], pa.array(sorted(ids), pa.int64())))


def open_scanned(run: str) -> Scanned:
    """The scan that a run holds.

    Raises:
        NotPublishedError: there is none yet.
    """
    source = open_run(run)
    manifest = source.manifest("scan")
    return Scanned(
        source,
        manifest,
        ScanSpec.model_validate(manifest.spec),
        PreprocessSpec.model_validate(manifest.identity["preprocess"]),
    )
