from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pipeline.report.overview import Overview, overview, overview_html
from pipeline.report.section import Summary
from pipeline.store import open_run
from tests import made_up_run

SECTION = Summary(
    "", facts=(("layers", "2"),), links=(("a.html", "of 2"),), legend="how", body="what"
)


def _overview(url: str) -> Overview:
    return overview(open_run(url), [SECTION, Summary("")])


def test_overview_names_the_run_and_the_sections_facts_among_its_own(tmp_path: Path):
    url = made_up_run.scan(tmp_path / "run", {"conv1": 2})
    made_up_run.project(url, {"conv1": 2})
    page = _overview(url)
    facts = dict(page.facts)
    assert (page.title, page.run) == ("made_up", url)
    assert (facts["images"], facts["rejected"], facts["layers"]) == ("40", "2", "2")
    assert made_up_run.PROVENANCE.created_at == "2026-11-24T03:00:00Z"
    assert facts["projected"] == "2026-11-24 03:00 UTC"
    assert list(facts) == [
        "data", "images", "rejected", "layers", "weights", "precision", "scanned", "projected"
    ]  # fmt: skip


def test_overview_without_projections_gives_no_date_of_them(tmp_path: Path):
    page = _overview(made_up_run.scan(tmp_path / "run", {"conv1": 2}))
    assert "projected" not in dict(page.facts)


def test_overview_shows_no_credentials(tmp_path: Path):
    run = open_run(made_up_run.scan(tmp_path / "run", {"conv1": 2}))
    run.manifest("scan")
    page = overview(replace(run, url=f"file://u:secret@host{tmp_path}/run"), ())
    assert "secret" not in repr(page)


def test_overview_html_puts_links_above_the_legend_and_the_body_below(tmp_path: Path):
    html = overview_html(_overview(made_up_run.scan(tmp_path / "run", {"conv1": 2})))
    places = [html.index(words) for words in ('<a href="a.html">of 2</a>', "how", "what")]
    assert places == sorted(places)
