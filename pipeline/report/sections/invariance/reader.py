"""Reads the invariance of a published run: curves over images, single images, areas, strips."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from PIL import Image

from pipeline.report.class_names import class_names
from pipeline.report.manifests import published, require_same_scan
from pipeline.report.section import Row
from pipeline.store.run import Run
from schemas.moves import Transform

Values = tuple[float, ...]
"""One per amount; NaN where there is none."""


@dataclass(frozen=True)
class Curve:
    """One quantity over the amounts of a transform.

    Attributes:
        transform: what is done.
        layer: whose relative distance it is; None: the target's probability.
        amounts: ascending.
        mean: over the images.
        low: the first quartile.
        high: the third one.
        lines: of single images, by image_id.
    """

    transform: Transform
    layer: str | None
    amounts: Values
    mean: Values
    low: Values
    high: Values
    lines: dict[int, Values]


@dataclass(frozen=True)
class Area:
    """A row of invariance/areas."""

    transform: Transform
    layer: str
    images: int
    steps: int
    area_mean: float
    area_low: float
    area_high: float
    p_plain: float
    p_moved: float
    changed: float


@dataclass(frozen=True)
class Strip:
    """Some of the moved pictures of an image.

    Attributes:
        transform: what is done.
        amounts: of the pictures, left to right, as text.
        picture: they, side by side.
    """

    transform: Transform
    amounts: tuple[str, ...]
    picture: Image.Image


@dataclass(frozen=True)
class MovedImage:
    """An image that was moved.

    Attributes:
        image_id: its row of the image list.
        title: its class, or its file's name.
        file: its file's name.
        target: name of the class whose probability is recorded.
        p_plain: that, of the plain picture.
        strips: one per transform.
    """

    image_id: int
    title: str
    file: str
    target: str
    p_plain: float
    strips: tuple[Strip, ...]


class InvarianceReader:
    """Reads a run that holds an invariance.

    Raises:
        NotPublishedError: scan or invariance is not published.
        StoreError: the invariance is of another scan, or a table cannot be read.
    """

    def __init__(self, run: Run) -> None:
        require_same_scan(run, "invariance", "moved pictures were")
        self._run = run
        self._class_name = class_names(run)
        images = run.table("images", job="scan", columns=["image_id", "class_name"])
        self._titles = images.set_index("image_id")["class_name"].dropna().to_dict()

    def image_ids(self) -> list[int]:
        """The images' ids, ascending."""
        return image_ids(self._run)

    def areas(self) -> tuple[Area, ...]:
        """By transform, then in the order of the network."""
        rows = self._run.table("areas", job="invariance").to_dict("records")
        return tuple(Area(**{str(name): value for name, value in row.items()}) for row in rows)

    def curves(self, lines_of: Sequence[int]) -> dict[str, tuple[Curve, ...]]:
        """By transform: of every layer, in the order of the network, and of the probability.

        Args:
            lines_of: the images whose own lines are wanted.
        """
        rows = self._run.table("curves", job="invariance")
        own = self._responses(lines_of)
        found: dict[str, tuple[Curve, ...]] = {}
        for transform, of_transform in rows.groupby("transform", sort=False):
            layers = of_transform["layer"].drop_duplicates().tolist()
            mine = own[own["transform"] == transform]
            several = [_curve(of_transform, mine, layer, layer, "relative") for layer in layers]
            several.append(_curve(of_transform, mine, layers[0], None, "p_target"))
            found[str(transform)] = tuple(several)
        return found

    def read(self, ids: Sequence[int]) -> list[MovedImage]:
        """Some of the images, in the order asked; all are in memory at once."""
        wanted = [("image_id", "in", list(ids))]
        pictures = self._run.table("pictures", job="invariance", filters=wanted)
        first = self._responses(ids).drop_duplicates("image_id")
        responses = dict(zip(first["image_id"], first.to_dict("records"), strict=True))
        groups = {key: group.to_dict("records") for key, group in pictures.groupby("image_id")}
        return [self._image(each, groups[each], responses[each]) for each in ids]

    def _image(self, image_id: int, rows: Sequence[Any], response: Row) -> MovedImage:
        file = str(rows[0]["uri"]).rpartition("/")[2]
        return MovedImage(
            image_id=image_id,
            title=self._titles.get(image_id, file),
            file=file,
            target=self._class_name(int(response["target"])),
            p_plain=float(response["p_plain"]),
            strips=tuple(
                Strip(
                    row["transform"],
                    tuple(row["amounts"].split(", ")),
                    Image.open(io.BytesIO(row["strip"]["bytes"])).convert("RGB"),
                )
                for row in reversed(rows)  # the tables' order backwards is that of ZF fig. 5
            ),
        )

    def _responses(self, ids: Sequence[int]) -> pd.DataFrame:
        wanted = [("image_id", "in", list(ids))]
        return self._run.table("responses", job="invariance", filters=wanted)


def image_ids(run: Run) -> list[int]:
    """The images that were moved, ascending; none where the run has no such job."""
    if published(run, "invariance") is None:
        return []
    ids = run.table("pictures", job="invariance", columns=["image_id"])["image_id"]
    return sorted(ids.unique().tolist())


def _curve(
    rows: pd.DataFrame, own: pd.DataFrame, of_layer: str, layer: str | None, name: str
) -> Curve:
    """A curve from the rows of one transform; ``own`` are those of single images."""
    mine = rows[rows["layer"] == of_layer]
    column = "p_target" if layer is None else "relative_distance"
    own = own[own["layer"] == of_layer]
    return Curve(
        transform=mine["transform"].iloc[0],
        layer=layer,
        amounts=tuple(mine["amount"].tolist()),
        mean=_numbers(mine[f"{name}_mean"]),
        low=_numbers(mine[f"{name}_low"]),
        high=_numbers(mine[f"{name}_high"]),
        lines={
            int(str(image_id)): _numbers(group[column])
            for image_id, group in own.groupby("image_id")
        },
    )


def _numbers(column: pd.Series) -> Values:
    return tuple(column.astype("float64").tolist())
