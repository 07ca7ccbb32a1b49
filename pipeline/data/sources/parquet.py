"""Parquet files to rows of the image list: manifests, and tables that hold the images' bytes.

No image bytes are read for listing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.data.image_rows import label_by_class, list_rows
from pipeline.data.parquet_images import bytes_column, open_parquet
from pipeline.data.sources.manifest import (
    COLUMNS,
    check_columns,
    manifest_rows,
    read_class_names,
    read_labels,
)
from schemas.errors import DatasetError
from schemas.secrets import mask

LARGEST_ROW_GROUP_BYTES = 1 << 31


def parquet_rows(urls: Sequence[str]) -> pa.Table:
    """The rows of Parquet files, file after file, labelled, not numbered.

    Raises:
        DatasetError: a file is damaged, or neither a manifest nor a table of image bytes.
    """
    return label_by_class(pa.concat_tables([_one(url) for url in urls]))


def _one(url: str) -> pa.Table:
    try:
        file = open_parquet(url)
        column = bytes_column(file.schema_arrow)
        if column is not None:
            return _image_bytes(file, url, column)
        return _manifest(file, url)
    except (pa.ArrowInvalid, EOFError) as error:
        raise DatasetError(f"{mask(url)}: no readable Parquet file: {error}") from error


def _manifest(file: pq.ParquetFile, url: str) -> pa.Table:
    names = file.schema_arrow.names
    if "path" not in names:
        kinds = ", ".join(f"{field.name} ({field.type})" for field in file.schema_arrow)
        raise DatasetError(
            f"{mask(url)}: neither a manifest (a column 'path') nor image bytes (a column 'image', "
            f"struct of bytes and path or binary, or 'bytes'); the columns there are: {kinds}"
        )
    check_columns(names, url)
    if not _is_text(file.schema_arrow.field("path").type):
        raise DatasetError(f"{mask(url)}: the column path must hold text")
    return manifest_rows(file.read(columns=[name for name in COLUMNS if name in names]), url)


def _image_bytes(file: pq.ParquetFile, url: str, column: str) -> pa.Table:
    _refuse_large_groups(file, url, column)
    wanted = [name for name in COLUMNS[1:] if name in file.schema_arrow.names]
    table = file.read(columns=wanted)
    count = file.metadata.num_rows
    rows = pa.array(np.arange(count, dtype=np.int64))
    uris = pc.binary_join_element_wise(url, rows.cast(pa.string()), "#")
    paths = _paths(file, column)
    if paths is not None:
        named = pc.binary_join_element_wise(uris, paths, "/")
        uris = pc.if_else(pc.fill_null(pc.not_equal(paths, ""), fill_value=False), named, uris)
    return list_rows(
        uris,
        label=read_labels(table, url) if wanted else pa.nulls(count, pa.int32()),
        class_name=read_class_names(table, url) if wanted else pa.nulls(count, pa.string()),
        container=pa.repeat(url, count),
        offset=rows,
    )


def _refuse_large_groups(file: pq.ParquetFile, url: str, column: str) -> None:
    for index in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(index)
        for number in range(group.num_columns):
            chunk = group.column(number)
            if (
                chunk.path_in_schema == column
                and chunk.total_uncompressed_size > LARGEST_ROW_GROUP_BYTES
            ):
                raise DatasetError(
                    f"{mask(url)}: row group {index} holds {chunk.total_uncompressed_size} image "
                    "bytes, and a worker reads a row group whole; write the file again with a "
                    "smaller row_group_size"
                )


def _paths(file: pq.ParquetFile, column: str) -> pa.ChunkedArray | None:
    """The ``path`` beside the bytes in a struct; None if the bytes stand alone."""
    outer, dot, _ = column.partition(".")
    kind = file.schema_arrow.field(outer).type
    if not dot or kind.get_field_index("path") < 0 or not _is_text(kind.field("path").type):
        return None
    struct = file.read(columns=[f"{outer}.path"]).column(0)
    return pc.struct_field(struct, "path").cast(pa.string())


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
