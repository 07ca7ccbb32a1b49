"""Frames and normalised values equal torchvision's own preset, bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms._presets import ImageClassification

from pipeline.data.decode import decode
from pipeline.data.preprocess import framing, normalise, to_frame
from schemas.errors import ImageRejectedError
from schemas.specs import PreprocessSpec

SPEC = PreprocessSpec()


def noise(height: int, width: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)


def ours(pixels: torch.Tensor, spec: PreprocessSpec) -> torch.Tensor:
    return normalise(to_frame(pixels, spec)[None], spec, torch.float32)[0]


@pytest.mark.parametrize(
    ("height", "width"), [(375, 500), (500, 333), (64, 90), (256, 256), (224, 700), (7, 9), (1, 30)]
)
@pytest.mark.parametrize("channels_last", [False, True])
def test_frames_of_noise_equal_the_preset_bit_for_bit(height: int, width: int, channels_last: bool):
    pixels = noise(height, width)
    if channels_last:
        pixels = pixels.permute(1, 2, 0).contiguous().permute(2, 0, 1)

    assert torch.equal(ours(pixels, SPEC), ImageClassification(crop_size=224)(pixels))


@pytest.mark.parametrize(
    ("name", "mode"),
    [("bicubic", InterpolationMode.BICUBIC), ("nearest", InterpolationMode.NEAREST)],
)
def test_frames_of_other_interpolations_equal_the_preset(name: str, mode: InterpolationMode):
    spec = PreprocessSpec(resize_px=90, crop_px=64, interpolation=name)
    preset = ImageClassification(crop_size=64, resize_size=90, interpolation=mode)

    assert torch.equal(ours(noise(120, 77), spec), preset(noise(120, 77)))


def test_frames_of_photographs_equal_the_preset(shared_data: Path):
    preset = ImageClassification(crop_size=224)

    for file in sorted((shared_data / "photos").iterdir())[::30][:20]:
        pixels = decode(file.read_bytes(), max_pixels=10**7)

        assert torch.equal(ours(pixels, SPEC), preset(pixels)), file.name


def test_frame_without_resize_is_the_centre_of_the_pixels():
    pixels = noise(40, 50)
    spec = PreprocessSpec(resize_px=None, crop_px=32)

    assert torch.equal(to_frame(pixels, spec), pixels[:, 4:36, 9:41])


def test_frame_of_a_smaller_picture_is_padded_with_zeros():
    pixels = noise(4, 6)

    frame = to_frame(pixels, PreprocessSpec(resize_px=None, crop_px=8))

    assert torch.equal(frame[:, 2:6, 1:7], pixels)
    assert int(frame.sum()) == int(pixels.sum())


@pytest.mark.parametrize("shape", [(1, 20_000), (20_000, 1), (3, 301)])
def test_frame_of_an_extreme_aspect_is_rejected_before_it_grows(shape: tuple[int, int]):
    with pytest.raises(ImageRejectedError, match="too_large") as caught:
        to_frame(noise(*shape), SPEC)

    assert f"{shape[1]} x {shape[0]} pixels" in caught.value.detail
    assert to_frame(noise(*shape), PreprocessSpec(resize_px=None)).shape == (3, 224, 224)


def test_frame_at_the_longest_aspect_is_made():
    assert to_frame(noise(3, 300), SPEC).shape == (3, 224, 224)


def test_normalise_scales_to_the_value_range_before_mean_and_std():
    frames = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(1, 3, 1, 1)
    spec = PreprocessSpec(value_range=10.0, mean=(1.0, 2.0, 3.0), std=(2.0, 4.0, 0.5))

    found = normalise(frames, spec, torch.float64)

    assert found.dtype == torch.float64
    torch.testing.assert_close(
        found.flatten(), torch.tensor([-0.5, 0.0, 14.0], dtype=torch.float64)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_normalise_keeps_channels_last_and_the_frames(dtype: torch.dtype):
    frames = noise(8, 8)[None].contiguous(memory_format=torch.channels_last)
    before = frames.clone()

    found = normalise(frames, SPEC, dtype)

    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(found, normalise(before.contiguous(), SPEC, torch.float32).to(dtype))
    assert torch.equal(frames, before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_normalise_on_a_gpu_is_near_the_cpu():
    frames = noise(16, 16)[None]

    torch.testing.assert_close(
        normalise(frames.cuda(), SPEC, torch.float32).cpu(), normalise(frames, SPEC, torch.float32)
    )


@pytest.mark.parametrize("resize_px", [None, 16, 21])
@pytest.mark.parametrize("size", [(16, 40), (33, 17), (64, 90), (7, 9)])
def test_framing_says_where_the_frame_lies(size: tuple[int, int], resize_px: int | None):
    spec = PreprocessSpec(resize_px=resize_px, crop_px=12, interpolation="nearest")
    (height, width), corner = framing(size, spec)
    # Every pixel holds its own row and column of the resized picture, from 1.
    rows = torch.arange(height)[:, None].expand(height, width) + 1
    columns = torch.arange(width)[None, :].expand(height, width) + 1
    resized = torch.stack([rows, columns, rows]).to(torch.uint8)

    frame = to_frame(resized, spec.model_copy(update={"resize_px": None})).int()

    for axis, (side, begin) in enumerate(zip((height, width), corner, strict=True)):
        seen = frame[axis].amax(dim=1 - axis)
        wanted = [place + begin + 1 for place in range(12)]
        assert seen.tolist() == [at if 1 <= at <= side else 0 for at in wanted]
    assert to_frame(noise(*size), spec).shape == (3, 12, 12)
