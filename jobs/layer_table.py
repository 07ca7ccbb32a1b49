"""The layers of a model as a table for a terminal.

Invariant: it prints what it is given and works nothing out.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

_COLUMNS = ("layer", "kind", "units", "map", "stride", "field", "selected", "note")


def show(layers: pd.DataFrame, *, nodes: int, console: Console | None = None) -> None:
    """Print the layers, one a line, and below them how many there are.

    Args:
        layers: columns of `schemas.tables.SCAN_LAYERS` and ``selected`` (bool).
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
