"""`unitscope layers`: the layers of a model as a table, before any image is read."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.models.load import load_model
from pipeline.models.network import open_network
from pipeline.stages.scan_tables import layer_table
from schemas.specs import ModelSpec, PreprocessSpec

_COLUMNS = ("layer", "kind", "units", "map", "stride", "field", "selected", "note")


def table(model: ModelSpec, preprocess: PreprocessSpec | None) -> pd.DataFrame:
    """Every layer that can be scanned.

    Args:
        model: which network.
        preprocess: decides the size of the input frame; None: what the weights ask for.

    Returns:
        The columns of `schemas.jobs.scan.SCAN_LAYERS` and ``selected`` (bool): whether a scan takes
        it where nothing else is asked for.
    """
    loaded = load_model(model)
    crop_px = (preprocess or loaded.preprocess).crop_px
    network = open_network(loaded.module, crop_px)
    frame: pd.DataFrame = layer_table(network.layers).to_pandas()
    frame["selected"] = [layer.default for layer in network.layers]
    return frame


def show(layers: pd.DataFrame, *, nodes: int, console: Console | None = None) -> None:
    """Print the layers, one per line, and below them how many there are.

    Args:
        layers: columns of `schemas.jobs.scan.SCAN_LAYERS` and ``selected`` (bool).
        nodes: how many nodes the model has in all.
        console: where to print; stdout where left out, wide enough for any name in a pipe.
    """
    if console is None:
        console = Console()
        console = console if console.is_terminal else Console(width=240)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in _COLUMNS:
        right = name in ("units", "map", "stride", "field")
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for row in layers.to_dict("records"):
        table.add_row(*(Text(cell) for cell in _cells(row)))
    console.print(table)
    console.print(
        f"{len(layers)} of {nodes} nodes, maps and fields in rows x columns "
        "(field: the receptive field in input pixels)",
        style="dim",
    )


def _cells(row: Mapping[Hashable, Any]) -> tuple[str, ...]:
    notes = [str(row["whole_frame"])] if isinstance(row["whole_frame"], str) else []
    if row["gated"]:
        notes.append("behind a whole-frame gate")
    return (
        str(row["layer"]),
        str(row["kind"]),
        str(row["units"]),
        f"{row['map_height']} x {row['map_width']}",
        f"{row['stride_y']} x {row['stride_x']}" if row["stride_y"] else "-",
        f"{row['field_height']} x {row['field_width']}",
        "yes" if row["selected"] else "",
        "; ".join(notes),
    )
