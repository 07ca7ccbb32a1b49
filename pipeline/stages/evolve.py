"""The evolution of units at one shard of checkpoints, from the tables of the checkpoints' runs.

A checkpoint is compared with the one before it and with the last; no network is loaded and no image
read. Of the index one layer of three checkpoints is in memory at once, beside the rows made.
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

    def setup(self, device: str) -> None:  # noqa: ARG002 (no network runs)
        """Open the checkpoints' runs."""
        self._runs = [open_run(checkpoint_run(self.run, name)) for name in self.checkpoints]

    def process(self, shard: Shard, upcoming: Shard | None = None) -> StageOutput:  # noqa: ARG002
        """Compare the checkpoints of a shard; gives the tables of `parts`."""
        found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for place, (layer, units) in enumerate(self.layers.items()):
            rows = found[part_name(place)]
            first = max(shard.start - 1, 0)
            last = top_images(self._top(len(self.checkpoints) - 1, layer), units)
            before = top_images(self._top(first, layer), units)
            for checkpoint in range(shard.start, shard.stop):
                top = self._top(checkpoint, layer)
                own = top_images(top, units)
                about = {
                    "layer": layer,
                    "checkpoint": checkpoint,
                    "name": self.checkpoints[checkpoint],
                }
                pair = (before, own) if checkpoint else None
                found[CHANGES.name].append(about | _change(top, pair, (own, last)))
                pictures = self._pictures(checkpoint, layer)
                rows += [about | row for row in _strongest(top, pair, units, pictures)]
                before = own
            rows.sort(key=lambda row: (row["unit"], row["checkpoint"]))
        tables = {
            name: pa.Table.from_pylist(found[name], schema=contract.schema)
            for name, contract in self.parts.items()
        }
        return StageOutput(tables, {self.items: shard.stop - shard.start})

    def _top(self, checkpoint: int, layer: str) -> pd.DataFrame:
        return self._runs[checkpoint].table(
            "top_patches",
            job="scan",
            layer=layer,
            columns=["unit", "rank", *_FROM_TOP],
            filters=within_units(None, MOST_TOP),
        )

    def _pictures(self, checkpoint: int, layer: str) -> dict[int, dict[str, Any]]:
        """Patch and projection by unit; none where no unit of the range has a top patch."""
        try:
            rows = self._runs[checkpoint].table(
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


def _change(
    top: pd.DataFrame, since: tuple[Ints, Ints] | None, to_last: tuple[Ints, Ints]
) -> dict[str, Any]:
    """A row of `CHANGES`, but for which it is.

    Args:
        top: the layer's rows of ``scan/top_patches`` at the checkpoint.
        since: the top images at the checkpoint before and at this one; None at the first.
        to_last: the top images at this checkpoint and at the last.
    """
    strongest = top["value"][top["rank"] == 1]
    units = len(to_last[0])
    last = agreement(*to_last)
    changed = vars(agreement(*since)) if since else {}
    return {
        "units": units,
        "dead": units - len(strongest),
        "median_value": float(strongest.median()) if len(strongest) else None,
        **changed,
        "stayed_last": last.stayed,
        "overlap_last": last.overlap,
    }


def _strongest(
    top: pd.DataFrame,
    since: tuple[Ints, Ints] | None,
    units: int,
    pictures: dict[int, dict[str, Any]],
) -> list[dict[str, Any]]:
    """A row of `STRONGEST` per unit, but for layer and checkpoint; the arguments as `_change`'s."""
    rows = top[top["rank"] == 1].to_dict("records")
    first = {row["unit"]: {name: row[name] for name in _FROM_TOP} for row in rows}
    jumps: list[bool | None] = [None] * units
    if since:
        pairs = zip(*jumped(*since), strict=True)
        jumps = [bool(jump) if known else None for jump, known in pairs]
    return [
        {"unit": unit, "jumped": jumps[unit], **first.get(unit, {}), **pictures.get(unit, {})}
        for unit in range(units)
    ]


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
