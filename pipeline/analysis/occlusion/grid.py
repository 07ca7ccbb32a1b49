"""The grid of an occluding window's positions on the frame (ZF 4.2).

Every position lies inside the frame, and the last ones end at its border.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pipeline.models.affected_regions import IntervalArray
from schemas.arrays import Ints
from schemas.errors import SpecError
from schemas.jobs.occlude import SlidingWindow


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

    @property
    def covered(self) -> tuple[IntervalArray, IntervalArray]:
        """The rows, and the columns, of the frame that the windows cover."""
        height, width = self.size
        return (
            IntervalArray(self.rows, self.rows + height),
            IntervalArray(self.columns, self.columns + width),
        )


def sliding_grid(window: SlidingWindow, frame_px: int) -> Grid:
    """The positions of a sliding window on a square frame.

    Raises:
        SpecError: the window is larger than the frame.
    """
    require_fit([window], frame_px)
    height, width = window.size
    return Grid(
        windows_along(frame_px, height, window.stride_px),
        windows_along(frame_px, width, window.stride_px),
        (height, width),
        frame_px,
    )


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


def require_fit(windows: Iterable[SlidingWindow], frame_px: int) -> None:
    """Refuse a window that is larger than the frame.

    Raises:
        SpecError: names the window and the frame.
    """
    for height, width in (window.size for window in windows):
        if max(height, width) > frame_px:
            raise SpecError(
                f"window_px: a window of {height} x {width} pixels does not fit into the input "
                f"frame of {frame_px} x {frame_px}; take a smaller one"
            )
