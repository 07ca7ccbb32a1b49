"""Every form of a transposed convolution is the adjoint of the convolution, cut or not."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from pipeline.analysis.deconvnet.conv_transpose import conv_transpose, weighted


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


CONVOLUTIONS = {
    "turned": nn.Conv2d(8, 6, (3, 2)),
    "turned, dilated": nn.Conv2d(8, 6, 3, dilation=2),
    "turned, grouped": nn.Conv2d(8, 6, 3, groups=2),
    "strided": nn.Conv2d(8, 6, (3, 2), stride=2),
    "strided, grouped, dilated": nn.Conv2d(8, 6, 3, stride=3, dilation=2, groups=2),
    "by position": nn.Conv2d(8, 6, 1),
    "strided by position": nn.Conv2d(8, 6, 1, stride=2),
    "to few channels": nn.Conv2d(3, 6, 5),
    "to few channels, strided": nn.Conv2d(3, 6, 7, stride=2),
    "to few channels, dilated": nn.Conv2d(3, 6, 3, stride=2, dilation=2),
}


def parameters_of(conv: nn.Conv2d) -> dict[str, object]:
    names = ("stride", "dilation", "groups")
    return {"weight": conv.weight.detach().double()} | {name: getattr(conv, name) for name in names}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_filter_transpose_is_the_adjoint_of_the_convolution(name: str):
    parameters = parameters_of(CONVOLUTIONS[name])
    value = noise(2, CONVOLUTIONS[name].in_channels, 15, 13)
    out = F.conv2d(value, padding=0, **parameters)
    signal = noise(*out.shape, seed=1)

    found = conv_transpose(parameters)(signal, (0, 0), None)

    reached = value[:, :, : found.shape[2], : found.shape[3]]
    assert (out * signal).sum() == pytest.approx(float((reached * found).sum()), rel=1e-12)


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("cut", [(1, 1), (0, 2), (2, 1)])
def test_filter_transpose_cut_is_the_whole_without_its_rim(name: str, cut: tuple[int, int]):
    parameters = parameters_of(CONVOLUTIONS[name])
    signal = noise(2, 6, 7, 8)
    transpose = conv_transpose(parameters)

    whole = transpose(signal, (0, 0), None)

    rows, columns = whole.shape[2:]
    wanted = whole[:, :, cut[0] : rows - cut[0], cut[1] : columns - cut[1]]
    torch.testing.assert_close(transpose(signal, cut, None), wanted, rtol=1e-12, atol=1e-12)


def test_filter_transpose_leaves_the_signal_alone():
    signal = noise(2, 6, 7, 8)
    kept = signal.clone()
    for conv in CONVOLUTIONS.values():
        conv_transpose(parameters_of(conv))(signal, (0, 0), None)

    assert torch.equal(signal, kept)


def test_weighted_of_a_lone_channel_equals_the_product_of_matrices():
    matrix, only_channel = noise(6, 8), torch.tensor([5, 0, 2])
    signal = torch.zeros(3, 4, 2, 6, dtype=torch.float64)
    for row, channel in enumerate(only_channel.tolist()):
        signal[row, ..., channel] = noise(4, 2, seed=row)

    found = weighted(signal, matrix, only_channel)

    torch.testing.assert_close(found, weighted(signal, matrix, None), rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", ["by position", "turned", "to few channels"])
def test_filter_transpose_of_a_lone_channel_is_the_same(name: str):
    parameters = parameters_of(CONVOLUTIONS[name])
    only_channel = torch.tensor([4, 1])
    signal = torch.zeros(2, 6, 5, 5, dtype=torch.float64)
    signal[0, 4], signal[1, 1] = noise(5, 5), noise(5, 5, seed=2)
    transpose = conv_transpose(parameters)

    torch.testing.assert_close(
        transpose(signal, (0, 0), only_channel),
        transpose(signal, (0, 0), None),
        rtol=1e-12,
        atol=1e-12,
    )
