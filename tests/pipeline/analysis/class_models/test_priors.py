from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pipeline.analysis.class_models.priors import (
    blurred,
    root_mean_square,
    shifted,
    wave_weights,
    weigh_waves,
)
from tests import class_models_reference as reference


def _images(side: int) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    return torch.randn(3, 3, side, side, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("side", [1, 7, 12])
def test_weigh_waves_is_the_image_of_weighed_coefficients(side: int):
    coefficients = _images(side)
    matrix = reference.waves(side)
    fields = [side, 1, 3]
    weights = torch.stack([wave_weights(side, field) for field in fields])
    found = weigh_waves(matrix @ coefficients @ matrix, weights)
    for place, field in enumerate(fields):
        wanted = reference.in_waves(coefficients[place], field)
        assert (found[place] - wanted).abs().max() < 1e-13


def test_weigh_waves_is_symmetric():
    one, other = _images(9), _images(9).flip(0)
    weights = wave_weights(9, 9).expand(3, -1, -1)
    there, back = (
        (one * weigh_waves(other, weights)).sum(),
        (weigh_waves(one, weights) * other).sum(),
    )
    assert float(there) == pytest.approx(float(back), rel=1e-12)


def test_wave_weights_fall_with_the_frequency():
    weights = wave_weights(8, 8)
    assert weights.shape == (8, 5)
    assert weights[0, 0] == weights[0, 1] == weights[7, 0] == 1
    assert weights[0, 4] == 0.25
    assert weights[3, 4] == pytest.approx(0.2)
    assert wave_weights(8, 4)[3, 4] == pytest.approx(0.4)
    assert (wave_weights(8, 1) == 1).all()


def test_shifted_moves_each_image_by_its_own_shift():
    images, shifts = _images(6), torch.tensor([[0, 0], [2, -1], [-7, 3]])
    found = shifted(images, shifts)
    for place, (down, across) in enumerate(shifts.tolist()):
        assert torch.equal(found[place], reference.moved(images[place], down, across))
    assert torch.equal(shifted(found, -shifts), images)


@pytest.mark.parametrize("deviation", [0.3, 1.0, 5.0])
def test_blurred_is_the_gaussian_on_the_torus(deviation: float):
    images = _images(11)
    found = blurred(images, deviation)
    for place, image in enumerate(images):
        assert (found[place] - reference.blurred(image, deviation)).abs().max() < 1e-13


def test_root_mean_square_is_of_each_image():
    found = root_mean_square(torch.stack([torch.full((3, 2, 2), -2.0), torch.zeros(3, 2, 2)]))
    assert found.shape == (2, 1, 1, 1)
    assert found.flatten().tolist() == [2, 0]
