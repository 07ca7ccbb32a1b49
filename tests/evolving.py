"""Checkpoints of `tiny_nets.small` between two drawings of its weights; an evolution as tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from safetensors.torch import save_file
from torch import Tensor

import tests.tiny_nets as nets
from pipeline.store import JobFolder, JobStore
from schemas.jobs.evolve import CHANGES, SETTLED, STRONGEST, EvolveSpec
from schemas.manifest import Manifest
from tests.made_up_run import FINGERPRINT, PICTURES, PROVENANCE, plain_names

STEPS = (0, 2, 3, 10)
NAMES = tuple(f"step{step}" for step in STEPS)


def state_at(step: int) -> dict[str, Tensor]:
    """The weights at a step: from those of `nets.small` at 0 to others at 10."""
    first = nets.small().state_dict()
    draws = torch.Generator().manual_seed(3)
    change = {
        name: torch.randn(tensor.shape, generator=draws) * tensor.std()
        for name, tensor in first.items()
    }
    return {name: tensor + step / 10 * change[name] for name, tensor in first.items()}


def write(folder: Path, states: Mapping[str, dict[str, Tensor]] | None = None) -> str:
    """Write checkpoints (name -> weights), those of `NAMES` where left out.

    Returns:
        A glob over the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    default = {name: state_at(step) for name, step in zip(NAMES, STEPS, strict=True)}
    for name, state in (default if states is None else states).items():
        save_file(state, folder / f"{name}.safetensors")
    return str(folder / "*.safetensors")


def publish(run: str, layers: Mapping[str, int], of_scan: str = FINGERPRINT) -> None:
    """Publish the evolution of layers (name -> units) in a run that `made_up_run.scan` made.

    Checkpoints e1, e2 and e3, of which the last two hold the same weights. Unit u has image u, but
    unit 1 jumps to image 11 at e2; unit 2 is dead at e1; units above 3 were not projected. A layer
    with two units settles at e2, any other not before the last.
    """
    store = JobStore(JobFolder(run, "evolve"))
    names, digests = ("e1", "e2", "e3"), ("a" * 64, "b" * 64, "b" * 64)
    strongest = [
        _strongest(layer, unit, place, names[place])
        for layer, units in layers.items()
        for unit in range(units)
        for place in range(3)
    ]
    changes = [
        _change(layer, units, place, names[place])
        for layer, units in layers.items()
        for place in range(3)
    ]
    settled = [
        {"layer": layer, "threshold": 0.5}
        | ({"checkpoint": 1, "name": "e2"} if units == 2 else {"checkpoint": None, "name": None})
        for layer, units in layers.items()
    ]
    tables = ((STRONGEST, strongest), (CHANGES, changes), (SETTLED, settled))
    store.publish(
        Manifest(
            job="evolve",
            fingerprint="evolve-fingerprint",
            identity={
                "scan": of_scan,
                "checkpoints": [
                    {"name": name, "weights_sha256": digest}
                    for name, digest in zip(names, digests, strict=True)
                ],
                "layers": list(layers),
                "units": "0-3",
                "settled": 0.5,
            },
            spec=EvolveSpec(run=run, checkpoints=("e*.pth",)).model_dump(mode="json"),
            tables={
                contract.name: (
                    store.put_table(
                        contract,
                        "part-0.parquet",
                        pa.Table.from_pylist(rows, schema=contract.schema),
                        row_group_rows=64,
                    ),
                )
                for contract, rows in tables
            },
            counts={"checkpoints": 3},
            provenance=PROVENANCE,
        )
    )


def _strongest(layer: str, unit: int, place: int, name: str) -> dict[str, Any]:
    about = {"layer": layer, "unit": unit, "checkpoint": place, "name": name}
    if unit == 2 and place == 0:
        return about
    image = 11 if unit == 1 and place else unit
    jumped = None if place == 0 or (unit == 2 and place == 1) else unit == 1 and place == 1
    patch, projection = ({"bytes": data, "path": None} for data in PICTURES[unit % 9])
    pictures = {"patch": patch, "projection": projection, "scale": 1.0} if unit < 4 else {}
    box = {"box_y0": -8, "box_x0": 4, "box_y1": 8, "box_x1": 20}
    uri = plain_names(image)[0]
    return about | box | pictures | {
        "image_id": image, "uri": uri, "value": 1.5 + place, "jumped": jumped,
    }  # fmt: skip


def _change(layer: str, units: int, place: int, name: str) -> dict[str, Any]:
    overlap = None if place == 0 else 0.25 * place
    return {
        "layer": layer,
        "checkpoint": place,
        "name": name,
        "units": units,
        "dead": int(place == 0 and units > 2),
        "median_value": 1.5 + place,
        "compared": None if place == 0 else units,
        "jumps": None if place == 0 else int(place == 1),
        "stayed": overlap,
        "overlap": overlap,
        "stayed_last": None,
        "overlap_last": (0.125, 0.75, 1.0)[place] if units == 2 else (0.0, 0.25, 1.0)[place],
    }
