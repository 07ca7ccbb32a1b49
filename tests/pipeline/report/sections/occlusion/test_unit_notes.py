from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.report.section import NotePicture
from pipeline.report.sections.occlusion.unit_notes import occlusion_notes
from pipeline.store import open_run
from tests import made_up_run


@pytest.mark.parametrize(("images", "shown"), [([3], 1), (list(range(9)), 6)])
def test_occlusion_notes_are_of_the_watched_unit_alone(
    tmp_path: Path, images: list[int], shown: int
):
    url = made_up_run.scan(tmp_path / "run", {"conv1": 3, "conv2": 2})
    made_up_run.occlude(url, images, windows=((8, 4), (16, 5)))
    run = open_run(url)

    notes = occlusion_notes(run, "conv1", made_up_run.FRAME_PX)

    assert occlusion_notes(run, "conv2", made_up_run.FRAME_PX) == {}
    assert notes.keys() == {0}
    noun = "1 image" if len(images) == 1 else f"{len(images)} images"
    assert f"strongest map of {noun} of the {len(images)} that were occluded" in notes[0].words
    assert ("those 6 whose p falls furthest" in notes[0].words) == (len(images) > shown)
    assert len(notes[0].pictures) == shown


def test_occlusion_notes_show_the_largest_drops_and_lead_to_their_pages(tmp_path: Path):
    """A drop is smaller by a thousandth of the image's id; of equal windows the first counts."""
    url = made_up_run.scan(tmp_path / "run", {"conv1": 3})
    made_up_run.occlude(url, [5, 8], windows=((8, 4), (16, 5)))

    pictures = occlusion_notes(open_run(url), "conv1", 32)[0].pictures

    assert pictures == (
        NotePicture(
            "occlusion/000005-0-activity.webp",
            32,
            32,
            "thing 5: p falls by 0.495 of 0.75",
            "occlusion/000005.html",
            pixels=True,
        ),
        NotePicture(
            "occlusion/000008-0-activity.webp",
            32,
            32,
            "image8.png: p falls by 0.492 of 0.75",
            "occlusion/000008.html",
            pixels=True,
        ),
    )
