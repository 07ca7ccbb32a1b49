"""A made-up invariance of images of a run (`tests.made_up_run`): no network ran."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from PIL import Image

from pipeline.store import JobFolder, JobStore
from schemas.jobs.invariance import AREAS, CURVES, MOVED_PICTURES, RESPONSES, InvarianceSpec
from schemas.manifest import Manifest
from schemas.moves import TRANSFORMS, Move, Transform
from tests.made_up_run import FINGERPRINT, PROVENANCE, Names, plain_names

LAYERS = ("conv2", "conv1")
"""In the order of the network; of the second every distance is half as large."""
STEPS: dict[Transform, tuple[float, ...]] = {
    "rotation": (0, 90, 180),
    "scale": (1, 1.5),
    "translation": (-10, 0, 10),
}
COLOURS: dict[Transform, tuple[int, int, int]] = {
    "rotation": (200, 30, 30), "scale": (30, 200, 30), "translation": (30, 30, 200),
}  # fmt: skip
P_PLAIN = 0.75
P_MOVED = {"rotation": 0.125, "scale": 0.25, "translation": 0.5}
SIDE = 16


def distance(image_id: int, place: int, layer: str) -> float:
    """Relative, of an image at a step, counted from 0, that moves it."""
    return (image_id + 1) * (place + 1) / 100 / (1 + LAYERS.index(layer))


def publish(
    run: str,
    image_ids: Sequence[int],
    *,
    names: Names = plain_names,
    of_scan: str = FINGERPRINT,
) -> None:
    """Publish the invariance of images of a run that `made_up_run.scan` made; ids ascending."""
    store = JobStore(JobFolder(run, "invariance"))
    cells = [
        (transform, amount, place, layer)
        for transform in TRANSFORMS
        for place, amount in enumerate(STEPS[transform])
        for layer in LAYERS
    ]
    rows = {
        RESPONSES: [_response(each, *cell, names) for each in image_ids for cell in cells],
        MOVED_PICTURES: [_strip(i, name, names) for i in image_ids for name in TRANSFORMS],
        CURVES: [_curve(image_ids, *cell) for cell in cells],
        AREAS: [_area(len(image_ids), name, layer) for name in TRANSFORMS for layer in LAYERS],
    }
    store.publish(
        Manifest(
            job="invariance",
            fingerprint="invariance-fingerprint",
            identity={"scan": of_scan},
            spec=InvarianceSpec(run=run).model_dump(mode="json"),
            tables={
                table.name: (
                    store.put_table(
                        table, "part-0.parquet", pa.Table.from_pylist(own, schema=table.schema)
                    ),
                )
                for table, own in rows.items()
            },
            counts={"images": len(image_ids)},
            provenance=PROVENANCE,
        )
    )


def _response(
    image_id: int, transform: Transform, amount: float, place: int, layer: str, names: Names
) -> dict[str, Any]:
    still = Move(transform, amount).is_identity
    relative = 0.0 if still else distance(image_id, place, layer)
    return {
        "image_id": image_id,
        "transform": transform,
        "amount": amount,
        "layer": layer,
        "uri": names(image_id)[0],
        "distance": 100 * relative,
        "relative_distance": relative,
        "target": image_id % 10,
        "p_plain": P_PLAIN,
        "p_target": P_PLAIN if still else P_MOVED[transform],
        "predicted_plain": image_id % 10,
        "predicted": image_id % 10,
        "filled_share": 0.0,
    }


def _strip(image_id: int, transform: Transform, names: Names) -> dict[str, Any]:
    steps = STEPS[transform]
    data = io.BytesIO()
    Image.new("RGB", (len(steps) * SIDE, SIDE), COLOURS[transform]).save(data, "PNG")
    return {
        "image_id": image_id,
        "transform": transform,
        "uri": names(image_id)[0],
        "amounts": ", ".join(f"{amount:g}" for amount in steps),
        "strip": {"bytes": data.getvalue(), "path": None},
    }


def _curve(
    image_ids: Sequence[int], transform: Transform, amount: float, place: int, layer: str
) -> dict[str, Any]:
    still = Move(transform, amount).is_identity
    ends = [0.0 if still else distance(i, place, layer) for i in (image_ids[0], image_ids[-1])]
    p = P_PLAIN if still else P_MOVED[transform]
    bands = {"distance": ends, "relative": ends, "p_target": [p, p]}
    return {
        "transform": transform,
        "amount": amount,
        "layer": layer,
        "images": len(image_ids),
        **{f"{name}_mean": sum(band) / 2 for name, band in bands.items()},
        **{f"{name}_low": band[0] for name, band in bands.items()},
        **{f"{name}_high": band[1] for name, band in bands.items()},
        "filled_share": 0.0,
    }


def _area(images: int, transform: Transform, layer: str) -> dict[str, Any]:
    area = 0.8 / (1 + LAYERS.index(layer))
    return {
        "transform": transform,
        "layer": layer,
        "images": images,
        "steps": len(STEPS[transform]) - 1,
        "area_mean": area,
        "area_low": area - 0.1,
        "area_high": area + 0.1,
        "p_plain": P_PLAIN,
        "p_moved": P_MOVED[transform],
        "changed": 0.5,
    }
