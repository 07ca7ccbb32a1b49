from __future__ import annotations

from pathlib import Path

from pipeline.report.patch_reader import PatchReader
from pipeline.report.section import Gallery, layer_page
from pipeline.report.sections import DRAWN, PAPER, SECTIONS
from pipeline.store import open_run
from schemas.jobs import JOBS
from tests import made_up_run


def test_layer_page_follows_the_layers_tables():
    row = {"position": 7, "layer": "features.1"}

    assert layer_page(row) == "layers/007-features.1.html"


def test_unit_link_leads_to_layers_of_the_gallery_alone(tmp_path: Path):
    run = open_run(made_up_run.scan(tmp_path / "run", {"conv1": 2, "conv2": 2}))
    layers = run.table("layers", job="scan")
    gallery = Gallery(
        run,
        layers[layers["layer"] == "conv2"],
        16,
        PatchReader(run),
        lambda _name, _data: None,
        lambda *, items: None,  # noqa: ARG005 (the protocol's)
        (),
    )
    assert gallery.unit_link("conv2", 1) == "layers/001-conv2.html#unit-1"
    assert gallery.unit_link("conv1", 1) == ""


def test_sections_are_of_jobs_and_draw_the_picture_of_every_job_that_has_one():
    assert SECTIONS.keys() <= JOBS.keys()
    assert {name for name, job in JOBS.items() if job.figures} == DRAWN.keys()


def test_sections_compose_the_figure_of_the_paper_of_every_job_that_names_one():
    assert {name for name, job in JOBS.items() if job.paper is not None} == PAPER.keys()
    named = [job.paper for job in JOBS.values() if job.paper is not None]
    assert len(named) == len(set(named))
