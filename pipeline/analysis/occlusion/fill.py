"""What an occluding window shows in place of the picture: a colour, or a blur of it.

A fill is a whole frame, made from the picture or from a colour in pixel space, so that a window of
it is cut as a window of the picture is.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.transforms import functional

from pipeline.data.preprocess import normalise
from schemas.specs import PreprocessSpec

GREY = 128


def fill_frame(frame: Tensor, fill: str, preprocess: PreprocessSpec, blur_px: float) -> Tensor:
    """The frame that stands under the windows.

    Args:
        frame: uint8 [1, 3, S, S].
        fill: ``grey`` (128 of 255, ZF 4.2), ``mean`` (the colour that the preprocessing subtracts),
            ``blur`` (the frame itself, by a Gaussian) or ``#rrggbb``.
        preprocess: of the network.
        blur_px: the Gaussian's deviation.

    Returns:
        The network's input, fp32 [1, 3, S, S].
    """
    if fill == "mean":
        return torch.zeros(frame.shape, dtype=torch.float32, device=frame.device)
    if fill == "blur":
        return normalise(_blurred(frame, blur_px), preprocess, torch.float32)
    colour = [GREY] * 3 if fill == "grey" else list(bytes.fromhex(fill.removeprefix("#")))
    values = torch.tensor(colour, dtype=torch.uint8, device=frame.device)
    return normalise(values.view(1, 3, 1, 1).expand(frame.shape), preprocess, torch.float32)


def _blurred(frame: Tensor, deviation: float) -> Tensor:
    """fp32, 0 to 255."""
    # As far as three deviations, at most what the border can be mirrored by.
    size = 2 * min(round(3 * deviation), frame.shape[-1] - 1) + 1
    picture = frame.to(torch.float32)
    # One axis after the other: a square kernel of a wide window takes seconds per picture.
    for kernel in ([size, 1], [1, size]):
        picture = functional.gaussian_blur(picture, kernel, [deviation] * 2)
    return picture
