from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from pipeline.analysis.evolution import NONE
from pipeline.stages.evolve import EvolveStage, top_images
from pipeline.store.encode import encode
from pipeline.store.layout import checkpoint_run
from schemas.manifest import Shard
from schemas.specs import Resources
from tests import made_up_run

LAYERS = {"conv1": 7, "conv2": 2}
NAMES = ("e1", "e2", "e3")
UNITS = "1-5"


@pytest.fixture
def stage(tmp_path: Path) -> EvolveStage:
    """Three checkpoints: equal but for images that are named by ten more at the second."""
    run = str(tmp_path / "run")
    for name in NAMES:
        own = checkpoint_run(run, name)
        made_up_run.scan(own, LAYERS, images=20 if name == "e2" else 40)
        if name != "e3":
            made_up_run.project(own, LAYERS, images=20 if name == "e2" else 40)
    stage = EvolveStage(run, Resources(local=True, threads=1), NAMES, LAYERS, UNITS)
    stage.setup("cpu")
    return stage


def written(stage: EvolveStage, start: int, stop: int) -> dict[str, bytes]:
    tables = stage.process(Shard(index=0, start=start, stop=stop)).tables
    return {name: encode(stage.parts[name], rows) for name, rows in tables.items()}


def test_process_of_a_shard_gives_the_same_bytes_each_time(stage: EvolveStage):
    first = written(stage, 1, 3)
    written(stage, 0, 1)

    assert written(stage, 1, 3) == first


def test_shards_of_any_size_give_the_same_rows(stage: EvolveStage):
    whole = stage.process(Shard(index=0, start=0, stop=3)).tables
    single = [stage.process(Shard(index=n, start=n, stop=n + 1)).tables for n in range(3)]

    for name, table in whole.items():
        order = [(key, "ascending") for key in stage.parts[name].sort]
        assert pa.concat_tables([each[name] for each in single]).sort_by(order) == table


def test_process_gives_a_row_per_unit_and_checkpoint(stage: EvolveStage):
    done = stage.process(Shard(index=0, start=1, stop=3))

    assert done.counts == {"checkpoints": 2}
    rows = done.tables["layer_0000"].to_pandas()
    dead = rows["unit"] == made_up_run.DEAD
    assert rows[["unit", "checkpoint"]].values.tolist() == [
        [u, c] for u in range(7) for c in (1, 2)
    ]
    assert rows["image_id"].isna().tolist() == dead.tolist()
    assert rows["jumped"].isna().tolist() == dead.tolist()
    # Unit u begins at image 9 u, counted round after 20 images at the second checkpoint.
    assert [u for u in range(7) if rows["jumped"][2 * u]] == [3, 4]
    change = done.tables["changes"].to_pandas().iloc[0]
    assert (change["name"], change.dead, change.compared, change.jumps) == ("e2", 1, 6, 2)


def test_pictures_are_those_of_the_chosen_units_where_they_were_projected(stage: EvolveStage):
    rows = stage.process(Shard(index=0, start=0, stop=3)).tables["layer_0000"].to_pandas()

    shown = rows[rows["projection"].notna()]
    assert shown["unit"].unique().tolist() == [1, 2, 3, 4]
    assert shown["name"].unique().tolist() == ["e1", "e2"]
    patch, projection = made_up_run.PICTURES[0]
    assert shown["patch"].iloc[0] == {"bytes": patch, "path": None}
    assert shown["projection"].iloc[0] == {"bytes": projection, "path": None}


def test_top_images_are_by_unit_and_rank():
    rows = pd.DataFrame({"unit": [2, 0, 0], "rank": [1, 2, 1], "image_id": [7, 5, 9]})

    images = top_images(rows, 3)

    assert images[:, :2].tolist() == [[9, 5], [NONE, NONE], [7, NONE]]
    assert (images[:, 2:] == NONE).all()
    assert images.dtype == np.int64
