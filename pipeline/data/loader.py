"""Batches of input frames, read and decoded ahead of the network.

Invariant: which image stands in which slot of which batch is arithmetic on the shard; neither
rejects, threads, timing nor the read-ahead hint change a byte of a batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple, Self

import pyarrow as pa
import torch

from pipeline.data.decode import decode
from pipeline.data.parquet_images import ParquetImages
from pipeline.data.preprocess import to_frame
from pipeline.data.read_image import ImageRow, image_rows, read_bytes
from schemas.errors import DatasetError, ImageRejectedError
from schemas.manifest import Shard
from schemas.specs import DatasetSpec, PreprocessSpec
from schemas.tables import REJECT_REASONS

BATCHES_AHEAD = 2
"""Batches read and decoded beyond the one that the consumer holds."""

_NO_PICTURE = torch.empty(3, 0, 0, dtype=torch.uint8)


class Reject(NamedTuple):
    """One row of the rejects table."""

    image_id: int
    uri: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Batch:
    """``batch_size`` slots, filled from one shard; S is the preprocessing's ``crop_px``.

    Attributes:
        frames: uint8 [batch_size, 3, S, S], contiguous, before `preprocess.normalise`; zeros where
            ``valid`` is False.
        valid: bool [batch_size]; False for a reject and past the shard's end.
        image_ids: int64 [batch_size]; -1 past the shard's end.
        heights: int32 [batch_size], of the picture as shown, in pixels; 0 where not valid.
        widths: int32 [batch_size], likewise.
        rejects: the images of this batch that could not be used, in order.
        rows: the batch's slice of the image list, rejects included.
        pictures: uint8 [3, H, W] by slot, the decoded pictures, not resized; [3, 0, 0] for a
            reject. Empty unless the loader keeps them.
    """

    frames: torch.Tensor
    valid: torch.Tensor
    image_ids: torch.Tensor
    heights: torch.Tensor
    widths: torch.Tensor
    rejects: tuple[Reject, ...]
    rows: pa.Table
    pictures: tuple[torch.Tensor, ...] = ()


class _Loaded(NamedTuple):
    """What a decoder says of the frame that it filled."""

    height: int
    width: int
    picture: torch.Tensor


@dataclass(frozen=True)
class _Pending:
    """A batch whose images are being decoded into ``frames``."""

    frames: torch.Tensor
    rows: pa.Table
    images: list[ImageRow]
    done: list[Future[_Loaded | Reject]]
    keep_pictures: bool

    def cancel(self) -> None:
        for each in self.done:
            each.cancel()

    def wait(self) -> Batch:
        size = len(self.frames)
        valid = torch.zeros(size, dtype=torch.bool)
        image_ids = torch.full((size,), -1, dtype=torch.int64)
        heights, widths = torch.zeros(2, size, dtype=torch.int32)
        rejects = []
        pictures: list[torch.Tensor] = []
        for slot, (image, done) in enumerate(zip(self.images, self.done, strict=True)):
            image_ids[slot] = image.image_id
            result = done.result()
            if isinstance(result, Reject):
                rejects.append(result)
                pictures.append(_NO_PICTURE)
            else:
                valid[slot] = True
                heights[slot], widths[slot] = result.height, result.width
                pictures.append(result.picture)
        kept = tuple(pictures) if self.keep_pictures else ()
        return Batch(
            self.frames, valid, image_ids, heights, widths, tuple(rejects), self.rows, kept
        )


class ImageLoader:
    """Reads, decodes and frames images in threads, one shard after another.

    One consumer at a time. Use as a context manager, or `close` it.

    Args:
        rows: gives the rows [start, stop) of the image list, `schemas.tables.IMAGE_LIST`.
        preprocess: from decoded pixels to the input frame.
        data: for ``max_pixels``.
        batch_size: slots per batch.
        threads: images in work at once.
        keep_pictures: hand out the decoded pictures too; as many as there are slots are in memory,
            `BATCHES_AHEAD` + 1 times.
    """

    def __init__(
        self,
        rows: Callable[[int, int], pa.Table],
        *,
        preprocess: PreprocessSpec,
        data: DatasetSpec,
        batch_size: int,
        threads: int,
        keep_pictures: bool = False,
    ) -> None:
        self._rows = rows
        self._preprocess = preprocess
        self._max_pixels = data.max_pixels
        self._batch_size = batch_size
        self._keep_pictures = keep_pictures
        self._parquet = ParquetImages()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        self._ahead: tuple[Shard, deque[_Pending]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Drop what was read ahead and end the threads."""
        self._take(None)
        self._pool.shutdown(cancel_futures=True)

    def batches(self, shard: Shard, upcoming: Shard | None = None) -> Iterator[Batch]:
        """The shard's batches, in order, cut every ``batch_size`` images from its start.

        `BATCHES_AHEAD` batches are in work beyond the one that was handed out; at the shard's end
        these are the first of ``upcoming``, and its own call finds them. If another shard is
        asked for instead, they are dropped.

        Raises:
            StoreUnavailableError: no answer from the store.
            DatasetError: the image list has not the rows that the shard names.
        """
        pending = self._take(shard)
        own = range(shard.start, shard.stop, self._batch_size)
        plan = [(shard, start) for start in own]
        if upcoming is not None:
            later = range(upcoming.start, upcoming.stop, self._batch_size)
            plan += [(upcoming, start) for start in later[:BATCHES_AHEAD]]
        submitted = len(pending)
        handed_over = False
        try:
            for number in range(len(own)):
                wanted = min(len(plan), number + 1 + BATCHES_AHEAD)
                for owner, start in plan[submitted:wanted]:
                    pending.append(self._submit(owner, start))
                submitted = max(submitted, wanted)
                batch = pending[0].wait()
                pending.popleft()
                yield batch
            if upcoming is not None:
                self._ahead = (upcoming, pending)
                handed_over = True
        finally:
            if not handed_over:
                _drop(pending)

    def _take(self, shard: Shard | None) -> deque[_Pending]:
        """What was read ahead, if it is of this shard."""
        ahead, self._ahead = self._ahead, None
        if ahead is None:
            return deque()
        if ahead[0] == shard:
            return ahead[1]
        _drop(ahead[1])
        return deque()

    def _submit(self, shard: Shard, start: int) -> _Pending:
        stop = min(start + self._batch_size, shard.stop)
        rows = self._rows(start, stop)
        images = image_rows(rows)
        if len(images) != stop - start:
            raise DatasetError(
                f"shard {shard.index}: the image list has not the rows {start} to {stop - 1}; the "
                "plan belongs to another list"
            )
        side = self._preprocess.crop_px
        frames = torch.zeros(self._batch_size, 3, side, side, dtype=torch.uint8)
        done = [
            self._pool.submit(self._load, image, frame, excluded=row in shard.excluded)
            for row, (image, frame) in enumerate(
                zip(images, frames[: len(images)], strict=True), start
            )
        ]
        return _Pending(frames, rows, images, done, self._keep_pictures)

    def _load(self, image: ImageRow, frame: torch.Tensor, *, excluded: bool) -> _Loaded | Reject:
        """Fill ``frame`` (uint8 [3, S, S]); the picture's size as shown, and itself if kept."""
        if excluded:
            return Reject(image.image_id, image.uri, "kills_worker", REJECT_REASONS["kills_worker"])
        try:
            pixels = decode(read_bytes(image, self._parquet), max_pixels=self._max_pixels)
            frame.copy_(to_frame(pixels, self._preprocess))
        except ImageRejectedError as error:
            return Reject(image.image_id, image.uri, error.reason, error.detail)
        height, width = pixels.shape[-2:]
        return _Loaded(height, width, pixels if self._keep_pictures else _NO_PICTURE)


def _drop(batches: deque[_Pending]) -> None:
    for batch in batches:
        batch.cancel()
