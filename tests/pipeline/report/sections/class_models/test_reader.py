from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from pipeline.report.sections.class_models.reader import (
    Shown,
    enlarged,
    pixelated,
    read_models,
    shown_targets,
)
from pipeline.store import open_run
from schemas.errors import StoreError
from tests import made_up_run
from tests.class_models_pictures import class_models, colour_of

LAYERS = {"conv1": 4, "fc": 10}


def _run(folder: Path, **more: object) -> str:
    url = made_up_run.scan(folder / "run", LAYERS)
    class_models(url, [("conv1", 1), ("conv1", 3), ("fc", 1), ("fc", 6)], **more)  # type: ignore[arg-type]
    return url


def test_shown_targets_are_classes_first(tmp_path: Path):
    found = shown_targets(open_run(_run(tmp_path)))
    assert found == [
        Shown("fc", 1, is_class=True), Shown("fc", 6, is_class=True),
        Shown("conv1", 1, is_class=False), Shown("conv1", 3, is_class=False),
    ]  # fmt: skip


def test_read_models_gives_every_start_in_the_order_asked(tmp_path: Path):
    run = open_run(_run(tmp_path, starts=2))
    first, second = read_models(run, [shown_targets(run)[at] for at in (3, 0)])
    assert (first.title, second.title) == ("conv1:3", "thing 1")
    assert [each.start for each in second.starts] == [0, 1]
    for each in first.starts:
        assert each.picture.getpixel((5, 5)) == colour_of(3, each.start)
        assert each.curve == ((0, 0.5, 1.5), (4, 6.0, 1.5), (8, 12.5, 1.5))
    assert dict(first.starts[0].facts) == {"value": "0.5 to 12.5", "penalty": "1.5"}
    facts = dict(second.starts[1].facts)
    assert facts["p of the class"] == "75.0%"
    assert facts["most probable"] == "thing 7"


def test_models_of_another_scan_are_refused(tmp_path: Path):
    run = open_run(_run(tmp_path, of_scan="other"))
    with pytest.raises(StoreError, match="its class models were made from the scan other"):
        shown_targets(run)


def test_enlarged_shows_the_pixels_of_a_small_picture():
    small = Image.new("RGB", (4, 2))
    small.putpixel((0, 0), (250, 0, 0))
    assert pixelated(small, 32)
    assert not pixelated(small, 24)
    shown = enlarged(small, 32)
    assert shown.size == (32, 16)
    assert shown.getpixel((7, 7)) == (250, 0, 0)
    assert shown.getpixel((8, 8)) == (0, 0, 0)
    assert enlarged(Image.new("RGB", (50, 100)), 24).size == (12, 24)
