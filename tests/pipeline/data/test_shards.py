"""Shards are disjoint, complete and in order, for every small case."""

from __future__ import annotations

import pytest

from pipeline.data.shards import default_shard_size, shard_plan
from schemas.errors import SpecError


def test_shard_plan_of_every_small_case_covers_each_image_once():
    for images in range(60):
        for size in range(1, 65):
            shards = shard_plan(images, shard_size=size)

            assert [i for s in shards for i in range(s.start, s.stop)] == list(range(images))
            assert [s.index for s in shards] == list(range(len(shards)))
            assert all(s.stop - s.start == size for s in shards[:-1])
            assert all(1 <= s.stop - s.start <= size for s in shards)
            assert all(s.excluded == () for s in shards)


@pytest.mark.parametrize(("images", "size"), [(-1, 4), (10, 0), (10, -3)])
def test_shard_plan_of_impossible_numbers_is_refused(images: int, size: int):
    with pytest.raises(SpecError, match="shard_size >= 1"):
        shard_plan(images, shard_size=size)


@pytest.mark.parametrize(
    ("images", "batch_size", "expected"),
    [
        (0, 64, 64),
        (604, 64, 64),
        (1_000, 8, 32),
        (2_048, 64, 64),
        (2_049, 64, 128),
        (50_000, 64, 1_600),
        (1_281_167, 64, 4_096),
        (1_281_167, 60, 4_080),
        (1_281_167, 5_000, 5_000),
        (10, 5_000, 5_000),
    ],
)
def test_default_shard_size_is_a_32nd_in_whole_batches(images: int, batch_size: int, expected: int):
    assert default_shard_size(images, batch_size) == expected


def test_default_shard_size_is_a_multiple_between_one_batch_and_the_cap():
    for images in range(0, 5_000, 37):
        for batch_size in range(1, 130, 7):
            size = default_shard_size(images, batch_size)

            assert size % batch_size == 0
            assert batch_size <= size <= max(batch_size, 4096)
            if size < 4096 // batch_size * batch_size:
                assert 32 * size >= images
                assert size == batch_size or 32 * (size - batch_size) < images
