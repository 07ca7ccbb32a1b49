"""Reads the saliency maps of a published run, and draws them with the contrast that they need."""

from __future__ import annotations

import io
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.report.class_names import class_names
from pipeline.report.formats import three_digits
from pipeline.report.manifests import published, require_same_scan
from pipeline.report.patch_reader import PatchReader
from pipeline.report.patches import Frame, stretched
from pipeline.store.run import Run
from schemas.jobs.saliency import Method

# The strongest few may clip: they are specks, and most of a map is far weaker.
_FULL_RANGE_FROM = 0.99

_SIGNED = "lighter than grey speaks for the class, darker against it"
_COLOUR = "what drives the score, in its colours; grey is nothing"
_TEXTS: dict[Method, tuple[str, str]] = {
    "gradient": ("gradient", "how much each pixel moves the score, up or down"),
    "positive": ("gradient, positive part", "where a larger pixel value raises the score"),
    "smoothgrad": ("SmoothGrad", "magnitude of the mean gradient over noisy copies"),
    "gradient_x_input": ("gradient x input", _SIGNED),
    "integrated": ("integrated gradients", _SIGNED),
    "guided": ("guided backpropagation", _COLOUR),
    "deconvnet": ("deconvnet", _COLOUR),
}


@dataclass(frozen=True)
class SaliencyMap:
    """One map of an image.

    Attributes:
        method: see `schemas.jobs.saliency.Method`.
        title: the method's name in words.
        note: how to read the map.
        picture: RGB, with contrast for the eye.
    """

    method: str
    title: str
    note: str
    picture: Image.Image


@dataclass(frozen=True)
class SalientImage:
    """An image with its maps.

    Attributes:
        image_id: its row of the image list.
        title: its class, or its file's name.
        facts: (name, value).
        frame: the network's input frame; or why it cannot be shown.
        frame_px: its side.
        maps: at least one.
    """

    image_id: int
    title: str
    facts: tuple[tuple[str, str], ...]
    frame: Frame
    frame_px: int
    maps: tuple[SaliencyMap, ...]


class SaliencyReader:
    """Reads images that have saliency maps.

    Args:
        run: scan and saliency must be published.
        patches: of the same run.

    Raises:
        NotPublishedError: scan or saliency is not.
        StoreError: the maps are of another scan, or a table cannot be read.
    """

    def __init__(self, run: Run, patches: PatchReader) -> None:
        self._run, self._patches = run, patches
        require_same_scan(run, "saliency", "saliency maps were")
        images = run.table("images", job="scan", columns=["image_id", "class_name"])
        self._titles = images.set_index("image_id")["class_name"].dropna().to_dict()
        self._class_name = class_names(run)

    def image_ids(self) -> list[int]:
        """The images' ids, ascending."""
        return image_ids(self._run)

    def read(self, ids: Sequence[int]) -> list[SalientImage]:
        """Some of the images, in the order asked; all are in memory at once.

        Raises:
            StoreError: a table cannot be read.
        """
        rows = self._run.table(
            "attributions", job="saliency", filters=[("image_id", "in", list(ids))]
        )
        frames = self._patches.frames(set(rows["uri"]))
        groups = {key: group.to_dict("records") for key, group in rows.groupby("image_id")}
        return [self._image(groups[each], frames) for each in ids]

    def _image(
        self, rows: Sequence[Mapping[Hashable, Any]], frames: Mapping[str, Frame]
    ) -> SalientImage:
        first = rows[0]
        file = str(first["uri"]).rpartition("/")[2]
        target = f"{self._class_name(first['target'])}, p {three_digits(first['p_target'])}"
        return SalientImage(
            image_id=int(first["image_id"]),
            title=self._titles.get(first["image_id"], file),
            facts=(
                ("file", file),
                ("image", str(first["image_id"])),
                ("target", target),
                ("score", three_digits(first["score"])),
                ("most probable", self._class_name(first["predicted"])),
            ),
            frame=frames[first["uri"]],
            frame_px=self._patches.frame_px,
            maps=tuple(_map(row) for row in rows),
        )


def image_ids(run: Run) -> list[int]:
    """The images of which the run holds saliency maps, ascending; none where it has no such job."""
    if published(run, "saliency") is None:
        return []
    ids = run.table("attributions", job="saliency", columns=["image_id"])["image_id"]
    return sorted(ids.unique().tolist())


def contrasted(pixels: NDArray[np.uint8], zero: int) -> NDArray[np.uint8]:
    """A stored map for the eye: its strongest 1 % (1.5 % where it has a sign) reach the full range.

    Args:
        pixels: uint8 [h, w] or [h, w, 3].
        zero: the pixel that stands for 0; above 0 the map has a sign, and 0 is shown as 128.

    Returns:
        uint8 [h, w, 3].
    """
    coloured = pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)
    if zero:
        return stretched(coloured.astype(np.float32) - zero)
    level = max(float(np.quantile(pixels, _FULL_RANGE_FROM, method="higher")), 1.0)
    shown: NDArray[np.uint8] = np.rint(np.clip(coloured * (255 / level), 0, 255)).astype(np.uint8)
    return shown


def _map(row: Mapping[Hashable, Any]) -> SaliencyMap:
    title, note = _TEXTS[row["method"]]
    if row["method"] == "integrated":
        note += f"; the sum is off by {three_digits(row['completeness_error'])}"
    stored = np.asarray(Image.open(io.BytesIO(row["saliency"]["bytes"])))
    picture = Image.fromarray(contrasted(stored, int(row["zero"])))
    return SaliencyMap(row["method"], title, note, picture)
