"""Backgrounds of the demo's scenes: meadows, walls, water and dusk, with clutter on them.

A background is drawn without knowing the class of the object in front, so that it cannot tell it.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pipeline.demo.pen import FINER, Colour, hsv, shaded


def draw_backdrop(rng: np.random.Generator, size_px: int) -> Image.Image:
    """A random background, RGB, `FINER` times ``size_px`` square."""
    side = size_px * FINER
    paint = (_meadow, _meadow, _wall, _water, _dusk)[rng.integers(5)]
    image = paint(rng, side)
    _clutter(image, rng)
    return image


def _meadow(rng: np.random.Generator, side: int) -> Image.Image:
    """Sky with clouds, perhaps hills, and grass blade by blade."""
    sky = hsv(rng.uniform(0.53, 0.62), rng.uniform(0.25, 0.6), rng.uniform(0.8, 1.0))
    values = _gradient(sky, shaded(sky, 1.75), side)
    clouds = np.clip(_noise(rng, side, (8, 3)) * 2.2 - 1.2, 0, 1)[..., None]
    image = _image(values * (1 - clouds) + 250 * clouds)
    horizon = round(side * rng.uniform(0.35, 0.75))
    green = hsv(rng.uniform(0.2, 0.36), rng.uniform(0.45, 0.8), rng.uniform(0.45, 0.75))
    draw = ImageDraw.Draw(image)
    if rng.random() < 0.6:
        _hills(draw, rng, horizon, shaded(green, rng.uniform(0.6, 1.4)))
    ground = _gradient(shaded(green, 1.15), shaded(green, 0.7), side) * _grain(rng, side, 0.08)
    image.paste(_image(ground).crop((0, 0, side, side - horizon)), (0, horizon))
    _blades(draw, rng, horizon, green)
    return image


def _hills(draw: ImageDraw.ImageDraw, rng: np.random.Generator, horizon: int, tone: Colour) -> None:
    side = draw.im.size[0]
    x = np.arange(0, side + 8, 8)
    wave = np.sin(x / side * rng.uniform(4, 9) + rng.uniform(0, math.tau))
    ridge = horizon - side * (0.08 + 0.06 * wave)
    outline = [(float(a), float(b)) for a, b in zip(x, ridge, strict=True)]
    draw.polygon([(0, horizon), *outline, (side, horizon)], tone)


def _blades(
    draw: ImageDraw.ImageDraw, rng: np.random.Generator, horizon: int, green: Colour
) -> None:
    side = draw.im.size[0]
    for _ in range(int(rng.integers(120, 320))):
        x, y = rng.uniform(0, side), rng.uniform(horizon, side * 1.04)
        near = (y - horizon) / side
        height, lean = side * (0.015 + 0.09 * near), rng.uniform(-0.4, 0.4)
        tip = (x + lean * height, y - height)
        draw.line((x, y, *tip), shaded(green, rng.uniform(0.55, 1.45)), max(1, round(1 + 4 * near)))


def _wall(rng: np.random.Generator, side: int) -> Image.Image:
    """A plastered wall, unevenly lit, and a skirting or a floor."""
    paint = hsv(rng.random(), rng.uniform(0.05, 0.5), rng.uniform(0.45, 0.95))
    light = (0.8 + 0.4 * _noise(rng, side, (3, 3))[..., None]) * _grain(rng, side, 0.03)
    image = _image(_gradient(shaded(paint, 1.1), shaded(paint, 0.85), side) * light)
    if rng.random() < 0.6:
        edge = round(side * rng.uniform(0.72, 0.92))
        wood = hsv(rng.uniform(0.05, 0.11), rng.uniform(0.3, 0.6), rng.uniform(0.3, 0.7))
        floor = _gradient(shaded(wood, 0.8), shaded(wood, 1.2), side) * _grain(rng, side, 0.1)
        image.paste(_image(floor).crop((0, 0, side, side - edge)), (0, edge))
        ImageDraw.Draw(image).line((0, edge, side, edge), shaded(wood, 0.5), side // 64)
    return image


def _water(rng: np.random.Generator, side: int) -> Image.Image:
    """Blue to green depth with light on the waves."""
    tone = hsv(rng.uniform(0.45, 0.62), rng.uniform(0.5, 0.85), rng.uniform(0.5, 0.85))
    rows, columns = np.mgrid[:side, :side] / side
    bend = _noise(rng, side, (4, 4)) * rng.uniform(4, 9)
    waves = np.sin(rows * rng.uniform(18, 40) + columns * rng.uniform(-8, 8) + bend)
    light = 1 + 0.12 * np.clip(waves, 0.2, 1)[..., None]
    return _image(_gradient(shaded(tone, 1.25), shaded(tone, 0.6), side) * light)


def _dusk(rng: np.random.Generator, side: int) -> Image.Image:
    """Soft blots of two or three colours, like lights out of focus."""
    values = _gradient(_any(rng), _any(rng), side)
    for _ in range(3):
        share = np.clip(_noise(rng, side, (4, 4)) * 1.6 - 0.5, 0, 1)[..., None]
        values = values * (1 - share) + np.array(_any(rng)) * share
    return _image(values * _grain(rng, side, 0.05))


def _any(rng: np.random.Generator) -> Colour:
    return hsv(rng.random(), rng.uniform(0.15, 0.65), rng.uniform(0.25, 0.9))


def _clutter(image: Image.Image, rng: np.random.Generator) -> None:
    """Pebbles, leaves, sticks and specks."""
    draw, side = ImageDraw.Draw(image), image.width
    for _ in range(int(rng.integers(5, 16))):
        x, y = rng.uniform(0, side, 2)
        reach = side * rng.uniform(0.012, 0.07)
        tone = hsv(rng.random(), rng.uniform(0.05, 0.6), rng.uniform(0.2, 0.9))
        angle = rng.uniform(0, math.pi)
        step = np.array([math.cos(angle), math.sin(angle)]) * reach
        kind = rng.integers(4)
        if kind == 0:
            flat = reach * rng.uniform(0.4, 0.9)
            draw.ellipse((x - reach, y - flat, x + reach, y + flat), tone)
        elif kind == 1:
            ends = (x - 2 * step[0], y - 2 * step[1], x + 2 * step[0], y + 2 * step[1])
            draw.line(ends, tone, max(2, round(reach / 5)))
        elif kind == 2:
            offsets = rng.uniform(-1.2, 1.2, (int(rng.integers(3, 6)), 2))
            corners = np.array([x, y]) + reach * offsets
            draw.polygon([(float(a), float(b)) for a, b in corners], tone)
        else:
            for dx, dy in rng.normal(0, 2 * reach, (6, 2)):
                draw.circle((x + dx, y + dy), max(1.0, reach / 6), tone)


def _noise(rng: np.random.Generator, side: int, cells: tuple[int, int]) -> NDArray[np.float64]:
    """Smooth values from 0 to 1, [side, side], with ``cells`` blots down and across."""
    coarse = Image.fromarray(rng.random(cells, dtype=np.float32))
    fine = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), dtype=np.float64)
    return np.clip(fine, 0, 1)


def _grain(rng: np.random.Generator, side: int, strength: float) -> NDArray[np.float64]:
    """Factors around 1, [side, side, 1], as fine as the finished picture's pixels."""
    factors = 1 + strength * rng.standard_normal((side // FINER, side // FINER))
    return factors.repeat(FINER, axis=0).repeat(FINER, axis=1)[..., None]


def _gradient(top: Colour, bottom: Colour, side: int) -> NDArray[np.float64]:
    share = np.linspace(0, 1, side)[:, None, None]
    values = np.array(top) * (1 - share) + np.array(bottom) * share
    return np.broadcast_to(values, (side, side, 3))


def _image(values: NDArray[np.float64]) -> Image.Image:
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
