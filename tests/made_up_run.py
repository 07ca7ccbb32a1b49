"""A published run made up from random tables: no network ran, no image need exist.

It depends on its arguments alone. Unit 5 of every layer is dead, and unit 3 has two
patches, where the layer has such a unit.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from pipeline.analysis.occlusion.grid import windows_along
from pipeline.store import JobFolder, JobStore
from pipeline.store.layout import layer_file
from schemas.jobs.occlude import (
    OCCLUSION_MAPS,
    OCCLUSION_PICTURES,
    OCCLUSION_PROJECTIONS,
    OccludeSpec,
)
from schemas.jobs.project import PROJECTIONS, ProjectSpec
from schemas.jobs.scan import SCAN_IMAGES, SCAN_LAYERS, SCAN_TOP_PATCHES, SCAN_UNITS, ScanSpec
from schemas.manifest import FileRecord, Manifest, Provenance
from schemas.specs import DatasetSpec, ModelSpec, PreprocessSpec
from schemas.tables import Table

FRAME_PX = 32
FIELD_PX = 16
IMAGES = 40
DEAD, TWO = 5, 3
FINGERPRINT = "scan-fingerprint"
P_CLEAN, P_LOW, ACTIVITY_CLEAN = 0.75, 0.25, 24.0
HOLE = (1, 2)
PROVENANCE = Provenance(
    created_at="2026-11-24T03:00:00Z",
    argv=(),
    unitscope_version="0",
    git_commit=None,
    git_dirty=None,
    python="3.11",
    versions={},
    platform="linux",
    device="cpu",
)

MARKUP = (
    "<script>{}</script>", "<img src=x onerror=alert({})>", "\"'><svg onload=alert({})>",
    "'onmouseover='alert({})", "</script><script>alert({})", "<!--{}-->", "{{{{ {} }}}}",
    "&lt;b{}&gt;", "</dialog><iframe src=javascript:{}>", "\u202e{}\u2066", "\u2028{}\x1b[31m\x01",
    "<style>*{{display:none;{}}}</style>", "`${{{}}}`", "%3Cscript%3E{}", "<a href=x {}>",
    "\\u003cscript\\u003e{}", "]]>{}<![CDATA[", "<base href=//x/{}>", "\u0000{}", "<p {}",
)  # fmt: skip
"""What a page that escapes too little would take for its own."""

Names = Callable[[int], tuple[str, str | None]]
"""From an image's id to its path and class name."""


def plain_names(image_id: int) -> tuple[str, str | None]:
    """``photos/image7.png``, class ``class 7 of them``; every fourth has no class."""
    return f"photos/image{image_id}.png", f"thing {image_id}" if image_id % 4 else None


def naughty_names(image_id: int) -> tuple[str, str | None]:
    """Markup in the path and as the class name, every image another."""
    words = MARKUP[image_id % len(MARKUP)].format(image_id)
    return f"photos/{words.replace('/', '|')}.png", words


def png(colour: tuple[int, int, int], side: int = FIELD_PX) -> bytes:
    """A picture of one colour."""
    data = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(data, "PNG")
    return data.getvalue()


PICTURES = tuple((png((200, 10 * n, 10)), png((0, 10 * n, 255))) for n in range(9))
"""(patch, projection) by rank: patches red, projections blue."""


def scan(
    folder: Path | str,
    layers: dict[str, int],
    *,
    names: Names = plain_names,
    images: int = IMAGES,
    activation: bool = True,
) -> str:
    """Publish a scan of layers (name -> units).

    Unit u has the images ``9 u`` to ``9 u + 8``, and so on from the first.

    Returns:
        The run's folder.
    """
    store = JobStore(JobFolder(str(folder), "scan"))
    spec = ScanSpec(
        model=ModelSpec(arch="made_up", weights="w.pth"),
        data=DatasetSpec(uri="photos", max_pixels=10_000),
        out=str(folder),
    )
    preprocess = PreprocessSpec(resize_px=FRAME_PX, crop_px=FRAME_PX)
    tops = [
        _put(
            store,
            SCAN_TOP_PATCHES,
            list(_tops(layer, units, names, images)),
            layer_file(place, layer),
        )
        for place, (layer, units) in enumerate(layers.items())
    ]
    units = [_unit(layer, unit, images) for layer, count in layers.items() for unit in range(count)]
    tables = {
        "images": (_put(store, SCAN_IMAGES, [_image(i, names) for i in range(images)]),),
        "layers": (
            _put(
                store,
                SCAN_LAYERS,
                [
                    _layer(place, layer, count, activation=activation)
                    for place, (layer, count) in enumerate(layers.items())
                ],
            ),
        ),
        "units": (_put(store, SCAN_UNITS, units),),
        "top_patches": tuple(tops),
    }
    store.publish(
        Manifest(
            job="scan",
            fingerprint=FINGERPRINT,
            identity={"preprocess": preprocess.model_dump(mode="json")},
            spec=spec.model_dump(mode="json"),
            tables=tables,
            counts={"images": images, "rejects": 2},
            provenance=PROVENANCE,
        )
    )
    return str(folder)


def project(
    run: str,
    layers: dict[str, int],
    *,
    pictures: Sequence[tuple[bytes, bytes]] = PICTURES,
    names: Names = plain_names,
    images: int = IMAGES,
    of_scan: str = FINGERPRINT,
) -> None:
    """Publish projections of layers (name -> units, from 0) of a run that `scan` made.

    Args:
        run: its folder.
        layers: which, and how many units of each.
        pictures: (patch, projection) as PNGs; rank r of unit u has number ``9 u + r - 1``, and
            so on from the start.
        names: as in `scan`.
        images: as in `scan`.
        of_scan: the fingerprint of the scan that they say they are of.
    """
    store = JobStore(JobFolder(run, "project"))
    records = []
    for place, (layer, units) in enumerate(layers.items()):
        rows = []
        for row in _tops(layer, units, names, images):
            number = 9 * row["unit"] + row["rank"] - 1
            patch, projection = pictures[number % len(pictures)]
            rows.append(
                {name: row[name] for name in PROJECTIONS.schema.names if name in row}
                | {
                    "patch": {"bytes": patch, "path": None},
                    "projection": {"bytes": projection, "path": None},
                    "scale": 1.0,
                    "reproduced": row["value"],
                }
            )
        records.append(_put(store, PROJECTIONS, rows, layer_file(place, layer), group=512))
    store.publish(
        Manifest(
            job="project",
            fingerprint="project-fingerprint",
            identity={"scan": of_scan},
            spec=ProjectSpec(run=run).model_dump(mode="json"),
            tables={"projections": tuple(records)},
            counts={},
            provenance=PROVENANCE,
        )
    )


def occlude(
    run: str,
    image_ids: Sequence[int],
    *,
    layer: str = "conv1",
    windows: Sequence[tuple[int, int]] = ((8, 4),),
    names: Names = plain_names,
    of_scan: str = FINGERPRINT,
    missing: str | None = "",
) -> None:
    """Publish an occlusion of images of a run that `scan` made, watching unit 0 of a layer.

    p is `P_CLEAN` but at the position `HOLE`, where it is `P_LOW` and a thousandth of the image's
    id; the activity is 10 and the position's row; the most probable class is the target, but in
    the first row 900 and the position's column.

    Args:
        run: its folder.
        image_ids: ascending.
        layer: the watched one.
        windows: (side, stride) in pixels.
        names: as in `scan`.
        of_scan: the fingerprint of the scan that it says it is of.
        missing: why the images have no projection of unit 0; empty: they have it, and it is
            `PICTURES`' first; None: there is no table of them, as in releases before.
    """
    store = JobStore(JobFolder(run, "occlude"))
    places = [(each, at, *window) for each in image_ids for at, window in enumerate(windows)]
    pictures = [_picture(*place, names) | {"layer": layer} for place in places]
    cells = [row for place in places for row in _occluded(*place)]
    tables = {
        "pictures": (_put(store, OCCLUSION_PICTURES, pictures),),
        "maps": (_put(store, OCCLUSION_MAPS, cells),),
    }
    if missing is not None:
        seen = [_projected(each, layer, missing) for each in image_ids]
        tables["map_projections"] = (_put(store, OCCLUSION_PROJECTIONS, seen),)
    store.publish(
        Manifest(
            job="occlude",
            fingerprint="occlude-fingerprint",
            identity={"scan": of_scan},
            spec=OccludeSpec(run=run).model_dump(mode="json"),
            tables=tables,
            counts={"images": len(image_ids)},
            provenance=PROVENANCE,
        )
    )


def _picture(image_id: int, window: int, side: int, stride: int, names: Names) -> dict[str, Any]:
    uri, class_name = names(image_id)
    edges = windows_along(FRAME_PX, side, stride)
    return {
        "image_id": image_id,
        "window": window,
        "uri": uri,
        "label": image_id % 10,
        "class_name": class_name,
        "target": image_id % 10,
        "p_target": P_CLEAN,
        "predicted": image_id % 10,
        "p_predicted": P_CLEAN,
        "unit": 0,
        "activity": ACTIVITY_CLEAN,
        "fill": "grey",
        "window_px": side,
        "window_width_px": side,
        "stride_px": stride,
        "rows": len(edges),
        "cols": len(edges),
        "largest_drop": P_CLEAN - P_LOW - image_id / 1000,
        "drop_y_px": int(edges[HOLE[0]]),
        "drop_x_px": int(edges[HOLE[1]]),
        "half_area": 0.125,
        "changed": 1 / len(edges),
        "drop_inside": None,
        "pointed": None,
        "engine": "dense",
    }


def _projected(image_id: int, layer: str, missing: str) -> dict[str, Any]:
    edges = dict(zip(("box_y0", "box_x0", "box_y1", "box_x1"), (4, 8, 20, 24), strict=True))
    row = {"image_id": image_id, "layer": layer, "unit": 0, "y": 1, "x": 2, "value": 6.0} | edges
    if missing:
        return row | {"missing": missing}
    return row | {"projection": {"bytes": PICTURES[0][1], "path": None}, "scale": 1.0}


def _occluded(image_id: int, window: int, side: int, stride: int) -> Iterator[dict[str, Any]]:
    edges = windows_along(FRAME_PX, side, stride).tolist()
    for row, y in enumerate(edges):
        for column, x in enumerate(edges):
            low = (row, column) == HOLE
            yield {
                "image_id": image_id,
                "window": window,
                "y_px": y,
                "x_px": x,
                "p_target": P_LOW + image_id / 1000 if low else P_CLEAN,
                "predicted": image_id % 10 if row else 900 + column,
                "p_predicted": 0.5,
                "activity": 10.0 + row,
            }


def _put(
    store: JobStore,
    table: Table,
    rows: list[dict[str, Any]],
    name: str = "part-0.parquet",
    group: int = 65_536,
) -> FileRecord:
    content = pa.Table.from_pylist(rows, schema=table.schema)
    return store.put_table(table, name, content, row_group_rows=group)


def _tops(layer: str, units: int, names: Names, images: int) -> Iterator[dict[str, Any]]:
    random = np.random.default_rng(len(layer))
    for unit in range(units):
        ids = [(9 * unit + place) % images for place in range({DEAD: 0, TWO: 2}.get(unit, 9))]
        largest = float(np.float32(random.uniform(1, 50)))
        for rank, image_id in enumerate(ids, start=1):
            y, x = (int(corner) for corner in random.integers(-8, 24, 2))
            yield {
                "layer": layer,
                "unit": unit,
                "rank": rank,
                "image_id": image_id,
                "uri": names(image_id)[0],
                "value": float(np.float32(largest / rank)),
                "y": 0,
                "x": 0,
                "box_y0": y,
                "box_x0": x,
                "box_y1": y + FIELD_PX,
                "box_x1": x + FIELD_PX,
            }


def _unit(layer: str, unit: int, images: int) -> dict[str, Any]:
    random = np.random.default_rng([len(layer), unit])
    active = {DEAD: 0, TWO: 2}.get(unit, int(random.integers(9, images + 1)))
    histogram = np.zeros(84, np.int64)
    histogram[41] = images - active
    np.add.at(histogram, random.integers(44, 60, active), 1)
    largest = float(np.float32(random.uniform(1, 50))) if active else 0.0
    return {
        "layer": layer,
        "unit": unit,
        "images": images,
        "active": active,
        "nonfinite": 0,
        "max": largest,
        "mean": largest / 3,
        "std": largest / 5,
        "histogram": histogram.tolist(),
    }


def _image(image_id: int, names: Names) -> dict[str, Any]:
    uri, class_name = names(image_id)
    return {
        "image_id": image_id,
        "uri": uri,
        "label": image_id % 10,
        "class_name": class_name,
        "width": 64,
        "height": 48,
        "predicted": 0,
        "p_predicted": 1.0,
        "p_label": 1.0,
        "label_rank": 1,
    }


def _layer(place: int, layer: str, units: int, *, activation: bool) -> dict[str, Any]:
    return {
        "layer": layer,
        "position": place,
        "kind": "relu" if activation else "linear",
        "activation": activation,
        "units": units,
        "map_height": 8,
        "map_width": 8,
        "stride_y": 4,
        "stride_x": 4,
        "field_height": FIELD_PX,
        "field_width": FIELD_PX,
        "gated": False,
        "whole_frame": None,
    }
