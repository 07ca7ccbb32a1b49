"""The feature maps of one image for ``unitscope show``: the mean per layer, or every channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pipeline.analysis.feature_maps import feature_maps, mean_over_channels
from pipeline.data.preprocess import normalise
from pipeline.models.network import open_network
from pipeline.report.formats import few, three_digits
from pipeline.report.patch_reader import PatchReader
from pipeline.report.patches import Frame, draw_frame
from pipeline.report.pictures import (
    INK,
    LINE,
    MARGIN,
    PAPER,
    SOFT,
    coloured,
    draw_head,
    font_of,
    write,
)
from pipeline.stages.model_stage import ScanSource
from pipeline.store.run import Run
from schemas.errors import DatasetError, LayerError, SpecError, nearest
from schemas.jobs.scan import MapsFigure

_TOP, _GAP, _LINE = 96, 12, 15
_FRAME_PX = 224
_EVERY = "dark: the map's smallest value, light: its largest"
_SIDES = ((64, 128), (256, 88), (10**9, 56))
"""(most, side): tiles are so large, in pixels, where there are at most so many."""


@dataclass(frozen=True)
class FeatureMap:
    """One picture.

    Attributes:
        name: a layer, or a channel.
        values: [height, width].
    """

    name: str
    values: NDArray[np.float64]


def draw_maps(run: Run, asked: MapsFigure) -> Image.Image:
    """The network's maps of one image, beside the image as the network saw it.

    Args:
        run: scan is published; its weights and its image are read again.
        asked: which image, and which layer.

    Raises:
        SpecError: the scan has no such image.
        LayerError: no such layer was scanned, or it has no map.
        ModelError: the weights are others now.
        DatasetError: the image cannot be read any more.
    """
    images = run.table("images", job="scan", columns=["image_id", "uri"])
    known = dict(zip(images["image_id"].tolist(), images["uri"], strict=True))
    if asked.maps not in known:
        raise SpecError(
            f"--maps {asked.maps}: {run.url} has no such image; choices: {few(sorted(known))}"
        )
    uri = known[asked.maps]
    frame = PatchReader(run).frames({uri})[uri]
    if isinstance(frame, str):
        raise DatasetError(f"{uri}: {frame}; put the picture back, or choose another image")
    layers = layers_with_maps(run)
    if asked.channels is not None and asked.channels not in layers:
        raise LayerError(
            f"--channels {asked.channels}: not scanned, or without a map; "
            f"{nearest(asked.channels, layers)}"
        )
    maps = read_maps(run, frame, layers, asked.channels)
    title = uri.rpartition("/")[2]
    if asked.channels is None:
        facts = f"mean over the channels of {len(maps)} layers   |   {_EVERY}"
    else:
        facts = f"{len(maps)} channels of {asked.channels}   |   {_EVERY}"
    return draw_grid(title, facts, frame, maps)


def layers_with_maps(run: Run) -> list[str]:
    """The scanned layers that have positions, in the network's order."""
    table = run.table("layers", job="scan").sort_values("position")
    has_map = (table["map_height"] > 1) | (table["map_width"] > 1)
    names: list[str] = table[has_map]["layer"].tolist()
    return names


def read_maps(
    run: Run, frame: NDArray[np.uint8], layers: Sequence[str], channels: str | None
) -> list[FeatureMap]:
    """Run the scanned network on one frame.

    Args:
        run: scan is published.
        frame: uint8 [S, S, 3].
        layers: whose means are asked for.
        channels: the layer of which every channel is asked for instead; None: the means.
    """
    source = ScanSource.of(run)
    module = source.load().module
    network = open_network(module, source.preprocess.crop_px)
    pixels = torch.from_numpy(frame).permute(2, 0, 1)[None].contiguous()
    image = normalise(pixels, source.preprocess, torch.float32)
    if channels is None:
        means = feature_maps(network, image, layers, mean_over_channels)
        return [FeatureMap(name, values.numpy()) for name, values in means.items()]
    values = feature_maps(network, image, [channels], torch.Tensor.double)[channels].numpy()
    return [FeatureMap(f"{channel}", own) for channel, own in enumerate(values)]


def draw_grid(title: str, facts: str, frame: Frame, maps: Sequence[FeatureMap]) -> Image.Image:
    """The image on the left, and the maps in rows beside it, each in the colours of its range.

    Args:
        title: of the picture.
        facts: the line below it.
        frame: uint8 [S, S, 3].
        maps: at least one.
    """
    side = next(side for most, side in _SIDES if len(maps) <= most)
    lines = [_caption(each) for each in maps] if side > _SIDES[-1][1] else [[m.name] for m in maps]
    step = side + _GAP, side + _GAP + _LINE * max(map(len, lines))
    across = min(len(maps), max(6, round((1.6 * len(maps) * step[1] / step[0]) ** 0.5)))
    down = -(-len(maps) // across)
    left = MARGIN + _FRAME_PX + 2 * _GAP
    width = left + across * step[0] - _GAP - MARGIN
    height = _TOP + max(down * step[1], _FRAME_PX + 2 * _LINE)
    page = Image.new("RGB", (width + 2 * MARGIN, height + MARGIN), PAPER)
    draw = ImageDraw.Draw(page)
    draw_head(draw, title, facts, width)
    page.paste(draw_frame(frame, _FRAME_PX), (MARGIN, _TOP))
    draw.text((MARGIN, _TOP + _FRAME_PX + 6), "as the network saw it", SOFT, font_of(13))
    for index, (each, caption) in enumerate(zip(maps, lines, strict=True)):
        x, y = left + index % across * step[0], _TOP + index // across * step[1]
        page.paste(draw_map(each.values, side), (x, y))
        draw.rectangle((x, y, x + side - 1, y + side - 1), outline=LINE)
        for place, line in enumerate(caption):
            colour = SOFT if place == len(caption) - 1 > 0 else INK
            write(draw, (x, y + side + 2 + place * _LINE), line, 12, colour, side)
    return page


def _caption(each: FeatureMap) -> list[str]:
    """The name, cut at its last dot since layers share long beginnings, the extent, the largest."""
    block, _, name = each.name.rpartition(".")
    height, width = each.values.shape
    extent = f"{height} x {width}, to {three_digits(float(each.values.max()))}"
    return [*([f"{block}."] if block else []), name, extent]


def draw_map(values: NDArray[np.float64], side: int) -> Image.Image:
    """A map in the colours of its own range, its positions as squares; grey where not finite.

    Args:
        values: [height, width].
        side: of the square picture, in pixels.
    """
    known = np.isfinite(values)
    low, high = (values[known].min(), values[known].max()) if known.any() else (0.0, 0.0)
    share = np.where(known, values - low, 0.0) / ((high - low) or 1.0)
    pixels = np.where(known[..., None], coloured(share), 160).astype(np.uint8)
    return Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST)
