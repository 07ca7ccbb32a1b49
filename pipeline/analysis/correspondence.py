"""Correspondence of object parts: do layers answer alike when the same part is masked (ZF 4.3)?

The feature vector of image i at a layer is x_i, and x~_i with the part masked: eps_i = x_i - x~_i.
The consistency is

    Delta = sum over ordered pairs i != j of H(sign(eps_i), sign(eps_j)),

H the Hamming distance, that is the number of positions at which the two signs differ. The sign has
three values: -1, 0 (the mask changes nothing, as at most positions behind a ReLU, or the difference
is no number) and 1; so 0 against 1 counts as much as -1 against 1. Delta is given divided by
n (n - 1) and the vector's length: from 0 (all images answer alike) to 1.

No pair is ever looked at: where n+ of n images have the sign 1, n- have -1 and n0 have 0, a
position adds n^2 - n+^2 - n-^2 - n0^2 to the sum. The counts are integers and add up over images in
any order, so that memory does not grow with the images, and the sum is exact.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
import torch
from torch import Tensor

from schemas.arrays import Ints

Box = tuple[int, int, int, int]
"""(y0, x0, y1, x1), half-open, whole pixels inside the input frame."""


def box_in_pixels(edges: tuple[float, float, float, float], frame_px: int) -> Box | None:
    """The whole pixels of the frame that a box touches.

    Args:
        edges: (y0, x0, y1, x1) in pixels of the frame; may reach outside it.
        frame_px: side of the frame.

    Returns:
        None where the box lies outside the frame.
    """
    y0, x0 = (max(math.floor(edge), 0) for edge in edges[:2])
    y1, x1 = (min(math.ceil(edge), frame_px) for edge in edges[2:])
    return (y0, x0, y1, x1) if y0 < y1 and x0 < x1 else None


def random_box(box: Box, frame_px: int, seed: int, image_id: int, part: str, draw: int) -> Box:
    """A box of the same size, every place inside the frame equally probable.

    It depends on the arguments alone; it may lie on the part itself, as in ZF's control.
    """
    height, width = box[2] - box[0], box[3] - box[1]
    name = int.from_bytes(hashlib.sha256(part.encode()).digest()[:8])
    random = np.random.default_rng([seed, image_id, name, draw])
    y, x = (int(random.integers(frame_px - side + 1)) for side in (height, width))
    return y, x, y + height, x + width


class SignCounts:
    """Per position of a layer's vector, how many images have eps above and below zero.

    Args:
        masks: how many kinds of mask are told apart.
        length: of the vector.
        device: that keeps the counts.

    Attributes:
        positive: int32 [masks, length], images with eps > 0.
        negative: int32 [masks, length], images with eps < 0.
    """

    def __init__(self, masks: int, length: int, device: torch.device) -> None:
        self.positive = torch.zeros(masks, length, dtype=torch.int32, device=device)
        self.negative = torch.zeros_like(self.positive)

    def add(self, masks: Tensor, clean: Tensor, masked: Tensor) -> None:
        """Count one image.

        Args:
            masks: int64 [K], the kind of each mask; none stands twice.
            clean: x, [K, length].
            masked: x~, [K, length]. Numbers are compared without a tolerance: both must come from
                one batch shape, so that equal inputs give equal bits.
        """
        self.positive[masks] += (clean > masked).int()
        self.negative[masks] += (clean < masked).int()


def hamming(images: int, positive: Ints, negative: Ints) -> int:
    """Sum over ordered pairs i != j of the positions at which the signs differ.

    Args:
        images: n.
        positive: int64 [length], images whose sign is 1.
        negative: int64 [length], images whose sign is -1.
    """
    zero = images - positive - negative
    equal = positive * positive + negative * negative + zero * zero
    return images * images * len(positive) - int(equal.sum())
