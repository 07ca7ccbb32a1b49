"""Reading single images out of Parquet files that hold one image's bytes per row."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from itertools import accumulate

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.io import objects
from pipeline.io.range_file import RangeFile


def open_parquet(url: str) -> pq.ParquetFile:
    """Open a Parquet file by path or URL, read by ranges.

    Raises:
        FileNotFoundError: there is no such file.
        PermissionError: it may not be read.
        StoreUnavailableError: no answer.
        pyarrow.ArrowInvalid: it is no Parquet file.
    """
    return pq.ParquetFile(pa.PythonFile(RangeFile(url, objects.size(url)), mode="r"))


def bytes_column(schema: pa.Schema) -> str | None:
    """The column that holds pictures' bytes, as Parquet names it; None if there is none.

    A binary column ``image`` or ``bytes``, or the ``bytes`` of a struct ``image``.
    """
    for name in ("image", "bytes"):
        index = schema.get_field_index(name)
        if index < 0:
            continue
        kind = schema.field(index).type
        if _is_binary(kind):
            return name
        if pa.types.is_struct(kind):
            inner = kind.get_field_index("bytes")
            if inner >= 0 and _is_binary(kind.field(inner).type):
                return f"{name}.bytes"
    return None


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


class ParquetImages:
    """Reads single images, keeping the row groups that were opened last.

    A row group is fetched once while threads read its rows in order. Safe to share between threads;
    they take turns, since neighbours want the same row group.

    Args:
        groups_kept: row groups held in memory.
    """

    def __init__(self, groups_kept: int = 2) -> None:
        self.groups_kept = groups_kept
        self._lock = threading.Lock()
        self._groups: OrderedDict[tuple[str, int], pa.ChunkedArray] = OrderedDict()
        self._opened: tuple[str, pq.ParquetFile, list[int]] | None = None

    def read(self, url: str, row: int) -> bytes | None:
        """The bytes of one row's picture; None where it is null.

        Args:
            url: the Parquet file.
            row: counted over the whole file, from 0.

        Raises:
            FileNotFoundError: the file, or the row, does not exist.
            PermissionError: the file may not be read.
            StoreUnavailableError: no answer.
            pyarrow.ArrowException, OSError: the file is damaged.
        """
        with self._lock:
            file, stops = self._open(url)
            group = bisect_right(stops, row)
            if row < 0 or group == len(stops):
                raise FileNotFoundError(f"{url}: there is no row {row}")
            column = self._column(url, file, group)
            value: bytes | None = column[row - (stops[group - 1] if group else 0)].as_py()
        return value

    def _open(self, url: str) -> tuple[pq.ParquetFile, list[int]]:
        if self._opened is None or self._opened[0] != url:
            file = open_parquet(url)
            groups = range(file.metadata.num_row_groups)
            stops = list(accumulate(file.metadata.row_group(index).num_rows for index in groups))
            self._opened = (url, file, stops)
        return self._opened[1:]

    def _column(self, url: str, file: pq.ParquetFile, group: int) -> pa.ChunkedArray:
        key = (url, group)
        if key not in self._groups:
            name = bytes_column(file.schema_arrow)
            if name is None:
                raise FileNotFoundError(f"{url}: there is no column of image bytes")
            table = file.read_row_group(group, columns=[name], use_threads=False)
            column = table.column(0)
            while len(self._groups) >= self.groups_kept:
                self._groups.popitem(last=False)
            self._groups[key] = _inner(column) if "." in name else column
        self._groups.move_to_end(key)
        return self._groups[key]


def _inner(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The ``bytes`` of a struct column, null where the struct is."""
    return pa.chunked_array(
        [chunk.flatten()[0] for chunk in column.chunks], type=column.type.field(0).type
    )
