from __future__ import annotations

import io

import pandas as pd
import pytest
from rich.console import Console

import tests.tiny_nets as nets
from jobs.layers import show, table
from schemas.errors import ModelError
from schemas.jobs.scan import SCAN_LAYERS
from schemas.specs import ModelSpec, PreprocessSpec

SMALL = ModelSpec(arch=f"{nets.__file__}:small", weights="random", trust_code=True)


def test_table_lists_every_layer_and_which_a_scan_takes():
    found = table(SMALL, PreprocessSpec(crop_px=24))

    assert list(found.columns) == [*SCAN_LAYERS.schema.names, "selected"]
    selected = dict(zip(found["layer"], found["selected"], strict=True))
    assert [name for name, taken in selected.items() if taken] == ["relu1", "relu2", "fc"]
    assert {"conv1", "pool1", "conv2"} <= selected.keys()
    assert found["position"].tolist() == sorted(found["position"])
    assert found.set_index("layer").loc["relu1", "map_height"] == 24


def test_table_without_preprocess_takes_the_frame_of_the_weights():
    assert table(SMALL, None).set_index("layer").loc["relu1", "map_height"] == 224


def test_table_of_an_unknown_model_names_near_ones():
    with pytest.raises(ModelError, match="squeezenet1_1"):
        table(ModelSpec(arch="squeezenet11", weights="random"), None)


def _layer(name: str, **changes: object) -> dict[str, object]:
    return {
        "layer": name,
        "position": 0,
        "kind": "relu",
        "activation": True,
        "units": 64,
        "map_height": 55,
        "map_width": 54,
        "stride_y": 4,
        "stride_x": 2,
        "field_height": 11,
        "field_width": 9,
        "gated": False,
        "whole_frame": None,
        "selected": True,
    } | changes


def _printed(rows: list[dict[str, object]], width: int = 200) -> list[str]:
    out = io.StringIO()
    show(pd.DataFrame(rows), nodes=12, console=Console(file=out, width=width))
    return out.getvalue().splitlines()


def test_show_row_holds_every_column():
    head, row, foot = _printed([_layer("features.[bold]1")])
    assert " ".join(head.split()) == "layer kind units map stride field selected note"
    assert " ".join(row.split()) == "features.[bold]1 relu 64 55 x 54 4 x 2 11 x 9 yes"
    assert foot.startswith("1 of 12 nodes")


def test_show_one_position_gate_and_whole_frame_are_told():
    _, row, _ = _printed(
        [_layer("fc", stride_y=0, stride_x=0, gated=True, whole_frame="a flatten", selected=False)]
    )
    assert row.split("x 9")[1].strip() == "a flatten; behind a whole-frame gate"
    assert " - " in row


def test_show_narrow_terminal_keeps_the_whole_name():
    name = "layer4.2.conv3.with.a.very.long.name"
    lines = _printed([_layer(name)], width=60)
    assert name in "".join(line.split()[0] for line in lines if line.strip())
    assert "…" not in "".join(lines)
