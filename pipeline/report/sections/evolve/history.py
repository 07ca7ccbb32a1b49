"""Reads what an evolution published: how each layer changed, and units with their pictures."""

from __future__ import annotations

import io
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from pipeline.report.class_names import class_names
from pipeline.report.formats import three_digits
from pipeline.report.manifests import require_same_scan
from pipeline.report.patches import Box, Crop, stored_crop
from pipeline.store import within_units
from pipeline.store.run import Run
from schemas.errors import LayerError, nearest
from schemas.specs import PreprocessSpec

_Row = dict[Hashable, Any]


@dataclass(frozen=True)
class Moment:
    """A unit at a checkpoint: its strongest image.

    Attributes:
        checkpoint: place in the order of training, from 0.
        value: the activation; empty where the unit is dead, as are the others then.
        image: the image's file name.
        class_name: what the data set says of it; empty where it says nothing.
        jumped: the image is another one than at the checkpoint before.
        box: the receptive field.
        patch: what the unit sees; None where it is dead.
        projection: its deconvnet projection, 128 is zero; None where it is dead.
    """

    checkpoint: int
    value: str = ""
    image: str = ""
    class_name: str = ""
    jumped: bool = False
    box: Box = (0, 0, 0, 0)
    patch: Crop | None = None
    projection: Crop | None = None


@dataclass(frozen=True)
class UnitHistory:
    """A unit at every checkpoint."""

    unit: int
    moments: tuple[Moment, ...]


@dataclass(frozen=True)
class Step:
    """A layer at a checkpoint: a row of `schemas.jobs.evolve.CHANGES`, None where that has null."""

    dead: int
    compared: int | None
    jumps: int | None
    stayed: float | None
    overlap: float | None
    overlap_last: float | None


@dataclass(frozen=True)
class LayerHistory:
    """How a layer changed.

    Attributes:
        layer: its name.
        units: how many it has.
        steps: one per checkpoint.
        settled: the checkpoint at which it settled; None where it did not before the last.
    """

    layer: str
    units: int
    steps: tuple[Step, ...]
    settled: int | None


class EvolutionReader:
    """Reads an evolution.

    Args:
        run: its folder.

    Raises:
        NotPublishedError: there is no scan or no evolution yet.
        StoreError: the evolution is of another scan.
    """

    def __init__(self, run: Run) -> None:
        require_same_scan(run, "evolve", "checkpoints were")
        self._run = run
        identity = run.manifest("evolve").identity
        self._class_name = class_names(run)
        self._units = str(identity["units"])
        self._frame_px = PreprocessSpec.model_validate(
            run.manifest("scan").identity["preprocess"]
        ).crop_px
        self.layers: tuple[str, ...] = tuple(identity["layers"])
        self.threshold = float(identity["settled"])
        self.checkpoints: tuple[str, ...] = tuple(each["name"] for each in identity["checkpoints"])
        self.weights: tuple[str, ...] = tuple(
            each["weights_sha256"] for each in identity["checkpoints"]
        )

    def histories(self) -> list[LayerHistory]:
        """How every layer changed, in the order of the network."""
        changes = self._run.table("changes", job="evolve")
        settled = self._run.table("settled", job="evolve").set_index("layer")["checkpoint"]
        return [
            LayerHistory(
                layer=str(layer),
                units=int(own["units"].iloc[0]),
                steps=tuple(_step(row) for row in own.to_dict("records")),
                settled=_count(settled[layer]),
            )
            for layer, own in changes.groupby("layer", sort=False)
        ]

    def units(self, layer: str) -> list[UnitHistory]:
        """The units of a layer that were projected; one layer's pictures are in memory at once.

        Raises:
            LayerError: the evolution has no such layer.
        """
        if layer not in self.layers:
            raise LayerError(
                f"{self._run.url}: layer {layer!r} was not followed; {nearest(layer, self.layers)}"
            )
        rows = self._run.table(
            "strongest", job="evolve", layer=layer, filters=within_units(self._units)
        )
        classes = self._classes(sorted(set(rows["image_id"].dropna().astype(int))))
        return [
            UnitHistory(
                int(str(unit)),
                tuple(self._moment(row, classes) for row in own.to_dict("records")),
            )
            for unit, own in rows.groupby("unit")
        ]

    def _classes(self, image_ids: list[int]) -> dict[int, str]:
        """The class of each image that has a label."""
        wanted: list[tuple[str, str, object]] = [("image_id", "in", image_ids)]
        images = self._run.table(
            "images", job="scan", columns=["image_id", "label"], filters=wanted
        ).dropna()
        labels = images["label"].astype(int)
        return {
            int(image_id): self._class_name(label)
            for image_id, label in zip(images["image_id"], labels, strict=True)
        }

    def _moment(self, row: _Row, classes: dict[int, str]) -> Moment:
        if pd.isna(row["image_id"]):
            return Moment(int(row["checkpoint"]))
        y0, x0, y1, x1 = (int(row[f"box_{edge}"]) for edge in ("y0", "x0", "y1", "x1"))
        box = (y0, x0, y1, x1)
        return Moment(
            checkpoint=int(row["checkpoint"]),
            value=three_digits(float(row["value"])),
            image=str(row["uri"]).rpartition("/")[2],
            class_name=classes.get(int(row["image_id"]), ""),
            jumped=row["jumped"] is True,
            box=box,
            patch=self._crop(row["patch"], box),
            projection=self._crop(row["projection"], box),
        )

    def _crop(self, picture: dict[str, Any], box: Box) -> Crop:
        pixels = np.asarray(Image.open(io.BytesIO(picture["bytes"])).convert("RGB"))
        return stored_crop(pixels, box, self._frame_px)


def _step(row: _Row) -> Step:
    return Step(
        dead=int(row["dead"]),
        compared=_count(row["compared"]),
        jumps=_count(row["jumps"]),
        stayed=_share(row["stayed"]),
        overlap=_share(row["overlap"]),
        overlap_last=_share(row["overlap_last"]),
    )


def _count(value: Any) -> int | None:
    return None if pd.isna(value) else int(value)


def _share(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)
