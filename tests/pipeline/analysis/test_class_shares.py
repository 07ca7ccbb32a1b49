from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from pipeline.analysis.class_shares import chance_selectivity, class_shares

IMAGES = {"cat": 10, "dog": 30, "car": 60}


def test_counts_are_the_most_frequent_first_and_ties_the_strongest_first():
    found = class_shares(["car", "cat", "dog", "dog", "cat", "dog"], IMAGES)
    assert found is not None
    assert found.counts == (("dog", 3), ("cat", 2), ("car", 1))
    tied = class_shares(["car", "cat", "cat", "car"], IMAGES)
    assert tied is not None
    assert tied.counts == (("car", 2), ("cat", 2))


def test_share_and_lift_weigh_the_class_against_the_data_set():
    found = class_shares(["cat", "cat", "cat", "dog"], IMAGES)
    assert found is not None
    assert (found.patches, found.share) == (4, 0.75)
    assert found.lift == pytest.approx(7.5)
    all_cars = class_shares(["car"] * 9, {"car": 90, "cat": 10})
    assert all_cars is not None
    assert all_cars.lift == pytest.approx(1 / 0.9), "nine of a class that nearly all images have"


@pytest.mark.parametrize(
    ("patches", "images", "selectivity"),
    [
        (["cat"] * 9, IMAGES, 1.0),
        (["cat", "dog", "car"] * 3, IMAGES, 0.0),
        (list(range(9)), dict.fromkeys(range(1000), 1), 0.0),
        (["cat", "cat", "dog", "dog"], IMAGES, 1 - np.log(2) / np.log(3)),
        (["cat", "dog"], IMAGES, 0.0),
        (["cat"], IMAGES, None),
        (["cat", "cat"], {"cat": 5}, None),
    ],
)
def test_selectivity_is_one_less_the_evenness(
    patches: list[object], images: dict[object, int], selectivity: float | None
):
    found = class_shares(patches, images)
    assert found is not None
    assert found.selectivity == (None if selectivity is None else pytest.approx(selectivity))


def test_selectivity_equals_the_definition_over_random_patches():
    """Float64, over a vector of all classes' probabilities; the largest deviation is printed."""
    random = np.random.default_rng(0)
    worst = 0.0
    for _ in range(500):
        classes, patches = int(random.integers(2, 30)), int(random.integers(2, 20))
        own = random.integers(0, int(random.integers(1, classes + 1)), patches)
        p = np.bincount(own, minlength=classes) / patches
        entropy = -np.sum(np.where(p > 0, p * np.log2(np.where(p > 0, p, 1)), 0))
        wanted = 1 - entropy / np.log2(min(patches, classes))
        found = class_shares(own.tolist(), dict.fromkeys(range(classes), 3))
        assert found is not None
        assert found.selectivity is not None
        assert 0 <= found.selectivity <= 1
        assert found.share == p.max()
        assert found.lift == pytest.approx(p.max() * classes)
        worst = max(worst, abs(found.selectivity - wanted))
    print(f"largest deviation {worst:.1e}")
    assert worst < 1e-14


def test_class_shares_without_a_class_are_none():
    assert class_shares([], IMAGES) is None


@pytest.mark.parametrize("patches", [2, 3, 5])
@pytest.mark.parametrize("sizes", [(3, 3, 3), (1, 2, 5), (1,) * 8])
def test_chance_selectivity_is_the_mean_over_all_draws(patches: int, sizes: tuple[int, ...]):
    images = [name for name, size in enumerate(sizes) for _ in range(size)]
    drawn = [class_shares(own, Counter(images)) for own in combinations(images, patches)]
    wanted = np.mean([one.selectivity for one in drawn if one is not None])

    assert chance_selectivity(patches, sizes) == pytest.approx(wanted, abs=1e-12)


def test_chance_selectivity_of_many_images_of_many_classes_is_a_number():
    assert chance_selectivity(9, [1300] * 1000) == pytest.approx(0.0025, abs=1e-3)
    assert chance_selectivity(9, [60] * 10) == pytest.approx(0.2, abs=0.05)


@pytest.mark.parametrize(("patches", "sizes"), [(1, [3, 4]), (0, [3, 4]), (3, [9])])
def test_chance_selectivity_is_none_where_the_index_is(patches: int, sizes: list[int]):
    assert chance_selectivity(patches, sizes) is None
