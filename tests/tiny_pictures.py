"""Small pictures for tests, and how to break one.

Invariant: a picture depends on its number alone.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def draw(folder: Path, count: int, *, side: int = 24) -> list[Path]:
    """Draw ``count`` RGB pictures, ``side`` pixels square, ``000.png`` and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    return [_draw_one(folder / f"{number:03d}.png", number, side) for number in range(count)]


def _draw_one(path: Path, number: int, side: int) -> Path:
    random = np.random.default_rng(number)
    # Coarse blocks under fine noise: neighbouring positions and pictures differ clearly.
    coarse = random.integers(0, 200, (side // 4 + 1, side // 4 + 1, 3))
    pixels = np.kron(coarse, np.ones((4, 4, 1), np.int64))[:side, :side]
    pixels = pixels + random.integers(0, 56, pixels.shape)
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path
