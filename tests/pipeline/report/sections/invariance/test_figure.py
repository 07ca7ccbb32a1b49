from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.report.sections.invariance.figure import MOST_IMAGES, draw_invariance
from pipeline.report.sections.invariance.reader import InvarianceReader
from pipeline.report.sections.occlusion.heatmaps import PALETTE
from pipeline.store import open_run
from tests import made_up_run
from tests.moved_images import COLOURS, publish


@pytest.fixture
def reader(tmp_path: Path) -> InvarianceReader:
    url = made_up_run.scan(tmp_path / "run", {"conv2": 2, "conv1": 2})
    publish(url, [1, 2, 3, 5, 6, 7])
    return InvarianceReader(open_run(url))


def _draw(reader: InvarianceReader, ids: list[int]) -> np.ndarray:
    return np.asarray(draw_invariance("title", "facts", reader.read(ids), reader.curves(ids)))


def _count(drawn: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((drawn == colour).all(axis=2).sum())


@pytest.mark.parametrize("ids", [[2], [1, 2, 3, 5, 6]])
def test_draw_invariance_shows_the_strips_and_a_line_of_each_image(
    reader: InvarianceReader, ids: list[int]
):
    drawn = _draw(reader, ids)

    strips = [_count(drawn, COLOURS[name]) for name in ("rotation", "scale", "translation")]
    assert strips[0] == strips[2] == strips[1] * 3 / 2 > 5000
    for place, colour in enumerate(PALETTE[:MOST_IMAGES]):
        # The key beside each of three strips, and lines.
        assert (_count(drawn, colour) > 3 * 81) == (place < len(ids))


def test_draw_invariance_has_one_size_whichever_image(reader: InvarianceReader):
    assert _draw(reader, [1]).shape == _draw(reader, [7]).shape
