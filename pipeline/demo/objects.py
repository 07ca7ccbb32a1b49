"""The ten classes of objects in the demo's scenes, each drawn from named parts.

An object draws only inside its own square [-1, 1] x [-1, 1], so that its placement alone decides
whether it fits into the picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from pipeline.demo.pen import Colour, Pen, Point, hsv, round_points, shaded, vivid

INK: Colour = (28, 26, 34)
WHITE: Colour = (248, 248, 244)
WORDS = ("unit", "layer", "patch", "edge", "ray", "pool", "deep", "filter", "1998", "map")


def draw_bicycle(pen: Pen, rng: np.random.Generator) -> None:
    """Two spoked wheels (parts ``wheel``), a frame, a ``saddle`` and handlebars."""
    paint, rear, front = vivid(rng), (-0.55, 0.32), (0.55, 0.32)
    crank, seat, head = (-0.1, 0.32), (-0.25, -0.3), (0.36, -0.32)
    for centre in (rear, front):
        with pen.part("wheel"):
            for angle in np.linspace(0, math.pi, 7, endpoint=False):
                across = (0.36 * math.cos(angle), 0.36 * math.sin(angle))
                ends = [(centre[0] - across[0], centre[1] - across[1]),
                        (centre[0] + across[0], centre[1] + across[1])]  # fmt: skip
                pen.line(ends, (190, 190, 196), 0.02)
            pen.ring(centre, 0.38, INK, 0.07)
            pen.ellipse(centre, (0.05, 0.05), INK)
    for line in ([rear, crank, seat, rear], [crank, head, seat], [head, front]):
        pen.line(line, paint, 0.07)
    pen.line([head, (0.32, -0.5), (0.52, -0.56)], INK, 0.06)
    pen.ellipse(crank, (0.09, 0.09), INK)
    with pen.part("saddle"):
        pen.line([seat, (-0.28, -0.44)], INK, 0.06)
        pen.ellipse((-0.28, -0.47), (0.17, 0.055), INK)


def draw_car(pen: Pen, rng: np.random.Generator) -> None:
    """A body, windows (parts ``window``), wheels (``wheel``) and lights, seen from the side."""
    paint = vivid(rng)
    dark, glass = shaded(paint, 0.6), hsv(0.55, rng.uniform(0.1, 0.4), rng.uniform(0.5, 0.95))
    front = rng.uniform(0.25, 0.45)
    cabin = [(-0.62, -0.1), (-0.45, -0.52), (front - 0.1, -0.52), (front + 0.22, -0.1)]
    pen.polygon(cabin, paint, edge=dark, width=0.04)
    middle = (front - 0.5) / 2
    back, fore = middle - 0.04, middle + 0.04
    for corners in (
        [(-0.52, -0.12), (-0.4, -0.44), (back, -0.44), (back, -0.12)],
        [(fore, -0.12), (fore, -0.44), (front - 0.12, -0.44), (front + 0.1, -0.12)],
    ):
        with pen.part("window"):
            pen.polygon(corners, glass)
    body = [(-0.94, 0.3), (-0.92, -0.05), (-0.62, -0.12), (front + 0.2, -0.12), (0.86, 0.0),
            (0.95, 0.3)]  # fmt: skip
    pen.polygon(body, paint, edge=dark, width=0.04)
    pen.line([(middle, -0.08), (middle, 0.26)], dark, 0.025)
    pen.line([(middle - 0.16, 0.0), (middle - 0.06, 0.0)], dark, 0.04)
    pen.ellipse((0.86, 0.1), (0.06, 0.08), (255, 240, 170))
    pen.ellipse((-0.89, 0.1), (0.04, 0.08), (200, 30, 30))
    for x in (-0.52, 0.52):
        with pen.part("wheel"):
            pen.ellipse((x, 0.32), (0.25, 0.25), INK)
            pen.ellipse((x, 0.32), (0.14, 0.14), (205, 205, 210))
            for angle in np.linspace(0, math.tau, 5, endpoint=False):
                tip = (x + 0.12 * math.cos(angle), 0.32 + 0.12 * math.sin(angle))
                pen.line([(x, 0.32), tip], (90, 90, 98), 0.03)


def _panel(rng: np.random.Generator) -> list[Point]:
    """The outline of a piece of cloth: round, square or many-cornered."""
    kind = rng.integers(3)
    if kind == 0:
        return round_points((0, 0), (0.95, 0.95))
    if kind == 1:
        wide, high = rng.uniform(0.65, 0.95, 2).tolist()
        return [(-wide, -high), (wide, -high), (wide, high), (-wide, high)]
    angles = np.sort(rng.uniform(0, math.tau, 8) * 0.25 + np.arange(8) * math.tau / 8)
    return [(0.9 * math.cos(angle), 0.9 * math.sin(angle)) for angle in angles]


def _two_tones(rng: np.random.Generator) -> tuple[Colour, Colour]:
    first = vivid(rng)
    return first, (WHITE if rng.random() < 0.5 else shaded(first, 0.3))


def draw_stripes(pen: Pen, rng: np.random.Generator) -> None:
    """Striped cloth, at any angle."""
    outline, (first, second) = _panel(rng), _two_tones(rng)
    angle, period = rng.uniform(0, math.pi), rng.uniform(0.22, 0.55)
    pen.polygon(outline, first)
    pen.pattern(
        outline,
        second,
        lambda x, y: (x * math.cos(angle) + y * math.sin(angle)) % period < period / 2,
    )


def draw_checks(pen: Pen, rng: np.random.Generator) -> None:
    """Chequered cloth, at any angle."""
    outline, (first, second) = _panel(rng), _two_tones(rng)
    angle, side = rng.uniform(0, math.pi / 2), rng.uniform(0.18, 0.36)
    cosine, sine = math.cos(angle), math.sin(angle)
    pen.polygon(outline, first)
    pen.pattern(
        outline,
        second,
        lambda x, y: ((x * cosine + y * sine) // side + (y * cosine - x * sine) // side) % 2 == 0,
    )


def draw_clock(pen: Pen, rng: np.random.Generator) -> None:
    """A round clock: rim, ``dial`` with twelve marks, two ``hands``."""
    rim, paper = vivid(rng), (WHITE if rng.random() < 0.75 else shaded(vivid(rng), 1.7))
    pen.ellipse((0, 0), (0.95, 0.95), rim)
    with pen.part("dial"):
        pen.ellipse((0, 0), (0.79, 0.79), paper, edge=shaded(rim, 0.6), width=0.04)
        for hour in range(12):
            angle = hour * math.tau / 12
            inner = 0.58 if hour % 3 == 0 else 0.66
            ends = [(r * math.cos(angle), r * math.sin(angle)) for r in (inner, 0.72)]
            pen.line(ends, INK, 0.07 if hour % 3 == 0 else 0.035)
        minutes = rng.uniform(0, 12)
        with pen.part("hands"):
            for turns, reach, width in ((minutes, 0.38, 0.09), (minutes * 12, 0.58, 0.06)):
                angle = turns * math.tau / 12 - math.pi / 2
                tip = (reach * math.cos(angle), reach * math.sin(angle))
                pen.line([(-0.15 * tip[0], -0.15 * tip[1]), tip], INK, width)
            pen.ellipse((0, 0), (0.07, 0.07), rim)


def draw_face(pen: Pen, rng: np.random.Generator) -> None:
    """A head with hair, two of ``eye``, a ``nose`` and a ``mouth``."""
    skin = hsv(rng.uniform(0.04, 0.1), rng.uniform(0.25, 0.65), rng.uniform(0.45, 0.98))
    hair = hsv(rng.uniform(0.0, 0.13), rng.uniform(0.2, 0.9), rng.uniform(0.08, 0.75))
    line, wide = shaded(skin, 0.55), rng.uniform(0.62, 0.74)
    if rng.random() < 0.5:
        pen.ellipse((0, -0.08), (wide + 0.16, 0.86), hair)
    else:
        pen.ellipse((0, -0.3), (wide + 0.08, 0.64), hair)
    for x in (-wide, wide):
        pen.ellipse((x, 0.1), (0.12, 0.18), skin, edge=line, width=0.03)
    pen.ellipse((0, 0.1), (wide, 0.82), skin, edge=line, width=0.03)
    pen.polygon(round_points((0, -0.28), (wide, 0.52), start=math.pi, end=math.tau), hair)
    iris = hsv(rng.choice([0.08, 0.33, 0.57]), 0.7, rng.uniform(0.3, 0.7))
    apart, look = rng.uniform(0.27, 0.34), rng.uniform(-0.04, 0.04)
    for side in (-1, 1):
        x = side * apart
        with pen.part("eye"):
            pen.ellipse((x, -0.03), (0.17, 0.12), WHITE, edge=INK, width=0.03)
            pen.ellipse((x + look, -0.03), (0.09, 0.09), iris)
            pen.ellipse((x + look, -0.03), (0.045, 0.045), INK)
        pen.line([(x - 0.16, -0.22), (x + 0.02, -0.27), (x + 0.16, -0.22)], shaded(hair, 0.7), 0.06)
    with pen.part("nose"):
        pen.line([(-0.02, 0.0), (-0.11, 0.3), (0.08, 0.32)], line, 0.05)
    _mouth(pen, rng)


def _mouth(pen: Pen, rng: np.random.Generator) -> None:
    red, open_by = hsv(0.98, 0.7, rng.uniform(0.5, 0.85)), rng.uniform(0.0, 0.16)
    with pen.part("mouth"):
        upper = round_points((0, 0.42), (0.3, 0.13), start=0, end=math.pi)
        if open_by > 0.05:
            lower = round_points((0, 0.42), (0.3, 0.13 + open_by), start=0, end=math.pi)
            pen.polygon([*upper, *reversed(lower)], WHITE, edge=red, width=0.05)
        else:
            pen.line(upper, red, 0.07)


def draw_fish(pen: Pen, rng: np.random.Generator) -> None:
    """A body with scales or bands, a ``tail``, a ``fin`` and an ``eye``."""
    paint = vivid(rng)
    other, deep = shaded(vivid(rng), 1.2), rng.uniform(0.34, 0.5)
    with pen.part("tail"):
        fan = [(-0.48, 0.0), (-0.95, -0.42), (-0.8, 0.0), (-0.95, 0.42)]
        pen.polygon(fan, other, edge=shaded(other, 0.6), width=0.03)
    with pen.part("fin"):
        pen.polygon([(-0.25, -0.8 * deep), (0.0, -1.6 * deep), (0.32, -0.7 * deep)], other)
    outline = round_points((0.15, 0), (0.75, deep))
    pen.polygon(outline, paint, edge=shaded(paint, 0.6), width=0.03)
    if rng.random() < 0.5:
        pen.pattern(outline, other, lambda x, _: (x < 0.42) & ((x + 1) % 0.3 < 0.12))
    else:
        for x in np.arange(-0.3, 0.4, 0.17):
            for y in np.arange(-0.6, 0.7, 0.3) * deep:
                scale = round_points((x, y), (0.07, 0.07), start=math.pi / 2, end=1.5 * math.pi)
                pen.line(scale, shaded(paint, 0.65), 0.025)
    pen.line(round_points((0.36, 0), (0.14, 0.75 * deep), start=-1.2, end=1.2),
             shaded(paint, 0.5), 0.03)  # fmt: skip
    pen.line([(0.72, 0.13), (0.85, 0.12)], INK, 0.03)
    with pen.part("eye"):
        pen.ellipse((0.62, -0.28 * deep), (0.1, 0.1), WHITE, edge=INK, width=0.03)
        pen.ellipse((0.64, -0.28 * deep), (0.05, 0.05), INK)


def draw_flower(pen: Pen, rng: np.random.Generator) -> None:
    """A ``blossom`` of petals around its ``centre``, on a stem with ``leaf`` left and right."""
    petal = vivid(rng)
    green = hsv(rng.uniform(0.26, 0.38), rng.uniform(0.5, 0.9), rng.uniform(0.3, 0.65))
    bend = rng.uniform(-0.15, 0.15)
    pen.line([(0, -0.3), (bend, 0.3), (0, 0.94)], green, 0.08)
    for side in (-1, 1):
        with pen.part("leaf"):
            pen.ellipse((0.24 * side, 0.62), (0.27, 0.1), green, turn=-0.5 * side,
                        edge=shaded(green, 0.6), width=0.025)  # fmt: skip
    count = int(rng.integers(5, 10))
    width = 1.15 / count
    with pen.part("blossom"):
        for place in range(count):
            angle = (place + 0.5) * math.tau / count
            middle = (0.36 * math.cos(angle), -0.35 + 0.36 * math.sin(angle))
            pen.ellipse(middle, (0.26, width), petal, turn=angle, edge=shaded(petal, 0.6),
                        width=0.025)  # fmt: skip
        with pen.part("centre"):
            heart = hsv(rng.uniform(0.08, 0.16), 0.9, rng.uniform(0.55, 1.0))
            pen.ellipse((0, -0.35), (0.2, 0.2), heart, edge=shaded(heart, 0.6), width=0.04)


def draw_house(pen: Pen, rng: np.random.Generator) -> None:
    """Walls, a ``roof`` with a chimney, a ``door`` and windows (parts ``window``)."""
    walls = hsv(rng.random(), rng.uniform(0.1, 0.6), rng.uniform(0.6, 0.98))
    tiles = hsv(rng.uniform(0.96, 1.1), rng.uniform(0.4, 0.8), rng.uniform(0.35, 0.8))
    wide, eaves = rng.uniform(0.6, 0.85), rng.uniform(-0.3, -0.1)
    chimney = [(0.3 * wide, eaves), (0.3 * wide, -0.85), (0.55 * wide, -0.85), (0.55 * wide, eaves)]
    pen.polygon(chimney, shaded(tiles, 0.7))
    corners = [(-wide, eaves), (wide, eaves), (wide, 0.9), (-wide, 0.9)]
    pen.polygon(corners, walls, edge=shaded(walls, 0.6), width=0.03)
    with pen.part("roof"):
        gable = [(-wide - 0.12, eaves), (0.0, -0.92), (wide + 0.12, eaves)]
        pen.polygon(gable, tiles, edge=shaded(tiles, 0.6), width=0.04)
    with pen.part("door"):
        pen.polygon([(-0.14, 0.9), (-0.14, 0.4), (0.14, 0.4), (0.14, 0.9)], shaded(tiles, 0.6))
        pen.ellipse((0.08, 0.66), (0.03, 0.03), (235, 200, 90))
    glass, half = hsv(0.56, rng.uniform(0.1, 0.5), rng.uniform(0.55, 1.0)), 0.15
    rows = (eaves + 0.27, 0.6) if eaves < -0.15 else (eaves + 0.3,)
    for y in rows:
        for x in (-0.55 * wide, 0.55 * wide):
            with pen.part("window"):
                frame = [(x - half, y - half), (x + half, y - half), (x + half, y + half),
                         (x - half, y + half)]  # fmt: skip
                pen.polygon(frame, glass, edge=WHITE, width=0.05)
                pen.line([(x - half, y), (x + half, y)], WHITE, 0.035)
                pen.line([(x, y - half), (x, y + half)], WHITE, 0.035)


def draw_text(pen: Pen, rng: np.random.Generator) -> None:
    """One to three words, mostly on a sign; each ``letter`` is a part."""
    hue, strong = rng.random(), rng.uniform(0.3, 0.9)
    light, dark = hsv(hue, 0.25, rng.uniform(0.85, 1.0)), hsv(hue, strong, 0.4)
    ink, paper = (dark, light) if rng.random() < 0.6 else (light, dark)
    lines = int(rng.integers(1, 4))
    high = 0.31 * lines
    sign = [(-0.95, -high), (0.95, -high), (0.95, high), (-0.95, high)]
    pen.polygon(sign, paper, edge=shaded(ink, 0.8), width=0.05)
    for row in range(lines):
        word = WORDS[rng.integers(len(WORDS))]
        top = -high + 0.1 + row * 0.6
        pen.word(word.upper() if rng.random() < 0.4 else word, (-0.83, top, 0.83, top + 0.42), ink)


DRAW: dict[str, Callable[[Pen, np.random.Generator], None]] = {
    "bicycle": draw_bicycle,
    "car": draw_car,
    "checks": draw_checks,
    "clock": draw_clock,
    "face": draw_face,
    "fish": draw_fish,
    "flower": draw_flower,
    "house": draw_house,
    "stripes": draw_stripes,
    "text": draw_text,
}
"""How each class is drawn, by name, sorted."""
