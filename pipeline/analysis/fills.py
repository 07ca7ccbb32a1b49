"""What an occluding window shows instead of the picture.

The invariant: a fill is a whole frame, made from the picture or from a colour in pixel space, so
that a window of it is cut as a window of the picture is.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.transforms import functional

from pipeline.data.frames import normalise
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
        # As far as three deviations, at most what the border can be mirrored by.
        reach = min(round(3 * blur_px), frame.shape[-1] - 1)
        picture = functional.gaussian_blur(frame, [2 * reach + 1] * 2, [blur_px] * 2)
    else:
        colour = [GREY] * 3 if fill == "grey" else list(bytes.fromhex(fill.removeprefix("#")))
        values = torch.tensor(colour, dtype=torch.uint8, device=frame.device)
        picture = values.view(1, 3, 1, 1).expand(frame.shape)
    return normalise(picture, preprocess, torch.float32)
