"""Saliency maps of a made-up run (`tests.made_up_run`): no network ran, no image need exist."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from pipeline.store import JobFolder, JobStore
from schemas.jobs.saliency import ATTRIBUTIONS, SaliencySpec
from schemas.manifest import Manifest
from tests.made_up_run import FINGERPRINT, FRAME_PX, PROVENANCE, Names, plain_names

BRIGHT = (slice(4, 8), slice(20, 24))
"""Where every map is largest, rows and columns; it is 0 elsewhere."""
METHODS = ("gradient", "guided", "integrated")


def picture(method: str) -> bytes:
    """A map as the job stores it: 4 x 4 pixels at half of the scale above zero."""
    shape = (FRAME_PX, FRAME_PX, 3) if method == "guided" else (FRAME_PX, FRAME_PX)
    zero = zero_of(method)
    pixels = np.full(shape, zero, np.uint8)
    pixels[BRIGHT] = zero + (255 - zero) // 2
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


def zero_of(method: str) -> int:
    """The pixel that stands for 0."""
    return 0 if method == "gradient" else 128


def saliency(
    run: str,
    image_ids: Sequence[int],
    *,
    names: Names = plain_names,
    of_scan: str = FINGERPRINT,
) -> None:
    """Publish maps of images of a run that `made_up_run.scan` made.

    Args:
        run: its folder.
        image_ids: ascending.
        names: as in `made_up_run.scan`.
        of_scan: the fingerprint of the scan that they say they are of.
    """
    store = JobStore(JobFolder(run, "saliency"))
    rows = [_row(each, method, names) for each in image_ids for method in METHODS]
    content = pa.Table.from_pylist(rows, schema=ATTRIBUTIONS.schema)
    record = store.put_table(ATTRIBUTIONS, "part-0.parquet", content)
    store.publish(
        Manifest(
            job="saliency",
            fingerprint="saliency-fingerprint",
            identity={"scan": of_scan},
            spec=SaliencySpec(run=run).model_dump(mode="json"),
            tables={"attributions": (record,)},
            counts={"images": len(image_ids)},
            provenance=PROVENANCE,
        )
    )


def _row(image_id: int, method: str, names: Names) -> dict[str, Any]:
    return {
        "image_id": image_id,
        "method": method,
        "uri": names(image_id)[0],
        "target": image_id % 10,
        "score": 12.5,
        "p_target": 0.75,
        "predicted": 7,
        "saliency": {"bytes": picture(method), "path": None},
        "zero": zero_of(method),
        "scale": 2.0,
        "completeness_error": 0.25 if method == "integrated" else None,
    }
