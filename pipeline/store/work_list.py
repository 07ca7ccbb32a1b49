"""The work list of a job: what it works on, one item per row; its shards are slices of the rows.

A scan's list numbers its images from 0; a later job's may leave out those that it does not need, so
a slice is counted in rows, not in ids.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from itertools import accumulate

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.io import objects
from pipeline.io.range_file import RangeFile
from schemas.errors import StoreError

ROW_GROUP_ROWS = 20_000


class WorkList:
    """Reads slices of one list; safe in threads.

    Args:
        url: its file.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._opened: tuple[int, pq.FileMetaData] | None = None
        self._kept: tuple[list[int], pa.Table] | None = None

    def rows(self, start: int, stop: int) -> pa.Table:
        """The rows [start, stop); slices in order fetch a row group once.

        Raises:
            FileNotFoundError: there is no list.
            StoreError: it has no such rows.
        """
        size, metadata = self._open()
        if not 0 <= start <= stop <= metadata.num_rows:
            raise StoreError(
                f"{self._url}: has {metadata.num_rows} rows, asked for {start} to {stop - 1}; "
                "the plan belongs to another list: take another run folder"
            )
        lengths = (metadata.row_group(i).num_rows for i in range(metadata.num_row_groups))
        starts = list(accumulate(lengths, initial=0))
        first = bisect_right(starts, start) - 1
        groups = [i for i in range(first, metadata.num_row_groups) if starts[i] < stop]
        return self._read(groups, size, metadata).slice(start - starts[first], stop - start)

    def _read(self, groups: list[int], size: int, metadata: pq.FileMetaData) -> pa.Table:
        """Row groups, the last ones kept: a batch is far smaller than one, and a store is far."""
        with self._lock:
            if self._kept is None or self._kept[0] != groups:
                file = pq.ParquetFile(RangeFile(self._url, size), metadata=metadata)
                self._kept = (groups, file.read_row_groups(groups))
            return self._kept[1]

    def _open(self) -> tuple[int, pq.FileMetaData]:
        """Size and footer, read once; several threads may ask."""
        with self._lock:
            if self._opened is None:
                size = objects.size(self._url)
                self._opened = (size, pq.read_metadata(RangeFile(self._url, size)))
            return self._opened
