"""The evolution of units at one shard of checkpoints, from the tables of the checkpoints' runs.

A checkpoint is compared with the one before it and with the last; no network is loaded and no image
read. One layer of three checkpoints is all that is in memory at once, beside the rows made.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pyarrow as pa

from pipeline.analysis.evolution import NONE, agreement, jumped
from pipeline.stages.contract import StageOutput
from pipeline.stages.project import part_name
from pipeline.store import open_run, within_units
from pipeline.store.layout import checkpoint_run
from pipeline.store.run import Run
from schemas.arrays import Ints
from schemas.errors import NotPublishedError
from schemas.jobs.evolve import CHANGES, MOST_TOP, STRONGEST
from schemas.manifest import Shard
from schemas.specs import Resources
from schemas.tables import Table

_FROM_TOP = ("image_id", "uri", "value", "box_y0", "box_x0", "box_y1", "box_x1")
_PICTURES = ("patch", "projection", "scale")


@dataclass
class EvolveStage:
    """Compares checkpoints; see `pipeline.stages.contract.Stage`.

    Attributes:
        name: the job's name.
        items: see `Stage.items`.
        can_exclude: see `Stage.can_exclude`.
        run: the folder of the run, which holds those of the checkpoints.
        resources: where it runs.
        checkpoints: names, in the order of training; a row of the work list is its place here.
        layers: names and numbers of units, in the order of the network.
        units: those that were projected, a `schemas.values.UnitRange`.
    """

    name: ClassVar[str] = "evolve"
    items: ClassVar[str] = "checkpoints"
    can_exclude: ClassVar[bool] = False
    run: str
    resources: Resources
    checkpoints: tuple[str, ...]
    layers: dict[str, int]
    units: str

    @property
    def parts(self) -> dict[str, Table]:
        """The strongest images by layer, so that a merge reads a layer at a time, and changes."""
        strongest = {part_name(place): STRONGEST for place in range(len(self.layers))}
        return strongest | {CHANGES.name: CHANGES}

    def setup(self, device: str) -> None:
        """Nothing: the tables are read as they are needed."""

    def process(self, shard: Shard, upcoming: Shard | None = None) -> StageOutput:  # noqa: ARG002
        """Compare the checkpoints of a shard; gives the tables of `parts`."""
        found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for place, (layer, units) in enumerate(self.layers.items()):
            for checkpoint in range(shard.start, shard.stop):
                strongest, change = self._compare(checkpoint, layer, units)
                found[part_name(place)] += strongest
                found[CHANGES.name].append(change)
            found[part_name(place)].sort(key=lambda row: (row["unit"], row["checkpoint"]))
        tables = {
            name: pa.Table.from_pylist(found[name], schema=contract.schema)
            for name, contract in self.parts.items()
        }
        return StageOutput(tables, {"checkpoints": shard.stop - shard.start})

    def _compare(
        self, checkpoint: int, layer: str, units: int
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """The rows of `STRONGEST` and the row of `CHANGES` of a layer at a checkpoint."""
        rows = self._top(checkpoint, layer)
        own = top_images(rows, units)
        first = rows[rows["rank"] == 1].set_index("unit")
        about = {"layer": layer, "checkpoint": checkpoint, "name": self.checkpoints[checkpoint]}
        change = about | {
            "units": units,
            "dead": units - len(first),
            "median_value": float(first["value"].median()) if len(first) else None,
            **dict.fromkeys(("compared", "jumps", "stayed", "overlap")),
        }
        last = agreement(own, self._images(len(self.checkpoints) - 1, layer, units))
        change |= {"stayed_last": last.stayed, "overlap_last": last.overlap}
        jumps: list[bool | None] = [None] * units
        if checkpoint:
            before = self._images(checkpoint - 1, layer, units)
            since = agreement(before, own)
            change |= {name: getattr(since, name) for name in vars(since)}
            pairs = zip(*jumped(before, own), strict=True)
            jumps = [bool(jump) if known else None for jump, known in pairs]
        pictures = self._pictures(checkpoint, layer)
        strongest = first.to_dict("index")
        nothing = dict.fromkeys((*_FROM_TOP, *_PICTURES))
        return [
            about
            | {"unit": unit, "jumped": jumps[unit]}
            | nothing
            | {name: value for name, value in strongest.get(unit, {}).items() if name in _FROM_TOP}
            | pictures.get(unit, {})
            for unit in range(units)
        ], change

    def _images(self, checkpoint: int, layer: str, units: int) -> Ints:
        return top_images(self._top(checkpoint, layer), units)

    def _top(self, checkpoint: int, layer: str) -> pd.DataFrame:
        return self._source(checkpoint).table(
            "top_patches", job="scan", layer=layer, filters=within_units(None, MOST_TOP)
        )

    def _pictures(self, checkpoint: int, layer: str) -> dict[int, dict[str, Any]]:
        """Patch and projection by unit; none where no unit of the range has a top patch."""
        try:
            rows = self._source(checkpoint).table(
                "projections",
                job="project",
                layer=layer,
                columns=["unit", *_PICTURES],
                filters=within_units(self.units, 1),
            )
        except NotPublishedError:
            return {}
        return {
            row["unit"]: {name: row[name] for name in _PICTURES} for row in rows.to_dict("records")
        }

    def _source(self, checkpoint: int) -> Run:
        return open_run(checkpoint_run(self.run, self.checkpoints[checkpoint]))


def top_images(rows: pd.DataFrame, units: int) -> Ints:
    """The top images of a layer's units as `pipeline.analysis.evolution` takes them.

    Args:
        rows: of ``scan/top_patches``, one layer, ranks from 1 to at most `MOST_TOP`.
        units: of the layer.

    Returns:
        int64 [units, `MOST_TOP`], image ids by rank, `NONE` where there are fewer.
    """
    images = np.full((units, MOST_TOP), NONE, np.int64)
    images[rows["unit"].to_numpy(), rows["rank"].to_numpy() - 1] = rows["image_id"].to_numpy()
    return images
