from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.analysis.occlusion.patched_map import LOWEST, ZERO, PatchedMap, gather_index
from pipeline.analysis.occlusion.plan import Area


def area(places: list[tuple[int, int]], height: int, width: int) -> Area:
    top, left = (np.array(edge, dtype=np.int64) for edge in zip(*places, strict=True))
    return Area(top, left, height, width)


def by_hand(
    clean: torch.Tensor, changed: torch.Tensor, own: Area, wanted: Area, outside: float
) -> torch.Tensor:
    """[n, C, H, W] maps with the changed areas pasted, padded widely and cut."""
    cut = []
    for i in range(len(own.top)):
        whole = clean[0].clone()
        y, x = own.top[i], own.left[i]
        whole[:, y : y + own.height, x : x + own.width] = changed[i]
        wide = torch.full((whole.shape[0], 40, 40), outside, dtype=whole.dtype)
        wide[:, 15 : 15 + whole.shape[1], 15 : 15 + whole.shape[2]] = whole
        y, x = wanted.top[i] + 15, wanted.left[i] + 15
        cut.append(wide[:, y : y + wanted.height, x : x + wanted.width])
    return torch.stack(cut)


@pytest.mark.parametrize(("outside", "value"), [(ZERO, 0.0), (LOWEST, -torch.inf)])
def test_gather_takes_changes_then_the_clean_map_then_padding(outside: int, value: float):
    clean = torch.randn(1, 5, 7, 9)
    own = area([(0, 0), (2, 3), (4, 6)], 3, 3)
    wanted = area([(-2, -1), (1, 2), (3, 4)], 6, 7)
    changed = torch.randn(3, 5, 3, 3)
    patched = PatchedMap((1, 5, 7, 9), (2, 3), capacity=27)
    patched.set_clean(clean)

    patched.set_changed(changed)
    found = patched.gather(gather_index(wanted, own, (7, 9), outside))

    assert torch.equal(found, by_hand(clean, changed, own, wanted, value))
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_gather_of_the_clean_map_alone_sees_no_change():
    clean = torch.randn(1, 2, 6, 6)
    wanted = area([(0, 1), (4, 4)], 2, 2)
    patched = PatchedMap((1, 2, 6, 6), (2, 3), capacity=0)
    patched.set_clean(clean)

    found = patched.gather(gather_index(wanted, None, (6, 6), ZERO))

    assert torch.equal(found[0], clean[0, :, 0:2, 1:3])
    assert torch.equal(found[1], clean[0, :, 4:6, 4:6])


def test_set_clean_again_replaces_the_map_of_the_frame_before():
    patched = PatchedMap((1, 1, 3, 3), (2, 3), capacity=0)
    index = gather_index(area([(0, 0)], 3, 3), None, (3, 3), ZERO)
    patched.set_clean(torch.zeros(1, 1, 3, 3))

    patched.set_clean(torch.ones(1, 1, 3, 3))

    assert patched.gather(index).sum() == 9


def test_gather_keeps_another_layout_of_the_value():
    """As ConvNeXt keeps its maps: channels last in the shape itself."""
    clean = torch.randn(1, 4, 5, 6)
    changed = torch.randn(2, 2, 2, 6)
    own, wanted = area([(0, 0), (2, 3)], 2, 2), area([(0, 0), (1, 1)], 3, 4)
    patched = PatchedMap((1, 4, 5, 6), (1, 2), capacity=8)
    patched.set_clean(clean)
    patched.set_changed(changed)

    found = patched.gather(gather_index(wanted, own, (4, 5), ZERO))

    standard = by_hand(clean.permute(0, 3, 1, 2), changed.permute(0, 3, 1, 2), own, wanted, 0.0)
    assert torch.equal(found, standard.permute(0, 2, 3, 1))
