"""Reads the top patches of a published scan, with their pictures.

A patch shows what the network saw. It is read from the projections' table where that is published,
else cropped out of the image after the run's own preprocessing; a patch of an image that cannot be
read any more says so.
"""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image

from pipeline.data.decode import decode
from pipeline.data.listing import list_images
from pipeline.data.parquet_images import ParquetImages
from pipeline.data.preprocess import to_frame
from pipeline.data.read_image import ImageRow, image_rows, read_bytes
from pipeline.report.manifests import published, require_same_scan
from pipeline.report.patches import Box, Crop, Frame, Patch, crop_box, stored_crop
from pipeline.store.run import Run
from schemas.errors import DatasetError, ImageRejectedError
from schemas.specs import DatasetSpec, PreprocessSpec

PATCHES = 9

_READERS = 8
_CONTAINERS = (".tar", ".parquet")
_GONE = "image gone"
_KEPT_BYTES = 128 << 20
_BOX = ("box_y0", "box_x0", "box_y1", "box_x1")

_Row = dict[Hashable, Any]


class PatchReader:
    """Reads the nine strongest patches of units.

    Frames read last are kept (128 MiB), since the units of small data sets share their images.

    Args:
        run: scan must be published; projections are shown where they are published too.

    Raises:
        NotPublishedError: the run has no scan yet.
        StoreError: the projections are of another scan.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        manifest = run.manifest("scan")
        self._preprocess = PreprocessSpec.model_validate(manifest.identity["preprocess"])
        self._max_pixels = int(manifest.spec["data"]["max_pixels"])
        self._cells = ParquetImages()
        self._frames: OrderedDict[str, Frame] = OrderedDict()
        self._listings: dict[str, pa.Table | None] = {}
        self._images: pd.DataFrame | None = None
        self._has_projections = published(run, "project") is not None
        if self._has_projections:
            require_same_scan(run, "project", "projections were")

    @property
    def frame_px(self) -> int:
        """Side of the network's input frame."""
        return self._preprocess.crop_px

    def projected(self, layer: str) -> bool:
        """Whether any unit of a layer has projections."""
        if not self._has_projections:
            return False
        return len(self._run.table("projections", job="project", layer=layer, columns=["unit"])) > 0

    def read(self, layer: str, units: range) -> dict[int, tuple[Patch, ...]]:
        """Patches by unit, the strongest first; a unit without any has none.

        Args:
            layer: a layer of the scan.
            units: consecutive; all their pictures are in memory at once.

        Raises:
            LayerError: the run has no such layer.
            StoreError: a table cannot be read.
        """
        within: list[tuple[str, str, object]] = [
            ("unit", ">=", units.start),
            ("unit", "<", units.stop),
        ]
        top = self._run.table("top_patches", job="scan", layer=layer, filters=within)
        rows = top[top["rank"] <= PATCHES].sort_values(["unit", "rank"]).to_dict("records")
        projected = self._projections(layer, within)
        classes = self._classes({row["image_id"] for row in rows})
        frames = self.frames(
            {row["uri"] for row in rows if (row["unit"], row["rank"]) not in projected}
        )

        def patch(row: _Row) -> Patch:
            found = projected.get((row["unit"], row["rank"]))
            if found is None:
                return _patch(row, classes, _cropped(frames[row["uri"]], row))
            return _patch(row, classes, _decoded(found, box_of(row), self._preprocess.crop_px))

        patches: dict[int, list[Patch]] = {unit: [] for unit in units}
        with ThreadPoolExecutor(_READERS) as readers:
            for row, done in zip(rows, readers.map(patch, rows), strict=True):
                patches[row["unit"]].append(done)
        return {unit: tuple(several) for unit, several in patches.items()}

    def _projections(self, layer: str, within: list[tuple[str, str, object]]) -> dict[Any, _Row]:
        """Rows of the projections by (unit, rank)."""
        if not self._has_projections:
            return {}
        columns = ["unit", "rank", "patch", "projection"]
        table = self._run.table(
            "projections", job="project", layer=layer, columns=columns, filters=within
        )
        return {(row["unit"], row["rank"]): row for row in table.to_dict("records")}

    def _classes(self, image_ids: set[int]) -> dict[int, str]:
        """What the data set says of the images: the class's name, or else its number."""
        if self._images is None:
            self._images = self._run.table(
                "images", job="scan", columns=["image_id", "label", "class_name"]
            )
        named = {}
        images = self._images[self._images["image_id"].isin(image_ids)]
        for row in images.to_dict("records"):
            if isinstance(row["class_name"], str):
                named[row["image_id"]] = row["class_name"]
            elif not pd.isna(row["label"]):
                named[row["image_id"]] = f"class {int(row['label'])}"
        return named

    def frames(self, uris: set[str]) -> dict[str, Frame]:
        """The input frames of images, by their URI; they are in memory at once."""
        known = {uri: self._frames[uri] for uri in uris if uri in self._frames}
        missing = sorted(uris - known.keys())
        rows = self._image_rows(missing)
        with ThreadPoolExecutor(_READERS) as readers:
            read = dict(zip(missing, readers.map(self._frame, map(rows.get, missing)), strict=True))
        self._keep(read)
        return known | read

    def _keep(self, read: dict[str, Frame]) -> None:
        self._frames.update(read)
        most = max(1, _KEPT_BYTES // (3 * self._preprocess.crop_px**2))
        while len(self._frames) > most:
            self._frames.popitem(last=False)

    def _frame(self, row: ImageRow | None) -> Frame:
        if row is None:
            return _GONE
        try:
            pixels = decode(read_bytes(row, self._cells), max_pixels=self._max_pixels)
            frame = to_frame(pixels, self._preprocess)
        except ImageRejectedError as error:
            return _GONE if error.reason == "missing" else f"no picture:\n{error.reason}"
        # A view of the tensor would keep its channels apart, and every crop would copy.
        return np.ascontiguousarray(frame.permute(1, 2, 0).numpy())

    def _image_rows(self, uris: list[str]) -> dict[str, ImageRow]:
        """Where the bytes of each image lie; an image in a container that is gone is left out."""
        containers = {uri: _container(uri) for uri in uris}
        rows = {
            uri: ImageRow(image_id=-1, uri=uri) for uri, name in containers.items() if name is None
        }
        for name in sorted({name for name in containers.values() if name is not None}):
            listed = self._listing(name)
            if listed is not None:
                wanted = pa.array(uris, pa.string())
                rows |= _by_uri(image_rows(listed.filter(pc.is_in(listed["uri"], wanted))))
        return rows

    def _listing(self, container: str) -> pa.Table | None:
        if container not in self._listings:
            try:
                self._listings[container] = list_images(DatasetSpec(uri=container))
            except DatasetError:
                self._listings[container] = None
        return self._listings[container]


def _patch(row: _Row, classes: dict[int, str], pictures: tuple[Crop | str, Crop | None]) -> Patch:
    crop, projection = pictures
    return Patch(
        value=float(row["value"]),
        image=str(row["uri"]).rpartition("/")[2],
        class_name=classes.get(row["image_id"]),
        box=box_of(row),
        crop=crop if isinstance(crop, Crop) else None,
        problem=crop if isinstance(crop, str) else "",
        projection=projection,
    )


def _cropped(frame: Frame, row: _Row) -> tuple[Crop | str, None]:
    return (frame if isinstance(frame, str) else crop_box(frame, box_of(row))), None


def _decoded(row: _Row, box: Box, frame_px: int) -> tuple[Crop, Crop]:
    patch, projection = (png_pixels(row[name]) for name in ("patch", "projection"))
    return stored_crop(patch, box, frame_px), stored_crop(projection, box, frame_px)


def png_pixels(cell: Mapping[str, Any]) -> NDArray[np.uint8]:
    """The pixels, uint8 [height, width, 3], of a cell of a column of pictures."""
    return np.asarray(Image.open(io.BytesIO(cell["bytes"])).convert("RGB"))


def box_of(row: Mapping[Hashable, Any]) -> Box:
    """The box in a row of a table that has the columns `schemas.tables.BOX`."""
    y0, x0, y1, x1 = (int(row[edge]) for edge in _BOX)
    return y0, x0, y1, x1


def _container(uri: str) -> str | None:
    """The tar or Parquet file that an image lies in; None where it is a file of its own."""
    name, member, _ = uri.partition("#")
    return name if member and name.endswith(_CONTAINERS) else None


def _by_uri(rows: Iterable[ImageRow]) -> dict[str, ImageRow]:
    return {row.uri: row for row in rows}
