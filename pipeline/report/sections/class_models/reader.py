"""Reads the class models of a published run."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd
import pyarrow.compute as pc
from PIL import Image

from pipeline.report.class_names import ClassName, class_names
from pipeline.report.formats import percent, three_digits
from pipeline.report.manifests import published, require_same_scan
from pipeline.report.section import Row
from pipeline.store.run import Run

JOB = "class-models"
TargetName = tuple[str, int]
"""Layer and unit."""


@dataclass(frozen=True)
class StartModel:
    """The image that one ascent ended with.

    Attributes:
        start: which noise it began with, from 0.
        picture: RGB; where the receptive field and the input frame overlap.
        facts: (name, value).
        curve: (steps done, value, penalty), ascending in steps.
    """

    start: int
    picture: Image.Image
    facts: tuple[tuple[str, str], ...]
    curve: tuple[tuple[int, float, float], ...]


@dataclass(frozen=True)
class UnitModels:
    """The images of one class or unit.

    Attributes:
        layer: its layer.
        unit: its channel.
        title: the class's name, or layer and unit.
        is_class: whether it is a class.
        starts: at least one.
    """

    layer: str
    unit: int
    title: str
    is_class: bool
    starts: tuple[StartModel, ...]


def unit_models(run: Run, layer: str, unit: int) -> UnitModels | None:
    """The images of a unit, for its card; None where the run has none.

    Args:
        run: scan must be published.
        layer: a layer's name.
        unit: a channel of it.

    Raises:
        StoreError: the images are of another scan, or a table cannot be read.
    """
    if (layer, unit) not in target_names(run):
        return None
    [found] = read_models(run, [(layer, unit)])
    return found


def target_names(run: Run) -> list[TargetName]:
    """The classes and units that have images, classes first, then in the order of the table."""
    if published(run, JOB) is None:
        return []
    require_same_scan(run, JOB, "class models were")
    rows = run.table("models", job=JOB, columns=["layer", "unit", "p_target"])
    rows = rows.drop_duplicates(["layer", "unit"])
    is_class = rows["p_target"].notna()
    rows = pd.concat([rows[is_class], rows[~is_class]])
    return list(zip(rows["layer"].tolist(), rows["unit"].astype(int).tolist(), strict=True))


def read_models(run: Run, names: Iterable[TargetName]) -> list[UnitModels]:
    """The images of some targets, in the order asked; all are in memory at once.

    Raises:
        StoreError: a table cannot be read.
    """
    name_of_class = class_names(run)
    asked = list(names)
    condition = pc.scalar(False)
    for layer, unit in asked:
        condition = condition | ((pc.field("layer") == layer) & (pc.field("unit") == unit))
    models, ascents = (
        run.table(table, job=JOB, filters=condition) for table in ("models", "ascent")
    )
    curves = {
        key: tuple(own[["step", "score", "penalty"]].itertuples(index=False, name=None))
        for key, own in ascents.groupby(["layer", "unit", "start"])
    }
    found = []
    for layer, unit in asked:
        own = models[(models["layer"] == layer) & (models["unit"] == unit)]
        rows = own.to_dict("records")
        is_class = pd.notna(rows[0]["predicted"])
        starts = tuple(
            StartModel(
                start=int(row["start"]),
                picture=Image.open(io.BytesIO(row["picture"]["bytes"])).convert("RGB"),
                facts=_facts(row, name_of_class) if is_class else _value_facts(row),
                curve=curves[layer, unit, row["start"]],
            )
            for row in rows
        )
        title = name_of_class(unit) if is_class else f"{layer}:{unit}"
        found.append(UnitModels(layer, unit, title, is_class, starts))
    return found


def _facts(row: Row, name_of_class: ClassName) -> tuple[tuple[str, str], ...]:
    shown = ("most probable", f"{name_of_class(int(row['predicted']))}")
    return (*_value_facts(row), ("p of the class", percent(row["p_target"])), shown)


def _value_facts(row: Row) -> tuple[tuple[str, str], ...]:
    name = "score" if pd.notna(row["predicted"]) else f"value of {row['raised']}"
    change = f"{three_digits(row['score_start'])} to {three_digits(row['score_end'])}"
    return ((name, change), ("penalty", three_digits(row["penalty_end"])))
