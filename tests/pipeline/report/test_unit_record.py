from __future__ import annotations

from pathlib import Path

from pipeline.report.unit_record import read_units
from pipeline.store import open_run
from tests import made_up_run


def test_read_units_hold_what_the_tables_say(tmp_path: Path):
    url = made_up_run.scan(tmp_path / "run", {"conv1": 8, "conv2": 4})
    made_up_run.project(url, {"conv1": 8})
    run = open_run(url)
    [layer] = run.table("layers", job="scan", layer="conv1").to_dict("records")

    pages = read_units(run, layer, range(2, 7))

    facts = run.table("units", job="scan", layer="conv1")
    assert [page.unit for page in pages] == [2, 3, 4, 5, 6]
    assert [len(page.patches) for page in pages] == [9, 2, 9, 0, 9]
    assert {(page.layer, page.kind, page.field) for page in pages} == {("conv1", "relu", (16, 16))}
    for page in pages:
        row = facts[facts["unit"] == page.unit].iloc[0]
        assert (page.images, page.active) == (row["images"], row["active"])
        assert all(patch.projection is not None for patch in page.patches)
