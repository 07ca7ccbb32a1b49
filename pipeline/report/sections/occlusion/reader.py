"""Reads occluded images of a published run: their maps, and the strongest map's top patches."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.report.class_names import class_names
from pipeline.report.manifests import published, require_same_scan
from pipeline.report.patch_reader import PATCHES, PatchReader
from pipeline.report.patches import Frame, Patch
from pipeline.report.sections.occlusion.map_projection import (
    MapProjection,
    of_top_patch,
    read_projections,
)
from pipeline.store.run import Run

_Row = Mapping[Hashable, Any]
_KEPT_UNITS = 64


@dataclass(frozen=True)
class WindowMap:
    """One image under one window.

    Attributes:
        window: its index among those of the job's spec.
        size: (height, width) in pixels.
        stride_px: step down and across.
        fill: what replaced the pixels in it.
        y_px: int64 [rows], upper edges.
        x_px: int64 [cols], left edges.
        p: float32 [rows, cols], probability of the target.
        predicted: int32 [rows, cols], most probable class.
        activity: float32 [rows, cols], sum of the strongest map over its positions.
        largest_drop: p of the clean image minus the lowest p.
        drop_at: (y, x), upper left corner of the window with the lowest p.
        half_area: share of the pixels, 0 to 1, whose mean p over the windows on them is at most
            half of the clean p.
        changed: share of the window positions, 0 to 1, with another predicted class.
        drop_inside: share of the drop, 0 to 1, inside the object's boxes; None without boxes.
        pointed: whether the window with the lowest p is centred in a box (the pointing game,
            Zhang 2016); None without boxes.
    """

    window: int
    size: tuple[int, int]
    stride_px: int
    fill: str
    y_px: NDArray[np.int64]
    x_px: NDArray[np.int64]
    p: NDArray[np.float32]
    predicted: NDArray[np.int32]
    activity: NDArray[np.float32]
    largest_drop: float
    drop_at: tuple[int, int]
    half_area: float
    changed: float
    drop_inside: float | None
    pointed: bool | None


@dataclass(frozen=True)
class Evidence:
    """The top patches of the strongest map: what it responds to over the data set.

    Attributes:
        patches: the unit's top patches.
        own: index of the one from this image; None where there is none.
        scanned: whether the scan took the layer; if not, there are no patches.
    """

    patches: tuple[Patch, ...]
    own: int | None
    scanned: bool

    @property
    def own_patch(self) -> Patch | None:
        """This image's patch; None where it is not among them."""
        return None if self.own is None else self.patches[self.own]

    @property
    def others(self) -> tuple[Patch, ...]:
        """The patches from other images."""
        return tuple(patch for index, patch in enumerate(self.patches) if index != self.own)


@dataclass(frozen=True)
class Occluded:
    """An occluded image.

    Attributes:
        image_id: its row of the image list.
        image: its file name.
        class_name: what the data set calls it; None where it says nothing.
        target: the class whose probability was recorded.
        p_target: that probability, without a window.
        predicted: the most probable class, without a window.
        p_predicted: its probability.
        layer: the layer whose strongest map was recorded.
        unit: that map's channel.
        activity: its sum over positions, without a window.
        windows: at least one.
        frame: the network's input frame; or why it cannot be shown.
        frame_px: its side.
        projection: what in the image drives the map.
        evidence: the map's top patches.
    """

    image_id: int
    image: str
    class_name: str | None
    target: int
    p_target: float
    predicted: int
    p_predicted: float
    layer: str
    unit: int
    activity: float
    windows: tuple[WindowMap, ...]
    frame: Frame
    frame_px: int
    projection: MapProjection
    evidence: Evidence


def count_occluded(run: Run) -> int:
    """How many images the run's occlusion holds; 0 where none is published."""
    if published(run, "occlude") is None:
        return 0
    return int(run.table("pictures", job="occlude", columns=["image_id"])["image_id"].nunique())


class OcclusionReader:
    """Reads occluded images.

    Args:
        run: scan and occlude must be published.
        patches: of the same run.

    Attributes:
        class_name: names a class by its index.

    Raises:
        NotPublishedError: scan or occlude is not.
        StoreError: the occlusion is of another scan, or a table cannot be read.
    """

    def __init__(self, run: Run, patches: PatchReader) -> None:
        self._run = run
        self._patches = patches
        require_same_scan(run, "occlude", "occlusion was")
        self._pictures = run.table("pictures", job="occlude")
        self._layers = set(run.table("layers", job="scan", columns=["layer"])["layer"])
        self.class_name = class_names(run)
        self._known: dict[tuple[str, int], tuple[tuple[Patch, ...], list[int]]] = {}

    def ranked(self) -> list[int]:
        """The images' ids, the largest drop first; each counts by its best window."""
        drops = self._pictures.groupby("image_id")["largest_drop"].max()
        return sorted(drops.index.tolist(), key=lambda each: (-drops[each], each))

    def read(self, image_ids: Sequence[int]) -> list[Occluded]:
        """Some of the occluded images, in the order asked; all are in memory at once.

        Raises:
            StoreError: a table cannot be read.
        """
        wanted = self._pictures[self._pictures["image_id"].isin(image_ids)]
        maps = self._run.table("maps", job="occlude", filters=[("image_id", "in", list(image_ids))])
        grids = dict(iter(maps.groupby(["image_id", "window"])))
        frames = self._patches.frames(set(wanted["uri"]))
        projections = read_projections(self._run, image_ids, self._patches.frame_px)
        rows: dict[int, list[_Row]] = {}
        for row in wanted.sort_values(["image_id", "window"]).to_dict("records"):
            rows.setdefault(row["image_id"], []).append(row)
        return [
            self._occluded(rows[each], grids, frames, projections.get(each)) for each in image_ids
        ]

    def _occluded(
        self,
        rows: Sequence[_Row],
        grids: Mapping[Any, pd.DataFrame],
        frames: dict[str, Frame],
        projection: MapProjection | None,
    ) -> Occluded:
        first = rows[0]
        evidence = self._evidence(first["layer"], int(first["unit"]), int(first["image_id"]))
        return Occluded(
            image_id=int(first["image_id"]),
            image=str(first["uri"]).rpartition("/")[2],
            class_name=self._named(first),
            target=int(first["target"]),
            p_target=float(first["p_target"]),
            predicted=int(first["predicted"]),
            p_predicted=float(first["p_predicted"]),
            layer=first["layer"],
            unit=int(first["unit"]),
            activity=float(first["activity"]),
            windows=tuple(_window(row, grids[row["image_id"], row["window"]]) for row in rows),
            frame=frames[first["uri"]],
            frame_px=self._patches.frame_px,
            projection=projection or of_top_patch(evidence.own_patch),
            evidence=evidence,
        )

    def _named(self, row: _Row) -> str | None:
        """What the data set calls the image: its class's name, or else its number."""
        if isinstance(row["class_name"], str):
            return str(row["class_name"])
        return None if pd.isna(row["label"]) else self.class_name(int(row["label"]))

    def _evidence(self, layer: str, unit: int, image_id: int) -> Evidence:
        if layer not in self._layers:
            return Evidence((), None, scanned=False)
        if (layer, unit) not in self._known:
            self._known[layer, unit] = self._top(layer, unit)
            if len(self._known) > _KEPT_UNITS:
                del self._known[next(iter(self._known))]
        patches, images = self._known[layer, unit]
        own = images.index(image_id) if image_id in images else None
        return Evidence(patches, own, scanned=True)

    def _top(self, layer: str, unit: int) -> tuple[tuple[Patch, ...], list[int]]:
        """A unit's patches, and the images that they are of."""
        columns = ["rank", "image_id"]
        top = self._run.table("top_patches", job="scan", layer=layer, unit=unit, columns=columns)
        shown = top[top["rank"] <= PATCHES].sort_values("rank")
        patches = self._patches.read(layer, range(unit, unit + 1))[unit]
        return patches, shown["image_id"].tolist()


def _window(row: _Row, grid: pd.DataFrame) -> WindowMap:
    shape = (int(row["rows"]), int(row["cols"]))
    y, x, p, predicted, activity = (
        grid[name].to_numpy().reshape(shape)
        for name in ("y_px", "x_px", "p_target", "predicted", "activity")
    )
    return WindowMap(
        window=int(row["window"]),
        size=(int(row["window_px"]), int(row["window_width_px"])),
        stride_px=int(row["stride_px"]),
        fill=row["fill"],
        y_px=y[:, 0].astype(np.int64),
        x_px=x[0].astype(np.int64),
        p=p,
        predicted=predicted,
        activity=activity,
        largest_drop=float(row["largest_drop"]),
        drop_at=(int(row["drop_y_px"]), int(row["drop_x_px"])),
        half_area=float(row["half_area"]),
        changed=float(row["changed"]),
        drop_inside=None if pd.isna(row["drop_inside"]) else float(row["drop_inside"]),
        pointed=None if pd.isna(row["pointed"]) else bool(row["pointed"]),
    )
