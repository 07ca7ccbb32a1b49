"""Parts whose consistency was measured, as `read_consistency` would read them; and as tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from pipeline.report.sections.correspond.chart import PartConsistency
from pipeline.store import JobFolder, JobStore
from schemas.jobs.correspond import CONSISTENCY, CORRESPONDENCE, PART_ITSELF, CorrespondSpec
from schemas.manifest import Manifest
from tests.made_up_run import FINGERPRINT, PROVENANCE

EYE = PartConsistency("conv2", "eye", 11, 0.1, 0.2, 0.02, 5.0, (0.18, 0.2, 0.22), 0.5, 0.25)
NOSE = PartConsistency("conv2", "nose", 3, 0.25, 0.3, 0.0, None, (0.3, 0.3), 0.5, 0.25)


def publish(run: str, parts: Sequence[PartConsistency], of_scan: str = FINGERPRINT) -> None:
    """Publish the correspondence of parts in a run that `made_up_run.scan` made."""
    store = JobStore(JobFolder(run, "correspond"))
    rows = [row for part in parts for row in _rows(part)]
    names = CORRESPONDENCE.schema.names
    tables = {
        "consistency": (CONSISTENCY, rows),
        "summary": (CORRESPONDENCE, [{name: getattr(p, name) for name in names} for p in parts]),
    }
    store.publish(
        Manifest(
            job="correspond",
            fingerprint="correspond-fingerprint",
            identity={"scan": of_scan},
            spec=CorrespondSpec(run=run, boxes="parts.csv").model_dump(mode="json"),
            tables={
                name: (
                    store.put_table(
                        contract,
                        "part-0.parquet",
                        pa.Table.from_pylist(own, schema=contract.schema),
                        row_group_rows=64,
                    ),
                )
                for name, (contract, own) in tables.items()
            },
            counts={"images": max(part.images for part in parts)},
            provenance=PROVENANCE,
        )
    )


def _rows(part: PartConsistency) -> Iterator[dict[str, Any]]:
    for draw, delta in enumerate((part.delta, *part.random), start=PART_ITSELF):
        changed = part.random_changed if draw >= 0 else part.changed
        yield {
            "layer": part.layer,
            "part": part.part,
            "draw": draw,
            "images": part.images,
            "length": 100,
            "hamming": round(delta * part.images * (part.images - 1) * 100),
            "delta": delta,
            "zeros": 1 - changed,
        }
