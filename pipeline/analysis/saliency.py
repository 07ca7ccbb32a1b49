"""Gradients of class scores with respect to images, and the maps that are made of them.

Saliency (Simonyan et al. 2013), SmoothGrad (Smilkov et al. 2017) and integrated gradients
(Sundararajan et al. 2017). Every function here works in one space, that of the images it is given;
the network's parameters get no gradients.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor

from pipeline.models.network import Network
from schemas.errors import ModelError

Run = Callable[[Tensor], Tensor]
"""A network in eval mode: images [N, 3, S, S] to class scores [N, classes], before the softmax."""
Choose = Callable[[Tensor], Tensor]
"""From scores [N, classes] to the class that is explained, int64 [N]."""

_BYTES = 4  # of a value in fp32


def score_gradient(run: Run, images: Tensor, choose: Choose) -> tuple[Tensor, Tensor]:
    """The gradient of one class score per image.

    Args:
        run: the network.
        images: [N, 3, S, S]; untouched.
        choose: names the class of each image.

    Returns:
        The scores [N, classes], and d score_c / d image, [N, 3, S, S].

    Raises:
        ModelError: the network lets no gradient through.
    """
    with torch.enable_grad():
        leaf = images.detach().clone().requires_grad_()
        scores = run(leaf.clone())  # a forward that changes its input in place may not meet a leaf
        if not scores.requires_grad:
            raise ModelError(
                "the network's scores have no gradient: its forward runs under torch.no_grad or "
                "detaches a value; take that out of it"
            )
        chosen = scores.gather(1, choose(scores.detach())[:, None]).sum()
        (gradient,) = torch.autograd.grad(chosen, leaf, materialize_grads=True)
    return scores.detach(), gradient


def mean_gradient(
    run: Run,
    variants: Sequence[Iterator[Tensor]],
    targets: Tensor,
    count: int,
    at_once: int,
    slots: int,
) -> Tensor:
    """The mean gradient over variants of each image.

    A pass always has one shape, whichever images share it.

    Args:
        run: the network.
        variants: one iterator per image, of ``count`` tensors [3, S, S].
        targets: int64 [N], the class of each image.
        count: variants per image.
        at_once: most variants in one pass, of one image or of several.
        slots: most images that a call may have; one with fewer runs passes of the same shape.

    Returns:
        [N, 3, S, S].
    """
    images = max(1, min(slots, at_once // count))
    images = -(-slots // -(-slots // images))  # as many passes, as full as they can be
    means = []
    for start in range(0, len(variants), images):
        own = list(variants[start : start + images])
        classes = targets[start : start + images]
        sums: list[Tensor] = []
        for first in range(0, count, at_once):
            size = min(at_once, count - first)
            copies = torch.stack([copy for each in own for copy in islice(each, size)])
            missing = (images - len(own)) * size
            filled = torch.cat([copies, copies[:1].expand(missing, -1, -1, -1)])
            wanted = torch.cat([classes.repeat_interleave(size), classes[:1].expand(missing)])
            filled = filled.contiguous(memory_format=torch.channels_last)
            _, gradient = score_gradient(run, filled, _always(wanted))
            gradient = gradient[: len(copies)].reshape(len(own), size, *copies.shape[1:])
            sums.append(gradient.sum(dim=1))
        means.append(torch.stack(sums).sum(dim=0) / count)
    return torch.cat(means)


def noisy_copies(
    image: Tensor, deviation: Tensor, count: int, generator: torch.Generator
) -> Iterator[Tensor]:
    """Copies of an image with Gaussian noise (SmoothGrad); the image stays untouched.

    Args:
        image: [3, S, S].
        deviation: [3, 1, 1], standard deviation of the noise per colour, in the image's space.
        count: how many.
        generator: of the CPU, so that every device sees the same noise.
    """
    for _ in range(count):
        noise = torch.randn(image.shape, generator=generator, dtype=image.dtype)
        yield image + noise.to(image.device) * deviation


def path_points(image: Tensor, baseline: Tensor, count: int) -> Iterator[Tensor]:
    """Points of the straight path from a baseline to an image (integrated gradients).

    They lie at the middles of ``count`` equal steps: the mean over them is the midpoint rule.

    Args:
        image: [3, S, S].
        baseline: of a shape that broadcasts to it.
        count: how many.
    """
    for step in range(count):
        yield baseline + (step + 0.5) / count * (image - baseline)


def noise_generator(seed: int, image_id: int) -> torch.Generator:
    """The noise of one image: it depends on neither batches, shards nor workers."""
    digest = hashlib.sha256(f"{seed}:{image_id}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def magnitude(gradient: Tensor) -> Tensor:
    """The largest absolute value over the colours: [N, 3, S, S] to [N, S, S], from 0 upwards."""
    return gradient.abs().amax(dim=1)


def positive_part(gradient: Tensor) -> Tensor:
    """The largest value over the colours, 0 where all are negative: [N, S, S], from 0 upwards."""
    return gradient.clamp(min=0).amax(dim=1)


def attribution(gradient: Tensor, difference: Tensor) -> Tensor:
    """What each pixel contributes to a score, to first order.

    Args:
        gradient: [N, 3, S, S], at one point or the mean over a path.
        difference: of the same shape, the image less the baseline.

    Returns:
        The products' sum over the colours, [N, S, S], with a sign. Of the mean gradient over a
        path, its sum over the pixels is the score's difference (completeness).
    """
    return (gradient * difference).sum(dim=1)


def copies_at_once(network: Network, frame_px: int, batch_bytes: int) -> int:
    """How many images one forward and backward pass may hold; at least one.

    Counted as the values of every node in fp32, and twice the largest one for the gradients that
    are on their way; of a network that cannot be traced only activations are seen, and counted
    four times.
    """
    sizes = [3 * frame_px * frame_px]
    for layer in network.layers:
        elements = 1
        for side in layer.layout.shape[1:]:
            elements *= side
        sizes.append(elements)
    unseen = 4 if network.geometry is None else 1
    return max(1, batch_bytes // (_BYTES * (unseen * sum(sizes) + 2 * max(sizes))))


def _always(classes: Tensor) -> Choose:
    return lambda _: classes
