"""The invariance of a scan's layers (ZF fig. 5): which images and layers, curves over images."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from jobs.engine import Work
from jobs.published_scan import PublishedScan, require_class
from pipeline.analysis.invariance import Band, band
from pipeline.stages.invariance import InvarianceStage
from pipeline.store.parts import Parts
from schemas.jobs.invariance import AREAS, CURVES, InvarianceSpec
from schemas.manifest import FileRecord
from schemas.moves import TRANSFORMS, Move
from schemas.specs import LayerSelection


def plan(spec: InvarianceSpec, scan: PublishedScan) -> Work:
    """The chosen images.

    Raises:
        InputError: no image is chosen, a layer or the target is unknown, or weights or pictures
            are others than the scan's.
    """
    require_class(scan.network(), spec.target)
    layers = chosen_layers(scan, spec.layers)
    stage = InvarianceStage(scan.source, spec.resources, spec, layers)
    own = ("translation_px", "scale", "rotation_degrees", "fill", "target", "batch_bytes")
    return Work(
        scan.choose(spec.images),
        stage,
        identity={
            "layers": list(layers),
            "moves": [list(move) for move in spec.moves],
            **{name: getattr(spec, name) for name in own},
        },
        batch_size=stage.batch_size,
    )


def merge(work: Work, parts: Parts) -> dict[str, tuple[FileRecord, ...]]:
    """The parts' own rows, and what sums them up over all images."""
    layers: list[str] = work.identity["layers"]
    moves = [Move(*move) for move in work.identity["moves"]]
    grid = _Grid(pa.concat_tables(parts.read("responses")), moves, layers)
    summed = ((CURVES, grid.curves()), (AREAS, grid.areas()))
    return {
        **{
            name: parts.put_by_rows(contract, parts.read(name))
            for name, contract in parts.contracts.items()
        },
        **{
            contract.name: (parts.put(contract, pa.Table.from_pylist(list(rows), contract.schema)),)
            for contract, rows in summed
        },
    }


def chosen_layers(scan: PublishedScan, selection: LayerSelection) -> tuple[str, ...]:
    """The layers to measure, in the order of the network.

    Left open, the first of the scanned ones and the last but one (ZF fig. 5: layers 1 and 7 of 8).

    Raises:
        LayerError: a glob matches no scanned layer, or none is left.
    """
    chosen = sorted(scan.layers(selection).items(), key=lambda item: item[1])
    names = [name for name, _ in chosen]
    if selection.include or len(names) < 3:
        return tuple(names)
    return names[0], names[-2]


class _Grid:
    """Rows of invariance/responses as arrays [images, moves, layers]."""

    def __init__(self, rows: pa.Table, moves: list[Move], layers: list[str]) -> None:
        self._moves, self._layers = moves, layers
        names = (
            "distance", "relative_distance", "p_target", "predicted", "p_plain",
            "predicted_plain", "filled_share",
        )  # fmt: skip
        shape = (-1, len(moves), len(layers))
        self._of = {name: rows[name].to_numpy().reshape(shape) for name in names}

    def curves(self) -> Iterator[dict[str, object]]:
        """Rows of invariance/curves."""
        bands = {
            name: band(self._of[column])
            for name, column in (
                ("distance", "distance"),
                ("relative", "relative_distance"),
                ("p_target", "p_target"),
            )
        }
        filled = self._of["filled_share"].mean(axis=0)
        for at in np.ndindex(filled.shape):
            yield {
                **self._moves[at[0]]._asdict(),
                "layer": self._layers[at[1]],
                "images": len(self._of["distance"]),
                **{key: value for name, own in bands.items() for key, value in _at(name, own, at)},
                "filled_share": float(filled[at]),
            }

    def areas(self) -> Iterator[dict[str, object]]:
        """Rows of invariance/areas: of the transforms that move the picture."""
        for transform in TRANSFORMS:
            steps = [
                place
                for place, move in enumerate(self._moves)
                if move.transform == transform and not move.is_identity
            ]
            if not steps:
                continue
            own = {name: values[:, steps] for name, values in self._of.items()}
            areas = band(own["relative_distance"].mean(axis=1))
            changed = own["predicted"] != own["predicted_plain"]
            for place, layer in enumerate(self._layers):
                yield {
                    "transform": transform,
                    "layer": layer,
                    "images": len(changed),
                    "steps": len(steps),
                    **dict(_at("area", areas, (place,))),
                    "p_plain": float(own["p_plain"][:, 0, place].mean()),
                    "p_moved": float(own["p_target"][:, :, place].mean()),
                    "changed": float(changed[:, :, place].mean()),
                }


def _at(name: str, values: Band, at: tuple[int, ...]) -> Iterator[tuple[str, float | None]]:
    """The columns of a band at one place; null where no image has a value."""
    for end in ("mean", "low", "high"):
        value = float(getattr(values, end)[at])
        yield f"{name}_{end}", None if np.isnan(value) else value
