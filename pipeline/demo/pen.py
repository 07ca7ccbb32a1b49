"""A pen that draws in an object's own coordinates and records the bounding box of each part.

The box of a part holds every pixel that was drawn while the part was open, clipped to the picture.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
Point = tuple[float, float]
Box = tuple[str, int, int, int, int]
"""(name, y0, x0, y1, x1), half-open, in pixels of the finished picture."""

FINER = 2
"""Pictures are drawn this many times larger and averaged down, so that edges are smooth."""


@dataclass(frozen=True)
class Placement:
    """Where an object's square [-1, 1] x [-1, 1] lies; lengths in pixels of the finished picture.

    Attributes:
        x: the centre, from the left.
        y: the centre, from the top.
        half: half the side.
        turn: radians, clockwise as seen.
        mirrored: whether left and right are exchanged.
    """

    x: float
    y: float
    half: float
    turn: float = 0.0
    mirrored: bool = False


class Pen:
    """Draws on a picture that is `FINER` times as large as the finished one.

    Points are (x, y) in the object's square, x to the right and y down; widths and radii are in
    the same unit.

    Attributes:
        boxes: one box for each part that was closed, in that order.
    """

    def __init__(self, image: Image.Image, placement: Placement) -> None:
        self.boxes: list[Box] = []
        self._image = image
        self._draw = ImageDraw.Draw(image)
        self._scale = placement.half * FINER
        across = -self._scale if placement.mirrored else self._scale
        cosine, sine = math.cos(placement.turn), math.sin(placement.turn)
        self._turn = np.array([[cosine * across, -sine * self._scale],
                               [sine * across, cosine * self._scale]])  # fmt: skip
        self._origin = np.array([placement.x, placement.y]) * FINER
        self._open: list[list[NDArray[np.float64]]] = []

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What is drawn inside the ``with`` is one part, and belongs to the parts around it too."""
        drawn: list[NDArray[np.float64]] = []
        self._open.append(drawn)
        yield
        self._open.pop()
        corners = np.concatenate(drawn)
        limit = np.array(self._image.size) // FINER
        low = np.clip(np.floor(corners.min(axis=0) / FINER), 0, limit).astype(int)
        high = np.clip(np.ceil(corners.max(axis=0) / FINER), 0, limit).astype(int)
        self.boxes.append((name, int(low[1]), int(low[0]), int(high[1]), int(high[0])))

    def polygon(
        self, points: Sequence[Point], fill: Colour, *, edge: Colour | None = None, width: float = 0
    ) -> None:
        """A filled polygon, with an edge of ``width`` where ``edge`` is a colour."""
        self._draw.polygon(_pairs(self._to_pixels(points)), fill)
        if edge is not None:
            self.line([*points, points[0]], edge, width)

    def ellipse(
        self,
        centre: Point,
        radii: Point,
        fill: Colour,
        *,
        turn: float = 0.0,
        edge: Colour | None = None,
        width: float = 0.04,
    ) -> None:
        """A filled ellipse, turned by ``turn`` radians about its centre."""
        self.polygon(round_points(centre, radii, turn=turn), fill, edge=edge, width=width)

    def line(self, points: Sequence[Point], colour: Colour, width: float) -> None:
        """A line with round ends and corners."""
        thick = max(1, round(width * self._scale))
        pixels = self._to_pixels(points, around=thick / 2 + 1)
        self._draw.line(_pairs(pixels), colour, thick, joint="curve")
        if thick > 2:
            for x, y in (pixels[0], pixels[-1]):
                self._draw.circle((float(x), float(y)), thick / 2, colour)

    def ring(self, centre: Point, radius: float, colour: Colour, width: float) -> None:
        """The line of a circle."""
        points = round_points(centre, (radius, radius))
        self.line([*points, points[0]], colour, width)

    def pattern(
        self,
        points: Sequence[Point],
        colour: Colour,
        where: Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.bool_]],
    ) -> None:
        """Colour a polygon where ``where(x, y)`` holds; x and y in the object's square."""
        mask = Image.new("L", self._image.size)
        ImageDraw.Draw(mask).polygon(_pairs(self._to_pixels(points)), 255)
        rows, columns = np.mgrid[: self._image.height, : self._image.width]
        pixels = np.stack([columns, rows]).reshape(2, -1) + 0.5 - self._origin[:, None]
        x, y = np.linalg.inv(self._turn) @ pixels
        chosen = where(x, y).reshape(rows.shape) & (np.asarray(mask) > 0)
        self._image.paste(colour, mask=Image.fromarray(chosen.astype(np.uint8) * 255))

    def word(self, text: str, room: tuple[float, float, float, float], colour: Colour) -> None:
        """Letters side by side, each a part ``letter``, upright whatever the placement's turn.

        Args:
            text: the letters.
            room: (x0, y0, x1, y1), which the word fills in width or in height, centred.
            colour: of the letters.
        """
        corners = np.array(room).reshape(2, 2) * self._scale + self._origin
        wide, high = corners[1] - corners[0]
        left, top, right, bottom = ImageFont.load_default(size=100).getbbox(text)
        size = 100 * min(wide / (right - left), high / (bottom - top))
        font = ImageFont.load_default(size=size)
        x, y = (corners.sum(axis=0) - np.array([left + right, top + bottom]) * size / 100) / 2
        for letter in text:
            box = self._draw.textbbox((x, y), letter, font=font)
            with self.part("letter"):
                self._draw.text((x, y), letter, colour, font=font)
                self._note(np.array(box, dtype=np.float64).reshape(2, 2))
            x += font.getlength(letter)

    def _to_pixels(self, points: Sequence[Point], around: float = 1.0) -> NDArray[np.float64]:
        pixels: NDArray[np.float64] = np.array(points) @ self._turn.T + self._origin
        self._note(np.concatenate([pixels - around, pixels + around]))
        return pixels

    def _note(self, corners: NDArray[np.float64]) -> None:
        for drawn in self._open:
            drawn.append(corners)


def round_points(
    centre: Point, radii: Point, *, turn: float = 0.0, start: float = 0.0, end: float = math.tau
) -> list[Point]:
    """Points along an ellipse from angle ``start`` to ``end``, clockwise from the right.

    Args:
        centre: (x, y).
        radii: before the turn, (across, down).
        turn: radians by which the ellipse is turned about its centre.
        start: radians, before the turn.
        end: radians; a whole circle leaves out its last point, which is the first.
    """
    angles = np.linspace(start, end, 48, endpoint=end - start < math.tau)
    x, y = radii[0] * np.cos(angles), radii[1] * np.sin(angles)
    cosine, sine = math.cos(turn), math.sin(turn)
    turned = (centre[0] + cosine * x - sine * y, centre[1] + sine * x + cosine * y)
    return list(zip(*(values.tolist() for values in turned), strict=True))


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """A colour from hue (turns, any number), saturation and value (0 to 1)."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def vivid(rng: np.random.Generator) -> Colour:
    """A strong colour of any hue."""
    return hsv(rng.random(), rng.uniform(0.55, 0.95), rng.uniform(0.6, 1.0))


def shaded(colour: Colour, factor: float) -> Colour:
    """Darker below 1, towards white above it (2 is white)."""
    if factor <= 1:
        red, green, blue = (round(value * factor) for value in colour)
    else:
        red, green, blue = (round(value + (255 - value) * (factor - 1)) for value in colour)
    return red, green, blue


def _pairs(points: NDArray[np.float64]) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in points]
