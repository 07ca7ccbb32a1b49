"""Moved frames against their definition in float64, the preset itself, and Pillow."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, functional, v2

from pipeline.data.decode import decode
from pipeline.data.moved_picture import MovedPicture, fill_colour, sources
from pipeline.data.preprocess import to_frame
from schemas.moves import Move
from schemas.specs import PreprocessSpec
from tests import moved_reference as reference

MOVES = [
    Move("translation", -5.0), Move("translation", 2.5), Move("scale", 1.7), Move("scale", 0.6),
    Move("rotation", 30.0), Move("rotation", -100.0), Move("rotation", 180.0),
]  # fmt: skip
CPU = torch.device("cpu")


def noise(height: int, width: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)


def frame(pixels: torch.Tensor, spec: PreprocessSpec, move: Move) -> torch.Tensor:
    return MovedPicture(pixels, spec, "black").frame(move)[0]


def _levels(one: torch.Tensor, other: torch.Tensor) -> int:
    return int((one.int() - other.int()).abs().max())


@pytest.mark.parametrize("move", MOVES, ids=lambda move: f"{move.transform}{move.amount:g}")
@pytest.mark.parametrize(
    ("size", "resized"), [((14, 21), (14, 21)), ((31, 26), (16, 14)), ((9, 8), (15, 14))]
)
@pytest.mark.parametrize("kernel", ["bilinear", "bicubic"])
def test_frame_is_the_definition_rounded(
    move: Move, size: tuple[int, int], resized: tuple[int, int], kernel: str
):
    spec = PreprocessSpec(resize_px=14, crop_px=12, interpolation=kernel)
    pixels = noise(*size)

    found, filled = MovedPicture(pixels, spec, "mean").frame(move)

    wanted = reference.moved(pixels.numpy(), resized, 12, move, (124, 116, 104), kernel)
    # Half a level by rounding; the rest is what fp32 loses.
    assert np.abs(found.numpy() - wanted.values).max() <= 0.5 + 1e-4
    assert filled == wanted.filled


@pytest.mark.parametrize("kernel", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(120, 177), (64, 90), (300, 70), (40, 55)])
def test_frame_of_a_move_by_nothing_is_the_plain_one(kernel: str, size: tuple[int, int]):
    spec = PreprocessSpec(resize_px=64, crop_px=56, interpolation=kernel)
    pixels = noise(*size)

    for move in (Move("translation", 0), Move("scale", 1), Move("rotation", 0)):
        found = frame(pixels, spec, move)

        assert (found != to_frame(pixels, spec)).float().mean() < 2e-3
        assert _levels(found, to_frame(pixels, spec)) <= 1


@pytest.mark.parametrize("move", [-30, -3, 17])
def test_frame_of_a_translation_is_a_lower_or_higher_crop_of_the_resized_photograph(
    shared_data: Path, move: int
):
    spec = PreprocessSpec()
    for file in sorted((shared_data / "photos").iterdir())[::100]:
        pixels = decode(file.read_bytes(), max_pixels=10**7)
        resized = functional.resize(
            pixels, [256], interpolation=InterpolationMode.BILINEAR, antialias=True
        )
        top, left = (round((side - 224) / 2) for side in resized.shape[-2:])
        padded = functional.pad(resized, [0, 64], fill=0)

        wanted = padded[:, top + 64 - move :, left:][:, :224, :224]
        found = frame(pixels, spec, Move("translation", float(move)))
        assert _levels(found, wanted) <= 1
        # Of one that is resized, values halfway between two levels may round to the other one.
        assert (found != wanted).float().mean() <= (0 if min(pixels.shape[1:]) == 256 else 2e-3)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_frame_of_quarter_turns_is_the_plain_one_turned_counter_clockwise(quarters: int):
    spec = PreprocessSpec(resize_px=None, crop_px=16)
    pixels = noise(16, 16)

    turned = frame(pixels, spec, Move("rotation", 90.0 * quarters))

    assert torch.equal(turned, torch.rot90(pixels, quarters, (1, 2)))


@pytest.mark.parametrize("degrees", [10.0, 45.0, 200.0])
def test_frame_of_a_turn_is_that_of_pillow_and_torchvision(degrees: float):
    spec = PreprocessSpec(resize_px=None, crop_px=64)
    pixels = noise(64, 64, seed=3)
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    # Output to input, columns first: the same turn about the middle.
    there = (cosine, -sine, 32 - 32 * (cosine - sine), sine, cosine, 32 - 32 * (sine + cosine))

    found = frame(pixels, spec, Move("rotation", degrees))

    picture = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    pillow = picture.transform((64, 64), Image.Transform.AFFINE, there, Image.Resampling.BILINEAR)
    wanted = torch.from_numpy(np.array(pillow)).permute(2, 0, 1)
    assert _levels(found, wanted) <= 1
    other = v2.functional.affine(
        pixels, -degrees, [0, 0], 1.0, [0.0, 0.0], interpolation=InterpolationMode.BILINEAR
    )
    # It lets the black beyond the border in, so the turned border differs.
    inside = _inside(degrees, 64, margin=1.0)
    assert int(((found.int() - other.int()).abs() * inside).max()) <= 1


def _inside(degrees: float, side: int, margin: float) -> torch.Tensor:
    inside = torch.ones(side, side, dtype=torch.bool)
    for at in sources(Move("rotation", degrees), side, CPU):
        inside &= (at >= margin) & (at <= side - margin)
    return inside


@pytest.mark.parametrize("factor", [1.3, 1.8])
def test_frame_of_a_scale_has_the_detail_of_the_picture_as_pillow_resizes_a_box_of_it(
    factor: float,
):
    spec = PreprocessSpec(resize_px=64, crop_px=64)
    pixels = noise(160, 160, seed=5)

    found = frame(pixels, spec, Move("scale", factor))

    edge = 80 - 80 / factor
    picture = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    box = (edge, edge, 160 - edge, 160 - edge)
    resized = np.array(picture.resize((64, 64), Image.Resampling.BILINEAR, box=box))
    # Pillow's box ends at the cut, and it rounds between the axes.
    within = (slice(None), slice(2, -2), slice(2, -2))
    wanted = torch.from_numpy(resized).permute(2, 0, 1)
    assert _levels(found[within], wanted[within]) <= 1


def test_frame_of_a_large_photograph_is_near_the_one_without_means_of_blocks(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch
):
    file = sorted((shared_data / "photos").iterdir())[0]
    small = decode(file.read_bytes(), max_pixels=10**7)
    pixels = functional.resize(small, [900], antialias=True)
    spec = PreprocessSpec(resize_px=64, crop_px=56)

    found = frame(pixels, spec, Move("rotation", 20.0))

    monkeypatch.setattr("pipeline.data.moved_picture._WIDEST", 10**6)
    exact = frame(pixels, spec, Move("rotation", 20.0))
    assert _levels(found, exact) <= 3
    assert (found.float() - exact.float()).abs().mean() < 0.3


@pytest.mark.parametrize(
    ("fill", "colour"), [("mean", (124, 116, 104)), ("grey", (128, 128, 128)), ("black", (0, 0, 0))]
)
def test_fill_stands_where_there_is_no_picture(fill: str, colour: tuple[int, int, int]):
    spec = PreprocessSpec(resize_px=None, crop_px=8)
    picture = MovedPicture(noise(8, 8) // 2 + 127, spec, fill)

    found, filled = picture.frame(Move("translation", 6.0))

    assert filled == 0.75
    assert (found[:, :6] == torch.tensor(colour).view(3, 1, 1)).all()
    assert fill_colour(fill, spec) == colour


def test_fill_of_a_picture_smaller_than_the_frame_is_the_black_of_the_plain_one():
    spec = PreprocessSpec(resize_px=None, crop_px=12)
    pixels = noise(6, 7) // 2 + 127

    found, filled = MovedPicture(pixels, spec, "grey").frame(Move("translation", 1.0))

    plain = to_frame(pixels, spec)
    assert torch.equal(found[:, 1:], plain[:, :-1])
    assert filled == 102 / 144


def test_fill_mean_is_in_levels_whatever_the_value_range():
    spec = PreprocessSpec(value_range=255.0, mean=(125.3, -4.0, 300.0), std=(64.0, 64.0, 64.0))

    assert fill_colour("mean", spec) == (125, 0, 255)


def test_frame_does_not_depend_on_the_moves_before_it():
    spec = PreprocessSpec(resize_px=8, crop_px=8)
    picture = MovedPicture(noise(90, 80), spec, "mean")
    first = [picture.frame(move) for move in MOVES]

    again = [picture.frame(move) for move in reversed(MOVES)][::-1]

    for (one, _), (other, _) in itertools.zip_longest(first, again):
        assert torch.equal(one, other)
