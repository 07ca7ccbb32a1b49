from __future__ import annotations

import pytest

import tests.tiny_nets as nets
from jobs.layers import table
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
