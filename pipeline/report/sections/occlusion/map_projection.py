"""What in an occluded image drives the strongest map (ZF fig. 7 c), as a run holds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.report.patch_reader import box_of, png_pixels
from pipeline.report.patches import Box, Crop, Patch, stored_crop
from pipeline.report.section import Row
from pipeline.store.run import Run

_OLD = "the occlusion is of a release that made none"


@dataclass(frozen=True)
class MapProjection:
    """The deconvnet projection of the strongest map's largest activation on the clean image.

    Attributes:
        picture: 128 is zero; None where there is none.
        box: the activation's receptive field.
        value: the activation; NaN where it is not known.
        missing: why there is no picture, a clause; empty where there is one.
    """

    picture: Crop | None
    box: Box
    value: float
    missing: str = ""


def read_projections(run: Run, image_ids: Sequence[int], frame_px: int) -> dict[int, MapProjection]:
    """The projections of occluded images, by image.

    Args:
        run: occlude is published.
        image_ids: which.
        frame_px: side of the input frame.

    Returns:
        Nothing where a release made the occlusion that had no table of them.

    Raises:
        StoreError: the table cannot be read.
    """
    if "map_projections" not in run.manifest("occlude").tables:
        return {}
    rows = run.table(
        "map_projections", job="occlude", filters=[("image_id", "in", list(image_ids))]
    )
    return {int(row["image_id"]): _projection(row, frame_px) for row in rows.to_dict("records")}


def of_top_patch(own: Patch | None) -> MapProjection:
    """The same activation's projection among the map's top patches, of ``unitscope project``.

    Args:
        own: the map's top patch from this image; None where it is not among them.
    """
    if own is None:
        nothing = (0, 0, 0, 0)
        missing = f"{_OLD}, and the image is not among the unit's top patches"
        return MapProjection(None, nothing, float("nan"), missing)
    missing = "" if own.projection else f"{_OLD}, and its top patch has not been projected"
    return MapProjection(own.projection, own.box, own.value, missing)


def _projection(row: Row, frame_px: int) -> MapProjection:
    box, value = box_of(row), float(row["value"])
    if not isinstance(row["projection"], dict):
        return MapProjection(None, box, value, str(row["missing"]))
    return MapProjection(stored_crop(png_pixels(row["projection"]), box, frame_px), box, value)
