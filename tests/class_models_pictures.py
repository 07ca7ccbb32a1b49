"""Class models of a made-up run (`tests.made_up_run`): no network ran."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from pipeline.store import JobFolder, JobStore
from schemas.jobs.class_models import ASCENT, MODELS, ClassModelsSpec
from schemas.manifest import Manifest
from tests.made_up_run import FIELD_PX, FINGERPRINT, FRAME_PX, PROVENANCE, png

SCORES = "fc"
STEPS = (0, 4, 8)


def class_models(
    run: str,
    targets: Sequence[tuple[str, int]],
    *,
    starts: int = 1,
    of_scan: str = FINGERPRINT,
    last_score: float = 12.5,
) -> None:
    """Publish images of some units of a run that `made_up_run.scan` made.

    Args:
        run: its folder.
        targets: layer and unit, a layer's together and ascending; those of `SCORES` are classes.
        starts: per target; each image has a colour of its own, see `colour_of`.
        of_scan: the fingerprint of the scan that they say they are of.
        last_score: that the ascents end with.
    """
    store = JobStore(JobFolder(run, "class-models"))
    keys = [(layer, unit, start) for layer, unit in targets for start in range(starts)]
    models = [_model(*key, last_score) for key in keys]
    ascents = [
        {"layer": layer, "unit": unit, "start": start, "step": step, "score": score, "penalty": 1.5}
        for layer, unit, start in keys
        for step, score in zip(STEPS, (0.5, 6.0, last_score), strict=True)
    ]
    records = {
        contract.name: (
            store.put_table(
                contract,
                f"{contract.name}.parquet",
                pa.Table.from_pylist(rows, schema=contract.schema),
            ),
        )
        for contract, rows in ((MODELS, models), (ASCENT, ascents))
    }
    store.publish(
        Manifest(
            job="class-models",
            fingerprint="class-models-fingerprint",
            identity={"scan": of_scan},
            spec=ClassModelsSpec(run=run).model_dump(mode="json"),
            tables=records,
            counts={"targets": len(keys)},
            provenance=PROVENANCE,
        )
    )


def colour_of(unit: int, start: int) -> tuple[int, int, int]:
    """Of a target's picture."""
    return (40 + 10 * unit, 200 - 50 * start, 90)


def _model(layer: str, unit: int, start: int, last_score: float) -> dict[str, Any]:
    is_class = layer == SCORES
    side = FRAME_PX if is_class else FIELD_PX
    return {
        "layer": layer,
        "unit": unit,
        "start": start,
        "class_name": None,
        "raised": layer,
        "score_start": 0.5,
        "score_end": last_score,
        "penalty_end": 1.5,
        "saturated": 0.0,
        "p_target": 0.75 if is_class else None,
        "predicted": 7 if is_class else None,
        "steps_without_gradient": 0,
        "jitter_px": 2,
        **dict.fromkeys(("box_y0", "box_x0"), 0),
        **dict.fromkeys(("box_y1", "box_x1"), side),
        "picture": {"bytes": png(colour_of(unit, start), side), "path": None},
    }
