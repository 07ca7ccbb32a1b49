"""Rows of the image list (`schemas.tables.IMAGE_LIST`), built column by column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.errors import DatasetError
from schemas.tables import IMAGE_LIST

PICTURE_EXTENSIONS = frozenset(
    {".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png"}
    | {".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
"""File extensions (lower case) of the formats that `pipeline.data.decode` reads."""

_UNNUMBERED = pa.schema(list(IMAGE_LIST.schema)[1:])

Column: TypeAlias = pa.Array | pa.ChunkedArray | Sequence[object]


def list_rows(uri: Column, **columns: Column) -> pa.Table:
    """Rows of an image list that are not numbered yet.

    Args:
        uri: the images.
        **columns: any of label, class_name, container, offset, length; null where not given.

    Raises:
        DatasetError: a name that is not UTF-8 cannot stand in a table.
    """
    given = {"uri": uri, **columns}
    arrays = []
    for field in _UNNUMBERED:
        values = given.get(field.name)
        if values is None:
            arrays.append(pa.nulls(len(uri), field.type))
        elif isinstance(values, pa.Array | pa.ChunkedArray):
            arrays.append(values.cast(field.type))
        else:
            arrays.append(_array(values, field.type))
    return pa.table(arrays, schema=_UNNUMBERED)


def _array(values: Sequence[object], kind: pa.DataType) -> pa.Array:
    try:
        return pa.array(values, type=kind)
    except UnicodeEncodeError as error:
        raise DatasetError(
            f"the name {error.object!r} is not UTF-8 and cannot stand in a table; rename the file"
        ) from error


def number_rows(rows: pa.Table) -> pa.Table:
    """The finished image list: ``rows`` with image_id 0 to n-1 before them."""
    ids = pa.array(np.arange(rows.num_rows, dtype=np.int64))
    return pa.table([ids, *rows.columns], schema=IMAGE_LIST.schema)


def label_by_class(rows: pa.Table) -> pa.Table:
    """``rows`` with labels from the sorted class names, where there are names and no label."""
    names = rows.column("class_name")
    if rows.column("label").null_count < rows.num_rows or names.null_count == rows.num_rows:
        return rows
    # Sorted in Python, whose order is by code point; that of Arrow is not promised.
    classes = sorted(pc.unique(names.drop_null()).to_pylist())
    labels = pc.index_in(names, value_set=pa.array(classes, pa.string()), skip_nulls=True)
    index = rows.schema.get_field_index("label")
    return rows.set_column(index, rows.schema.field(index), labels.cast(pa.int32()))


def as_text(name: str) -> str:
    r"""A file's name as a table can hold it: a byte that is not UTF-8 becomes ``\xff``."""
    if name.isascii():
        return name
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
