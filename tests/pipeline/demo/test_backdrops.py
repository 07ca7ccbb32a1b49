"""Backdrops: of the asked size, cluttered, and all kinds of them."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.demo import backdrops
from pipeline.demo.backdrops import draw_backdrop
from pipeline.demo.pen import FINER


@pytest.mark.parametrize("seed", range(12))
def test_backdrop_is_a_cluttered_picture_of_the_asked_size(seed: int):
    image = draw_backdrop(np.random.default_rng(seed), 48)

    assert (image.mode, image.size) == ("RGB", (48 * FINER, 48 * FINER))
    assert np.asarray(image, dtype=float).std(axis=(0, 1)).max() > 5


def test_backdrop_of_one_seed_is_one_picture():
    first, again, other = (draw_backdrop(np.random.default_rng(s), 40) for s in (3, 3, 4))

    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


@pytest.mark.parametrize("kind", ["_meadow", "_wall", "_water", "_dusk"])
def test_every_kind_of_backdrop_turns_up(kind: str, monkeypatch: pytest.MonkeyPatch):
    drawn = []
    paint = getattr(backdrops, kind)
    monkeypatch.setattr(backdrops, kind, lambda rng, side: drawn.append(kind) or paint(rng, side))

    for seed in range(30):
        draw_backdrop(np.random.default_rng(seed), 32)

    assert drawn
