"""The running top k equals a sort of everything, whatever the split, ties and bad values."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from pipeline.analysis.topk import TopPatches, cut_to_top, find_peaks
from tests.reference import top_peaks

CPU = torch.device("cpu")
LEVELS = st.sampled_from([-2.0, -0.5, -0.0, 0.0, 1.0, 1.0, 3.0, np.nan, np.inf, -np.inf])
MAPS = hnp.array_shapes(min_dims=4, max_dims=4, max_side=5).flatmap(
    lambda shape: hnp.arrays(np.float32, shape, elements=LEVELS)
)


def feed(top: TopPatches, maps: torch.Tensor, image_ids: Sequence[int]) -> None:
    """Take in a batch as the scan does: only finite maxima are eligible."""
    peaks = find_peaks(maps)
    top.update(maps, peaks, torch.isfinite(peaks.maxima), torch.tensor(image_ids))


def rows(top: TopPatches, width: int) -> list[list[tuple[float, int, int, int]]]:
    """(value, image_id, y, x) of each unit's taken places."""
    found = []
    for values, ids, positions in zip(
        top.values.t().tolist(), top.image_ids.t().tolist(), top.positions.t().tolist(), strict=True
    ):
        places = [divmod(position, width) for position in positions]
        every = [(v, i, *place) for v, i, place in zip(values, ids, places, strict=True)]
        found.append([row for row in every if row[0] > -np.inf])
    return found


def expected(maps: NDArray[np.float32], k: int) -> list[list[tuple[float, int, int, int]]]:
    peaks = top_peaks(enumerate(maps), k, above_zero=False)
    return [[(one.value, one.image_id, one.y, one.x) for one in unit] for unit in peaks]


@settings(max_examples=80)
@given(
    maps=MAPS,
    k=st.integers(1, 8),
    cuts=st.sets(st.integers(1, 4)),
    layout=st.sampled_from([torch.contiguous_format, torch.channels_last]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_top_patches_in_any_batches_equal_a_sort_of_everything(
    maps: NDArray[np.float32],
    k: int,
    cuts: set[int],
    layout: torch.memory_format,
    dtype: torch.dtype,
):
    count, units, _, width = maps.shape
    top = TopPatches(units, k, CPU)
    for start, stop in pairwise(sorted({0, count} | {cut for cut in cuts if cut < count})):
        batch = torch.from_numpy(maps[start:stop]).to(dtype).contiguous(memory_format=layout)
        feed(top, batch, range(start, stop))

    assert rows(top, width) == expected(maps, k)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), k=st.integers(1, 12), size=st.integers(1, 9))
def test_top_patches_of_bf16_maps_rank_what_bf16_holds(seed: int, k: int, size: int):
    random = torch.Generator().manual_seed(seed)
    maps = torch.randn((20, 3, 4, 6), generator=random).to(torch.bfloat16)
    maps = maps.contiguous(memory_format=torch.channels_last)
    top = TopPatches(3, k, CPU)
    for start in range(0, 20, size):
        feed(top, maps[start : start + size], range(start, min(20, start + size)))

    assert rows(top, 6) == expected(maps.float().numpy(), k)


def test_top_patches_leave_out_what_is_not_eligible():
    maps = torch.tensor([5.0, 4.0, 3.0, 2.0]).view(4, 1, 1, 1)
    eligible = torch.tensor([[False], [True], [False], [True]])
    top = TopPatches(1, 3, CPU)
    top.update(maps, find_peaks(maps), eligible, torch.tensor([0, 1, 2, -1]))

    assert rows(top, 1) == [[(4.0, 1, 0, 0), (2.0, -1, 0, 0)]]


def test_top_patches_of_nothing_eligible_stay_empty():
    top = TopPatches(2, 3, CPU)
    feed(top, torch.full((4, 2, 3, 3), torch.nan), range(4))

    assert rows(top, 3) == [[], []]


def test_top_patches_first_maximum_is_by_row_then_column():
    maps = torch.zeros(1, 1, 3, 4)
    maps[0, 0, 1, 3] = maps[0, 0, 2, 0] = 7
    for layout in (torch.contiguous_format, torch.channels_last):
        top = TopPatches(1, 1, CPU)
        feed(top, maps.contiguous(memory_format=layout), [5])
        assert rows(top, 4) == [[(7.0, 5, 1, 3)]]


def test_find_peaks_gives_the_raw_value_and_shows_nan():
    maps = torch.full((2, 2, 2, 2), -3.0, dtype=torch.bfloat16)
    maps[0, 1, 1, 0] = torch.nan
    maps[1, 0, 0, 1] = 0.75
    found = find_peaks(maps).maxima

    assert found.dtype == torch.float32
    torch.testing.assert_close(
        found, torch.tensor([[-3.0, torch.nan], [0.75, -3.0]]), rtol=0, atol=0, equal_nan=True
    )


@settings(max_examples=80)
@given(
    candidates=st.lists(
        st.tuples(
            st.integers(0, 3), st.sampled_from([-1.0, -0.0, 0.0, 0.5, 2.0]), st.integers(0, 30)
        ),
        max_size=40,
        unique_by=lambda row: (row[0], row[2]),
    ),
    k=st.integers(1, 6),
)
def test_cut_to_top_equals_a_sort_of_each_slot(candidates: list[tuple[int, float, int]], k: int):
    columns = np.array(candidates, np.float64).reshape(-1, 3)
    slots, ids = columns[:, [0, 2]].T.astype(np.int64)
    kept, ranks = cut_to_top(slots, columns[:, 1].astype(np.float32), ids, k=k)

    wanted = []
    for slot in range(4):
        of_slot = [row for row in candidates if row[0] == slot]
        best = sorted(of_slot, key=lambda row: (-row[1], row[2]))[:k]
        wanted += [(*row, rank) for rank, row in enumerate(best, start=1)]
    found = [(*candidates[index], rank) for index, rank in zip(kept, ranks, strict=True)]
    assert found == wanted


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_top_patches_on_a_gpu_equal_those_on_the_cpu():
    random = torch.Generator().manual_seed(0)
    maps = torch.randint(-3, 4, (24, 5, 3, 4), generator=random).float()
    maps[3, 1] = torch.nan
    tops = [TopPatches(5, 6, device) for device in (CPU, torch.device("cuda"))]
    for start in range(0, 24, 8):
        for top in tops:
            batch = maps[start : start + 8].to(top.values.device)
            peaks = find_peaks(batch)
            ids = torch.arange(start, start + 8, device=batch.device)
            top.update(batch, peaks, torch.isfinite(peaks.maxima), ids)

    assert rows(tops[1], 4) == rows(tops[0], 4)
