"""A layout tells for every element of a value the pixels that fed it, whatever moved it there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.models.operations import Window
from pipeline.models.receptive_field import Axis, Layout, coordinates, read_coordinates

ROWS, COLUMNS = 6, 4


def axis(dim: int | None, stride: int, low: list[int], size: int) -> Axis:
    lows = np.array(low, dtype=np.int64)
    return Axis(dim, stride, lows, lows + size)


def maps(channels: int, first: int = 0, stride: int = 2) -> Layout:
    """[1, channels, 6, 4]; every channel sees another part of the frame."""
    low = [first - 3 * c for c in range(channels)]
    down, across = axis(2, stride, low, 5), axis(3, stride + 1, [v + 1 for v in low], 7)
    return Layout((1, channels, ROWS, COLUMNS), (1,), down, across)


def boxes(layout: Layout) -> Tensor:
    """y0, x0, y1, x1 of every element, [4, *shape], one element at a time."""
    result = torch.zeros((4, *layout.shape), dtype=torch.int64)
    for place in np.ndindex(*layout.shape):
        channel = tuple(place[dim] for dim in layout.channel_dims)
        for row, side in enumerate((layout.down, layout.across)):
            start = 0 if side.dim is None else place[side.dim] * side.stride
            result[(row, *place)] = start + int(side.low[channel])
            result[(row + 2, *place)] = start + int(side.high[channel])
    return result


def moved(operation: Callable[..., Any], *layouts: Layout) -> Any:
    """The operation on each layout's coordinates, as the tracer runs it."""
    places = coordinates(list(layouts))
    results = [operation(*(place[i : i + 1] for place in places)) for i in range(3)]
    if isinstance(results[0], Tensor):
        return torch.stack(results)
    return [torch.stack(pieces) for pieces in zip(*results, strict=True)]


def shuffle(value: Tensor) -> Tensor:
    n, c, h, w = value.shape
    return value.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


MOVES: dict[str, Callable[[Tensor], Tensor]] = {
    "channel shuffle": shuffle,
    "half a channel shuffle": lambda v: v.view(1, 2, 2, ROWS, COLUMNS).transpose(1, 2),
    "chunk": lambda v: v.chunk(2, dim=1)[1],
    "split": lambda v: v.split([1, 3], dim=1)[1],
    "channels last": lambda v: v.permute(0, 2, 3, 1),
    "turned": lambda v: v.transpose(2, 3),
    "one channel": lambda v: v[:, 2],
    "one channel kept": lambda v: v[:, 2].unsqueeze(1),
    "chosen channels": lambda v: v[:, [3, 0]],
    "flipped channels": lambda v: v.flip(1),
    "cut rows": lambda v: v[:, :, 1:5],
    "every other column": lambda v: v[:, :, :, 1::2],
    "one row": lambda v: v[:, :, 3],
    "one place": lambda v: v[:, :, 3, 1],
    "flattened": lambda v: v.flatten(1),
    "flattened channels last": lambda v: v.permute(0, 2, 3, 1).flatten(1),
    "more dimensions": lambda v: v.unsqueeze(1).unsqueeze(-1),
    "channels twice": lambda v: torch.cat([v, v], 1),
    "moved": lambda v: v.movedim(1, 3),
}  # fmt: skip


@pytest.mark.parametrize("name", MOVES)
def test_read_coordinates_of_a_move_keep_every_elements_box(name: str):
    source = maps(4)

    layout = read_coordinates(moved(MOVES[name], source), [source])

    wanted = torch.stack([MOVES[name](plane) for plane in boxes(source)])
    assert layout.shape == tuple(wanted.shape[1:])
    assert torch.equal(boxes(layout), wanted)


JOINS: dict[str, Callable[..., Tensor]] = {
    "cat": lambda a, b: torch.cat([a, b], 1),
    "cat in turns": lambda a, b: torch.cat([b[:, :1], a, b[:, 1:]], 1),
    "stack": lambda a, b: torch.stack([a, b], 2),
}  # fmt: skip


@pytest.mark.parametrize("name", JOINS)
def test_read_coordinates_of_joined_branches_keep_each_ones_boxes(name: str):
    sources = [maps(3), maps(3, first=11)]

    layout = read_coordinates(moved(JOINS[name], *sources), sources)

    planes = zip(*(boxes(source) for source in sources), strict=True)
    wanted = torch.stack([JOINS[name](*pair) for pair in planes])
    assert torch.equal(boxes(layout), wanted)


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        (lambda v: v.flatten(2), "strings the positions together"),
        (lambda v: v.view(1, 4, 2, 3, COLUMNS), "splits the positions"),
        (lambda v: v[:, :, [0, 2, 1]], "reorders the positions"),
    ],
)
def test_read_coordinates_of_lost_positions_say_why(operation: Any, reason: str):
    source = maps(4)

    assert read_coordinates(moved(operation, source), [source]) == reason


def test_read_coordinates_of_unlike_strides_say_why():
    sources = [maps(2), maps(2, stride=4)]

    assert (
        read_coordinates(moved(JOINS["cat"], *sources), sources) == "joins maps of unlike strides"
    )


def test_coordinates_number_channels_through_all_fields():
    first, second = coordinates([maps(2), maps(3)])

    assert (first.shape, second.shape) == ((3, 2, ROWS, COLUMNS), (3, 3, ROWS, COLUMNS))
    assert first[0, :, 0, 0].tolist() == [0, 1]
    assert second[0, :, 5, 3].tolist() == [2, 3, 4]
    assert second[:, 1, 5, 3].tolist() == [3, 5, 3]


def test_axis_through_a_window_grows_and_coarsens():
    """Worked out by hand: three taps, two apart, each two pixels; two positions of padding."""
    before = axis(2, 2, [-1, 5], 4)

    after = before.through(Window(size=3, stride=3, padding=2, dilation=2), positions=7)

    assert (after.dim, after.stride) == (2, 6)
    assert after.low.tolist() == [-5, 1]
    assert after.high.tolist() == [3 - 4 + 8, 9 - 4 + 8]


def test_axis_through_a_window_to_one_position_has_no_dimension():
    assert axis(2, 2, [0], 4).through(Window(3, 1, 0, 1), positions=1).dim is None


def test_axis_hull_is_the_hull_of_each_channel():
    union = axis(2, 2, [0, 10], 4).hull(axis(2, 2, [-3, 12], 5))

    assert (union.low.tolist(), union.high.tolist()) == ([-3, 10], [4, 17])


def test_axis_mixed_is_the_hull_of_each_group():
    mixed = axis(2, 2, [0, 10, 3, 4], 4).mixed(groups=2, out_channels=6)

    assert mixed.low.tolist() == [0, 0, 0, 3, 3, 3]
    assert mixed.high.tolist() == [14, 14, 14, 8, 8, 8]


def test_axis_over_neighbours_is_the_hull_of_each_channels_neighbours():
    spread = axis(2, 2, [0, 10, 3, 4], 4).over_neighbours(before=2, after=1)

    assert spread.low.tolist() == [0, 0, 0, 3]
    assert spread.high.tolist() == [14, 14, 14, 14]


def test_field_of_maps_tells_its_layout():
    layout = maps(4)

    assert (layout.channels, layout.map_size) == (4, (ROWS, COLUMNS))
    assert layout.is_standard
    assert layout.readable


def test_field_of_other_layouts_is_not_standard():
    source = maps(4)
    last = read_coordinates(moved(MOVES["channels last"], source), [source])
    half = read_coordinates(moved(MOVES["half a channel shuffle"], source), [source])
    flat = read_coordinates(moved(MOVES["flattened"], source), [source])

    assert [layout.is_standard for layout in (last, half, flat)] == [False] * 3
    assert [layout.readable for layout in (last, half, flat)] == [True, False, True]
    assert (half.channels, half.map_size) == (4, (ROWS, COLUMNS))
    assert (flat.channels, flat.map_size) == (4 * ROWS * COLUMNS, (1, 1))


def test_layout_is_aligned_only_with_the_same_positions():
    source = maps(4)
    turned = read_coordinates(moved(MOVES["turned"], source), [source])

    assert source.aligned_with(maps(4, first=9))
    assert not source.aligned_with(maps(4, stride=4))
    assert not source.aligned_with(turned)
    square = Layout((1, 4, 4, 4), (1,), axis(2, 2, [0] * 4, 3), axis(3, 2, [0] * 4, 3))
    across = Layout((1, 4, 4, 4), (1,), axis(3, 2, [0] * 4, 3), axis(2, 2, [0] * 4, 3))
    assert not square.aligned_with(across)
