from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.report.contact_sheet import SheetShape
from pipeline.report.overview import LayerRow, overview, project_command, teasers
from pipeline.report.sections.units.page_data import LayerFacts, UnitCard
from pipeline.store import open_run
from tests import made_up_run


def _card(unit: int, *, dead: bool = False) -> UnitCard:
    sheet = None if dead else f"{unit}.webp"
    return UnitCard(unit, "1", "1%", 1.0, 0.01, dead, sheet, 9)


def _row(units: int, dead: int, *, paired: bool) -> LayerRow:
    facts = LayerFacts("l", "p", "d", "s", "relu", units, dead, "1%", "1 x 1", "", "", ())
    return LayerRow(facts, SheetShape(64, paired=paired), ())


def test_overview_adds_up_the_layers_and_names_the_run(tmp_path: Path):
    url = made_up_run.scan(tmp_path / "run", {"conv1": 2})
    made_up_run.project(url, {"conv1": 2})
    run = open_run(url)
    rows = [_row(64, 2, paired=True), _row(1000, 3, paired=True)]
    page = overview(url, run.manifest("scan"), run.manifest("project"), rows)
    facts = dict(page.facts)
    assert (page.title, page.run, page.hint) == ("made_up", url, "")
    assert (facts["images"], facts["rejected"]) == ("40", "2")
    assert (facts["layers"], facts["units"], facts["dead units"]) == ("2", "1,064", "5")
    assert made_up_run.PROVENANCE.created_at == "2026-11-24T03:00:00Z"
    assert facts["projected"] == "2026-11-24 03:00 UTC"


def test_overview_without_all_projections_says_how_to_make_them(tmp_path: Path):
    url = made_up_run.scan(tmp_path / "a run", {"conv1": 2})
    manifest = open_run(url).manifest("scan")
    page = overview(url, manifest, None, [_row(2, 0, paired=True), _row(2, 0, paired=False)])
    assert page.hint == f"unitscope project '{url}'"
    assert "projected" not in dict(page.facts)


def test_overview_shows_no_credentials(tmp_path: Path):
    url = made_up_run.scan(tmp_path / "run", {"conv1": 2})
    manifest = open_run(url).manifest("scan")
    page = overview("https://u:secret@host/run", manifest, None, [_row(1, 0, paired=False)])
    assert "secret" not in repr(page)
    assert "secret" not in project_command("https://u:secret@host/run", None)


@pytest.mark.parametrize(("paired", "count"), [(True, 4), (False, 8)])
def test_teasers_are_living_units_spread_over_the_layer(paired: bool, count: int):
    cards = [_card(unit, dead=unit % 2 == 0) for unit in range(64)]
    chosen = [card.unit for card in teasers(cards, paired=paired)]
    assert len(set(chosen)) == count
    assert all(unit % 2 for unit in chosen)
    assert chosen == sorted(chosen)
    assert chosen[-1] >= 64 * (count - 1) // count
    assert [card.unit for card in teasers(cards[:4], paired=paired)] == [1, 3]
    assert teasers([_card(0, dead=True)], paired=paired) == ()
