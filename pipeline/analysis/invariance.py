"""How far a layer moves when the picture moves, and what sums it up over images (ZF fig. 5).

A layer's feature vector is all of its map, every unit at every position. Distances and everything
after them are in float64.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.analysis.occlusion.dense import bytes_of_a_frame
from pipeline.models.network import Network
from schemas.arrays import Floats

# What a pass takes over the maps that live at once in it: the tapped ones, their differences in
# float64, and what the allocator keeps. SqueezeNet's passes grew a process by half of their bytes.
_LIVE_SHARE = 3


@dataclass(frozen=True)
class Band:
    """Mean over images, and the quartiles around it; NaN where no image has a value.

    Attributes:
        mean: float64 [...].
        low: the first quartile, linear between values.
        high: the third one.
    """

    mean: Floats
    low: Floats
    high: Floats


def distances(values: Tensor, plain: Tensor) -> Tensor:
    """Euclidean distances ``|values_i - plain|`` (ZF fig. 5, columns 2 and 3).

    One row after the other, so that a distance does not depend on the rows beside it.

    Args:
        values: [N, ...], a layer's values for moved pictures.
        plain: [...], those for the plain picture, of any dtype.

    Returns:
        float64 [N], from 0.
    """
    origin = plain.double()
    return torch.stack([torch.linalg.vector_norm(each.double() - origin) for each in values])


def relative(distance: Floats, norm: float) -> Floats:
    """``distance / norm``, float64, from 0; NaN where the norm is 0 or not finite.

    Values of two pictures that are as long as each other and have nothing in common lie sqrt(2)
    apart where no value is negative.
    """
    usable = 0 < norm < np.inf
    return distance / norm if usable else np.full_like(distance, np.nan)


def band(values: Floats) -> Band:
    """`Band` over the images, of float64 [images, ...]; an image's NaN is left out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of means of nothing, which are NaN
        low, high = np.nanquantile(values, (0.25, 0.75), axis=0)
        return Band(np.nanmean(values, axis=0), low, high)


def frames_at_once(network: Network, batch_bytes: int, count: int) -> int:
    """How many frames one forward pass holds: passes of one size, as full as they can be.

    Args:
        network: traced or hooked.
        batch_bytes: what a pass may take, counted from its fp32 maps.
        count: frames of one image.
    """
    most = max(1, batch_bytes // (_LIVE_SHARE * bytes_of_a_frame(network)))
    passes = -(-count // most)
    return -(-count // passes)
