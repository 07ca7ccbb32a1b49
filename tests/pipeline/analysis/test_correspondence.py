from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.analysis.correspondence import SignCounts, box_in_pixels, hamming, random_box
from schemas.arrays import Floats


def by_pairs(eps: Floats) -> int:
    """The definition: over ordered pairs, the positions at which the signs differ."""
    signs = np.sign(eps)
    pairs = [(i, j) for i in range(len(eps)) for j in range(len(eps)) if i != j]
    return sum(int((signs[i] != signs[j]).sum()) for i, j in pairs)


@pytest.mark.parametrize("images", [2, 3, 11])
def test_hamming_of_counts_is_the_sum_over_pairs(images: int):
    random = np.random.default_rng(images)
    clean, masked = random.integers(-1, 2, (2, images, 40)).astype(np.float64)
    counts = SignCounts(2, 40, torch.device("cpu"))

    for x, hidden in zip(clean, masked, strict=True):
        counts.add(torch.tensor([1]), torch.tensor(x[None]), torch.tensor(hidden[None]))

    positive, negative = (each[1].long().numpy() for each in (counts.positive, counts.negative))
    assert hamming(images, positive, negative) == by_pairs(clean - masked)
    assert counts.positive[0].sum() == counts.negative[0].sum() == 0


def test_hamming_counts_a_zero_against_one_as_much_as_opposite_signs():
    def pair(*signs: int) -> int:
        up, down = sum(sign > 0 for sign in signs), sum(sign < 0 for sign in signs)
        return hamming(2, np.array([up]), np.array([down]))

    assert (pair(0, 1), pair(-1, 1), pair(0, -1)) == (2, 2, 2)
    assert (pair(0, 0), pair(1, 1), pair(-1, -1)) == (0, 0, 0)


def test_sign_of_a_difference_that_is_no_number_is_zero():
    counts = SignCounts(1, 3, torch.device("cpu"))

    x = torch.tensor([[torch.nan, torch.inf, torch.inf]])
    counts.add(torch.tensor([0]), x, torch.tensor([[1.0, torch.inf, 1.0]]))

    assert counts.positive.tolist() == [[0, 0, 1]]
    assert counts.negative.tolist() == [[0, 0, 0]]


@pytest.mark.parametrize(
    ("edges", "box"),
    [
        ((1.2, 2.0, 3.1, 4.0), (1, 2, 4, 4)),
        ((-3.5, 5.0, 2.0, 99.0), (0, 5, 2, 24)),
        ((0.2, 0.2, 0.3, 0.3), (0, 0, 1, 1)),
        ((-4.0, 0.0, 0.0, 9.0), None),
        ((3.0, 24.0, 9.0, 30.0), None),
    ],
)
def test_box_in_pixels_is_what_it_touches_of_the_frame(
    edges: tuple[float, float, float, float], box: tuple[int, int, int, int] | None
):
    assert box_in_pixels(edges, 24) == box


def test_random_box_keeps_the_size_and_reaches_every_place():
    places = [random_box((3, 4, 6, 9), 8, 0, 5, "nose", draw) for draw in range(400)]

    assert {(y1 - y0, x1 - x0) for y0, x0, y1, x1 in places} == {(3, 5)}
    assert {(y0, x0) for y0, x0, _, _ in places} == {(y, x) for y in range(6) for x in range(4)}


def test_random_box_depends_on_seed_image_part_and_draw_alone():
    def places(seed: int = 0, image_id: int = 5, part: str = "nose") -> list[tuple[int, ...]]:
        return [random_box((0, 0, 4, 4), 64, seed, image_id, part, draw) for draw in range(6)]

    assert places() == places()
    assert places() != places(seed=1)
    assert places() != places(image_id=6)
    assert places() != places(part="eye")
    assert random_box((0, 0, 9, 9), 9, 2**63 - 1, 0, "é", 0) == (0, 0, 9, 9)
