"""A crop equals the same slice of a padded map, and pasting back is its transpose."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.models.crops import crop, paste

STARTS = [(-4, 0), (0, -2), (2, 3), (6, 5), (-9, 1), (3, 40)]
"""Inside, over every edge, larger than what is left, and wholly outside an 8 by 7 map."""
EDGE = 60


def starts_of(pairs: list[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    return torch.tensor([y for y, _ in pairs]), torch.tensor([x for _, x in pairs])


@pytest.mark.parametrize("dims", [(2, 3), (1, 2), (3, 4)])
@pytest.mark.parametrize("fill", [0.0, -7.0])
def test_take_equals_a_slice_of_the_padded_map(dims: tuple[int, int], fill: float):
    shape = [3, 2, 2, 2, 2][: dims[1] + 2]
    shape[dims[0]], shape[dims[1]] = 8, 7
    maps = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    rows = [0, 2, 1, 1, 0, 2]
    padding = [(EDGE, EDGE) if dim in dims else (0, 0) for dim in range(len(shape))]
    padded = np.pad(maps.numpy(), padding, constant_values=fill)

    found = crop(maps, dims, starts_of(STARTS), (4, 5), rows, fill)

    for one, row, (y, x) in zip(found, rows, STARTS, strict=True):
        wanted = padded[row].take(range(y + EDGE, y + EDGE + 4), dims[0] - 1)
        wanted = wanted.take(range(x + EDGE, x + EDGE + 5), dims[1] - 1)
        assert torch.equal(one, torch.from_numpy(wanted)), (y, x)


def test_take_keeps_pixels_as_bytes():
    frames = torch.randint(0, 256, (1, 3, 6, 6), dtype=torch.uint8)

    found = crop(frames, (2, 3), starts_of([(4, -1)]), (3, 3), [0], fill=128)

    assert found.dtype == torch.uint8
    assert torch.equal(found[0, :, :2, 1:], frames[0, :, 4:, :2])
    assert found[0, :, 2].unique().tolist() == [128]


@pytest.mark.parametrize("dims", [(2, 3), (1, 2)])
def test_paste_is_the_transpose_of_crop(dims: tuple[int, int]):
    shape = [len(STARTS), 2, 2, 2][: dims[1] + 1]
    shape[dims[0]], shape[dims[1]] = 4, 5
    generator = torch.Generator().manual_seed(2)
    parts = torch.randn(shape, generator=generator, dtype=torch.float64)

    found = paste(parts, dims, starts_of(STARTS), (8, 7))

    maps = torch.randn(found.shape, generator=generator, dtype=torch.float64)
    cut = crop(maps, dims, starts_of(STARTS), (4, 5), range(len(STARTS)))
    each = tuple(range(1, parts.dim()))
    assert torch.allclose((maps * found).sum(each), (cut * parts).sum(each), atol=1e-12)
    assert found[4:].abs().sum() == 0, "what lies outside is dropped"
