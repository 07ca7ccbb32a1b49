"""The bytes of one listed image: from a file, a byte range of a tar, or a row of a Parquet file.

An image that is absent, forbidden, empty or too large is an `ImageRejectedError`; a store that does
not answer is not the image's fault and stays a `StoreUnavailableError`.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

import pyarrow as pa

from pipeline.data.parquet_images import ParquetImages
from pipeline.io import objects
from pipeline.io.retry import http_status
from schemas.errors import ImageRejectedError

MAX_BYTES = 1 << 28
"""A file of more than 256 MiB is no picture for a scan; reading it would only cost memory."""

_HTTP_REASONS = {401: "no_permission", 403: "no_permission", 404: "missing", 410: "missing"}
_ABSENT_NUMBERS = {errno.ENAMETOOLONG, errno.ELOOP}


@dataclass(frozen=True, slots=True)
class ImageRow:
    """One row of the image list, as far as reading needs it; `schemas.tables.IMAGE_LIST`."""

    image_id: int
    uri: str
    container: str | None = None
    offset: int | None = None
    length: int | None = None


def image_rows(rows: pa.Table) -> list[ImageRow]:
    """The rows of a small slice of the image list."""
    names = ("image_id", "uri", "container", "offset", "length")
    columns = (rows.column(name).to_pylist() for name in names)
    return [ImageRow(*values) for values in zip(*columns, strict=True)]


def read_bytes(row: ImageRow, parquet: ParquetImages, *, max_bytes: int = MAX_BYTES) -> bytes:
    """The whole file, the byte range of a tar, or the value in a Parquet file.

    Args:
        row: which image.
        parquet: reads images that stand in Parquet files; share one between threads.
        max_bytes: more are rejected; a file is not read further than that.

    Returns:
        At least one byte.

    Raises:
        ImageRejectedError: ``missing``, ``no_permission``, ``empty``, ``truncated`` (a tar that
            ends early), ``corrupt`` (a damaged Parquet file) or ``too_large``.
        StoreUnavailableError: no answer from the store.
    """
    if row.length is not None and row.length > max_bytes:
        raise ImageRejectedError("too_large", f"{row.length} bytes, more than {max_bytes}")
    try:
        data = _fetch(row, parquet, max_bytes)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise ImageRejectedError("missing", "there is no such file") from error
    except PermissionError as error:
        raise ImageRejectedError("no_permission", "the store refuses to read it") from error
    except Exception as error:
        status = http_status(error)
        if status in _HTTP_REASONS:
            raise ImageRejectedError(_HTTP_REASONS[status], f"HTTP status {status}") from error
        # A store answers 416 when an object has no byte of the range that was asked for.
        if status == 416:
            raise _ended(row, 0) from error
        if _is_no_name(row.uri, error):
            raise ImageRejectedError("missing", "no file can have such a name") from error
        raise
    return _checked(data, row, max_bytes)


def _fetch(row: ImageRow, parquet: ParquetImages, max_bytes: int) -> bytes:
    if row.container is None:
        path = objects.local_path(row.uri)
        # A pipe or a device could be read for ever.
        if path is not None and not path.is_file() and path.exists():
            raise ImageRejectedError("missing", "what stands there is no regular file")
        return objects.read(row.uri, 0, max_bytes + 1)
    if row.offset is None:
        raise ImageRejectedError(
            "missing",
            f"its name in {row.container} is not UTF-8 and cannot be listed; rename the file",
        )
    if row.length is not None:
        return objects.read(row.container, row.offset, row.offset + row.length)
    try:
        data = parquet.read(row.container, row.offset)
    except (pa.ArrowException, OSError) as error:
        # Arrow reports damaged pages as an OSError without a number.
        if isinstance(error, FileNotFoundError | PermissionError) or getattr(error, "errno", None):
            raise
        raise ImageRejectedError("corrupt", "the Parquet file is damaged") from error
    if data is None:
        raise ImageRejectedError("missing", "the cell is null")
    return data


def _is_no_name(uri: str, error: Exception) -> bool:
    """Whether reading failed because no file can be called so; a manifest may name anything."""
    if isinstance(error, ValueError):
        return "\0" in uri
    return isinstance(error, OSError) and error.errno in _ABSENT_NUMBERS


def _checked(data: bytes, row: ImageRow, max_bytes: int) -> bytes:
    if not data or len(data) < (row.length or 0):
        raise _ended(row, len(data))
    if len(data) > max_bytes:
        raise ImageRejectedError("too_large", f"more than {max_bytes} bytes")
    return data


def _ended(row: ImageRow, found: int) -> ImageRejectedError:
    """The reject of data that are not there, or not all."""
    if row.length:
        return ImageRejectedError("truncated", f"{found} of {row.length} bytes are there")
    return ImageRejectedError("empty", "zero bytes")
