"""What a later job takes from a published scan: its model, its images, its layers.

Other weights, another network or another image list than the scan's are refused by name, before
anything is put.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.data.listing import dataset_digest, list_images
from pipeline.data.object_boxes import Boxes, read_boxes
from pipeline.models.layer_globs import match_layers
from pipeline.models.network import Network, open_network
from pipeline.stages.model_stage import ScanSource
from pipeline.store.run import Run, open_run
from schemas.errors import DatasetError, LayerError, SpecError, nearest
from schemas.jobs.scan import ScanSpec
from schemas.manifest import Manifest
from schemas.secrets import mask
from schemas.specs import ImageSelection, LayerSelection


@dataclass(frozen=True)
class PublishedScan:
    """A published scan.

    Attributes:
        run: its tables.
        manifest: of the scan.
        spec: of the scan.
        source: what a stage takes of it.
    """

    run: Run
    manifest: Manifest
    spec: ScanSpec
    source: ScanSource

    def network(self) -> Network:
        """The network that was scanned.

        Raises:
            ModelError: the weights are others now.
        """
        return open_network(self.source.load().module, self.source.preprocess.crop_px)

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

    def choose(self, selection: ImageSelection) -> pa.Table:
        """The rows of the image list that a selection names, of those that the scan could read.

        Raises:
            DatasetError: an id or a class is unknown, or none is left.
            LayerError: ``of_unit`` names no unit of the scan.
        """
        images = self.run.table("images", job="scan", columns=["image_id", "label", "class_name"])
        if images.empty:
            raise DatasetError(f"images: the scan in {self.run.url} could read none")
        if unknown := sorted(set(selection.ids) - set(images["image_id"])):
            raise DatasetError(
                f"images.ids: the scan has no image {unknown[0]}; choices: 0 to "
                f"{images['image_id'].max()}, but for its rejects"
            )
        if selection.ids:
            images = images[images["image_id"].isin(selection.ids)]
        if selection.classes:
            images = _of_classes(images, selection.classes)
        if selection.of_unit is not None:
            images = images[images["image_id"].isin(self._of_unit(selection.of_unit))]
        ids = np.sort(images["image_id"].to_numpy())
        if selection.sample is not None and selection.sample < len(ids):
            ids = np.random.default_rng(selection.seed).choice(ids, selection.sample, replace=False)
        if not len(ids):
            raise DatasetError("images: the selection leaves none; widen ids, classes or of_unit")
        return self.images(set(ids.tolist()))

    def boxes(self, url: str) -> Boxes:
        """The boxes of a CSV file, of pictures of the scan and of others.

        Raises:
            DatasetError: the file is wrong, or names no picture of the scan.
        """
        known = read_boxes(url)
        scanned = self.run.table("images", job="scan", columns=["uri"])["uri"]
        if known.keys().isdisjoint(scanned):
            raise DatasetError(
                f"boxes: {mask(url)} names {len(known)} pictures, none of them scanned, the first "
                f"{next(iter(known), None)}; a relative path is relative to the CSV's folder"
            )
        return known

    def layers(self, selection: LayerSelection) -> dict[str, int]:
        """The scanned layers that a selection names, with their positions in the network.

        Raises:
            LayerError: a glob matches no scanned layer, or none is left.
        """
        table = self.run.table("layers", job="scan", columns=["layer", "position"])
        known = dict(zip(table["layer"], table["position"].astype(int), strict=True))
        chosen = match_layers(list(known), selection, missing="was not scanned")
        return {name: known[name] for name in chosen}

    def _of_unit(self, name: str) -> pd.Series:
        layer, _, unit = name.rpartition(":")
        try:
            tops = self.run.table("top_patches", job="scan", layer=layer, unit=int(unit))
        except LayerError as error:
            raise LayerError(f"images.of_unit: {name}: {error}") from error
        return tops["image_id"]


def open_published_scan(run: str) -> PublishedScan:
    """The scan that a run holds.

    Raises:
        NotPublishedError: there is none yet.
    """
    tables = open_run(run)
    manifest = tables.manifest("scan")
    spec = ScanSpec.model_validate(manifest.spec)
    return PublishedScan(tables, manifest, spec, ScanSource.of(tables))


def require_class(network: Network, target: int | None) -> None:
    """Refuse a class that the network does not score; None passes.

    Raises:
        SpecError: there is no such class.
    """
    classes = network.layers[-1].units
    if target is not None and target >= classes:
        raise SpecError(f"target: {target} is no class of the network; choices: 0 to {classes - 1}")


def _of_classes(images: pd.DataFrame, classes: Iterable[str]) -> pd.DataFrame:
    names = images["class_name"].astype("string")
    labels = images["label"].astype("Int64").astype("string")
    for name in classes:
        if not ((names == name) | (labels == name)).any():
            known = sorted(names.dropna().unique()) or sorted(labels.dropna().unique())
            raise DatasetError(
                f"images.classes: no image of class {name!r}; {nearest(name, known)}"
            )
    wanted = list(classes)
    return images[names.isin(wanted) | labels.isin(wanted)]
