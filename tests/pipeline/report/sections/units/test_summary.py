from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.report.contact_sheet import SheetShape
from pipeline.report.sections.units.page_data import LayerFacts, UnitCard
from pipeline.report.sections.units.summary import LayerStrip, project_command, summary, teasers
from pipeline.store import open_run
from tests import made_up_run


def _card(unit: int, *, dead: bool = False) -> UnitCard:
    sheet = None if dead else f"{unit}.webp"
    return UnitCard(unit, "1", "1%", 1.0, 0.01, dead, sheet, 9, 0.5)


def _strip(units: int, dead: int, *, paired: bool) -> LayerStrip:
    facts = LayerFacts("l", "p", "d", "s", "relu", units, dead, "1%", "1 x 1", "", "", ())
    return LayerStrip(facts, SheetShape(64, paired=paired), ())


def test_summary_adds_up_the_layers():
    found = summary([_strip(64, 2, paired=True), _strip(1000, 3, paired=True)], "")
    assert found.counts == "layers 2, units 1,064 (dead 5)"
    assert found.facts == (("layers", "2"), ("units", "1,064"), ("dead units", "5"))
    assert (found.remark, found.hint) == ("", "")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("unitscope project r", "next: unitscope project r, then the gallery again"),
        ("", "the projections are of other layers"),
    ],
)
def test_summary_without_all_projections_says_what_is_missing(command: str, words: str):
    found = summary([_strip(2, 0, paired=True), _strip(2, 0, paired=False)], command)
    assert found.remark == f"1 of 2 layers show patches only; {words}"
    assert (f"<code>{command}</code>" in found.hint) == bool(command)


def test_project_command_is_empty_once_some_are_published(tmp_path: Path):
    url = made_up_run.scan(tmp_path / "a run", {"conv1": 2})
    assert project_command(open_run(url)) == f"unitscope project '{url}'"
    made_up_run.project(url, {"conv1": 1})
    assert project_command(open_run(url)) == ""


def test_project_command_shows_no_credentials(tmp_path: Path):
    run = open_run(made_up_run.scan(tmp_path / "run", {"conv1": 2}))
    secret = replace(run, url=f"file://u:secret@host{tmp_path}/none")
    assert "secret" not in project_command(secret)


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
