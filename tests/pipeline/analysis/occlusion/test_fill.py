from __future__ import annotations

import math

import numpy as np
import torch

from pipeline.analysis.occlusion.fill import fill_frame
from pipeline.data.preprocess import normalise
from schemas.specs import PreprocessSpec

SPEC = PreprocessSpec(resize_px=None, crop_px=12)


def frame() -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (1, 3, 12, 12), generator=generator, dtype=torch.uint8)


def in_pixels(values: torch.Tensor) -> torch.Tensor:
    """From the network's input back to 0..255."""
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (SPEC.mean, SPEC.std))
    return (values[0] * std + mean) * 255


def test_grey_is_mid_grey_in_pixel_space():
    found = in_pixels(fill_frame(frame(), "grey", SPEC, 4.0))

    torch.testing.assert_close(found, torch.full((3, 12, 12), 128.0), rtol=1e-5, atol=1e-4)


def test_mean_is_zero_in_the_networks_input():
    assert torch.equal(fill_frame(frame(), "mean", SPEC, 4.0), torch.zeros(1, 3, 12, 12))


def test_colour_is_given_in_hexadecimal():
    found = in_pixels(fill_frame(frame(), "#ff0080", SPEC, 4.0))

    for channel, value in enumerate((255.0, 0.0, 128.0)):
        torch.testing.assert_close(found[channel], torch.full((12, 12), value), rtol=0, atol=1e-3)


def test_blur_is_the_frame_by_a_gaussian_mirrored_at_the_border():
    picture = frame()
    kept = picture.clone()

    found = in_pixels(fill_frame(picture, "blur", SPEC, 1.5)).double().numpy()

    assert torch.equal(picture, kept)
    reach = round(3 * 1.5)
    weights = np.array([math.exp(-(i**2) / (2 * 1.5**2)) for i in range(-reach, reach + 1)])
    weights /= weights.sum()
    padded = np.pad(picture[0].double().numpy(), ((0, 0), (reach,) * 2, (reach,) * 2), "reflect")
    rows = sum(w * padded[:, i : i + 12] for i, w in enumerate(weights))
    wanted = sum(w * rows[:, :, i : i + 12] for i, w in enumerate(weights))
    assert np.abs(found - wanted).max() <= 1e-3


def test_blur_wider_than_the_frame_still_is_a_frame():
    found = fill_frame(frame(), "blur", SPEC, 40.0)

    assert found.shape == (1, 3, 12, 12)
    assert torch.isfinite(found).all()
    assert found.std() < normalise(frame(), SPEC, torch.float32).std()
