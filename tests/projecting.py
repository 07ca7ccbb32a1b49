"""Projections of chosen places of a network, each over its whole frame, and how far two differ.

Invariant: places are chosen by the network's own maps, so that a projection is seldom all zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.analysis.deconvnet.forward import Rule
from pipeline.analysis.deconvnet.projector import Projector, Targets
from pipeline.models.network import open_network

Place = tuple[int, int, int, int]
"""Row of the batch, unit, y, x."""


@dataclass(frozen=True)
class Answer:
    """Projections over whole frames.

    Attributes:
        pictures: [n, 3, S, S].
        values: [n], the activations that a plain forward pass gives.
        reproduced: float32 [n].
    """

    pictures: Tensor
    values: Tensor
    reproduced: Tensor


class Subject:
    """A network with the images that it is asked about.

    Args:
        module: in eval mode.
        images: [N, 3, S, S].
        rule: of the projection.
    """

    def __init__(self, module: nn.Module, images: Tensor, rule: Rule = "deconvnet") -> None:
        network = open_network(module, images.shape[-1])
        assert network.geometry is not None, network.note
        self.network, self.images, self.rule = network, images, rule
        self.layers = {layer.name: layer for layer in network.layers}

    def projector(self, *names: str) -> Projector:
        return Projector(self.network, tuple(self.layers[name] for name in names), self.rule)

    def maps(self, name: str) -> Tensor:
        """[N, units, height, width] of a layer."""
        found = []
        with torch.no_grad():
            self.network.runner([name])(self.images, lambda _, value: found.append(value.clone()))
        return self.layers[name].maps(found[0])

    def places(self, name: str, *, inside: int = 2) -> list[Place]:
        """Corners, edges and places inside of a layer's maps, each with its strongest unit."""
        maps = self.maps(name)
        _, _, height, width = maps.shape
        ends = {(y, x) for y in (0, height - 1) for x in (0, width - 1)}
        edges = {(0, width // 2), (height // 2, width - 1)}
        random = np.random.default_rng(height * width)
        middle = {
            (int(random.integers(height)), int(random.integers(width))) for _ in range(inside)
        }
        return [
            (number % len(maps), int(maps[number % len(maps), :, y, x].argmax()), y, x)
            for number, (y, x) in enumerate(sorted(ends | edges | middle))
        ]

    def targets(self, name: str, places: Sequence[Place]) -> Targets:
        """Targets whose boxes are the frame."""
        rows, units, y, x = (torch.tensor(column) for column in zip(*places, strict=True))
        side = self.images.shape[-1]
        boxes = np.tile(np.array([0, 0, side, side]), (len(places), 1))
        return Targets(rows, units, y, x, self.maps(name)[rows, units, y, x], boxes)

    def project(self, name: str, places: Sequence[Place], how: str = "frames") -> Answer:
        """Project places of a layer.

        Args:
            name: the layer.
            places: its places.
            how: ``frames``, ``crops``, or ``chosen`` by the projector.
        """
        projector, targets = self.projector(name), self.targets(name, places)
        with torch.no_grad():
            if how == "crops":
                done = projector._from_crops(self.images, name, targets)
            elif how == "frames":
                done = projector._from_frames(self.images, {name: targets})[name]
            else:
                done = projector.project(self.images, {name: targets})[name]
        return Answer(torch.stack(done.pictures), targets.values, done.reproduced)

    def local(self) -> list[str]:
        """Layers that crops do for, in the order of the network."""
        projector = self.projector(*self.layers)
        return [name for name in self.layers if projector.dependencies[name].local]


def images_of(count: int, side: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Smooth coloured noise, [count, 3, side, side], about -2..2."""
    generator = torch.Generator().manual_seed(side)
    coarse = torch.randn(count, 3, side // 4 + 2, side // 4 + 2, generator=generator)
    smooth = nn.functional.interpolate(coarse, size=(side, side), mode="bicubic")
    fine = 0.2 * torch.randn(count, 3, side, side, generator=generator)
    return (smooth + fine).to(dtype)


def largest_difference(found: Tensor, wanted: Tensor) -> float:
    """The largest difference of any picture, relative to the scale of that picture.

    Infinite where all that is wanted is nothing: then the comparison says nothing.
    """
    scale = wanted.flatten(1).abs().amax(1)
    if not bool((scale > 0).any()):
        return float("inf")
    difference = (found - wanted).flatten(1).abs().amax(1)
    return float(torch.where(difference > 0, difference / scale, 0).max())
