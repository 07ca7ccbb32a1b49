"""Reads the class models of a published run."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_

import pandas as pd
import pyarrow.compute as pc
from PIL import Image

from pipeline.report.class_names import ClassName, class_names
from pipeline.report.formats import percent, three_digits
from pipeline.report.manifests import published, require_same_scan
from pipeline.report.section import Row
from pipeline.store.run import Run

JOB = "class-models"
_KEY, _CURVE = ["layer", "unit"], ["step", "score", "penalty"]
_PIXELATED_FROM = 8


@dataclass(frozen=True)
class Shown:
    """A class or unit that has images.

    Attributes:
        layer: its layer.
        unit: its channel.
        is_class: whether it is a class.
    """

    layer: str
    unit: int
    is_class: bool


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


def model_file(place: int, start: int) -> str:
    """An image's file, relative to the gallery; ``place`` is its target's in `shown_targets`."""
    return f"class-models/{place:05d}-{start}.webp"


def shown_targets(run: Run) -> list[Shown]:
    """The classes and units that have images, classes first, then in the order of the table.

    Raises:
        StoreError: the images are of another scan, or a table cannot be read.
    """
    if published(run, JOB) is None:
        return []
    require_same_scan(run, JOB, "class models were")
    rows = run.table("models", job=JOB, columns=["layer", "unit", "predicted"])
    rows = rows.drop_duplicates(["layer", "unit"])
    found = [
        Shown(layer, int(unit), is_class=pd.notna(predicted))
        for layer, unit, predicted in rows.itertuples(index=False, name=None)
    ]
    return sorted(found, key=lambda each: not each.is_class)


def read_models(run: Run, targets: Sequence[Shown]) -> list[UnitModels]:
    """The images of some targets, in the order asked; all are in memory at once.

    Raises:
        StoreError: a table cannot be read.
    """
    condition = reduce(
        or_, ((pc.field("layer") == t.layer) & (pc.field("unit") == t.unit) for t in targets)
    )
    name_of_class = class_names(run)
    models, ascents = (
        dict(list(run.table(name, job=JOB, filters=condition).groupby(_KEY)))
        for name in ("models", "ascent")
    )
    found = []
    for each in targets:
        rows = models[each.layer, each.unit].to_dict("records")
        curves = dict(list(ascents[each.layer, each.unit].groupby("start")))
        starts = tuple(
            StartModel(
                start=int(row["start"]),
                picture=Image.open(io.BytesIO(row["picture"]["bytes"])).convert("RGB"),
                facts=_facts(row, name_of_class),
                curve=tuple(curves[row["start"]][_CURVE].itertuples(index=False, name=None)),
            )
            for row in rows
        )
        title = name_of_class(each.unit) if each.is_class else f"{each.layer}:{each.unit}"
        found.append(UnitModels(each.layer, each.unit, title, each.is_class, starts))
    return found


def _facts(row: Row, name_of_class: ClassName) -> tuple[tuple[str, str], ...]:
    is_class = pd.notna(row["predicted"])
    change = f"{three_digits(row['score_start'])} to {three_digits(row['score_end'])}"
    facts = (
        ("score" if is_class else "value", change),
        ("penalty", three_digits(row["penalty_end"])),
    )
    if not is_class:
        return facts
    predicted = name_of_class(int(row["predicted"]))
    return (*facts, ("p of the class", percent(row["p_target"])), ("most probable", predicted))


def pixelated(picture: Image.Image, side: int) -> bool:
    """Whether `enlarged` shows each pixel of a picture as a square: it has few of them."""
    return side / max(picture.size) >= _PIXELATED_FROM


def enlarged(picture: Image.Image, side: int) -> Image.Image:
    """A picture whose longer side has so many pixels."""
    ratio = side / max(picture.size)
    width, height = (max(1, round(edge * ratio)) for edge in picture.size)
    few = pixelated(picture, side)
    kind = Image.Resampling.NEAREST if few else Image.Resampling.LANCZOS
    return picture.resize((width, height), kind)
