"""A look at a model's layers, before any image is read."""

from __future__ import annotations

import pandas as pd

from pipeline.models.load import load_model
from pipeline.models.network import open_network
from pipeline.stages.scan_tables import layer_table
from schemas.specs import ModelSpec, PreprocessSpec


def table(model: ModelSpec, preprocess: PreprocessSpec | None) -> pd.DataFrame:
    """Every layer that can be scanned.

    Args:
        model: which network.
        preprocess: decides the size of the input frame; None: what the weights ask for.

    Returns:
        The columns of `schemas.tables.SCAN_LAYERS` and ``selected`` (bool): whether a scan takes
        it where nothing else is asked for.
    """
    loaded = load_model(model)
    crop_px = (preprocess or loaded.preprocess).crop_px
    network = open_network(loaded.module, crop_px)
    frame: pd.DataFrame = layer_table(network.layers).to_pandas()
    frame["selected"] = [layer.default for layer in network.layers]
    return frame
