"""Where windows lie on a frame (ZF 4.2).

The invariant: every window lies inside the frame, the last ones end at its border, and none wraps
around.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from schemas.arrays import Ints


@dataclass(frozen=True)
class Grid:
    """Windows of one size at every row and column.

    Attributes:
        rows: int64 [rows], y of the upper edges.
        columns: int64 [columns], x of the left edges.
        size: height and width of a window.
        frame_px: side of the frame.
    """

    rows: Ints
    columns: Ints
    size: tuple[int, int]
    frame_px: int

    @property
    def corners(self) -> Ints:
        """int64 [windows, 2], y and x, row by row."""
        both = np.meshgrid(self.rows, self.columns, indexing="ij")
        return np.stack(both, axis=-1).reshape(-1, 2)


def windows_along(frame_px: int, window_px: int, stride_px: int) -> Ints:
    """Corners of windows along one axis: multiples of the stride, then one flush with the border.

    Args:
        frame_px: side of the input frame.
        window_px: side of the windows, at most ``frame_px``.
        stride_px: step.

    Returns:
        int64 [n], ``floor((frame - window) / stride) + 1`` of them, and one more where the last
        does not reach the border (ZF 4.2's grid, with nothing missed).
    """
    corners = np.arange(0, frame_px - window_px + 1, stride_px, dtype=np.int64)
    last = frame_px - window_px
    return corners if corners[-1] == last else np.append(corners, last)
