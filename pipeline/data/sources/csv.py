"""CSV manifests to rows of the image list, and CSV columns as text."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from pyarrow import csv

from pipeline.data.image_rows import label_by_class
from pipeline.data.sources.manifest import COLUMNS, check_columns, manifest_rows
from pipeline.io import objects
from schemas.errors import DatasetError
from schemas.secrets import mask

_PARSE = csv.ParseOptions(newlines_in_values=True)


def csv_rows(url: str) -> pa.Table:
    """The rows of a CSV manifest (comma, UTF-8, header), labelled, not numbered.

    Raises:
        DatasetError: it cannot be parsed, lacks the column ``path``, or holds a wrong value.
    """
    data = objects.read(url)
    try:
        names = header(data)
        check_columns(names, url)
        table = text_columns(data, [name for name in COLUMNS if name in names])
    except pa.ArrowInvalid as error:
        raise DatasetError(f"{mask(url)}: no readable CSV: {error}; mend that line") from error
    return label_by_class(manifest_rows(table, url))


def header(data: bytes) -> list[str]:
    """The names of a CSV's columns.

    Raises:
        pyarrow.ArrowInvalid: it is no readable CSV.
    """
    names: list[str] = csv.open_csv(pa.BufferReader(data), parse_options=_PARSE).schema.names
    return names


def text_columns(data: bytes, names: Sequence[str]) -> pa.Table:
    """These columns of a CSV as text: no value is read as a number or a date.

    Raises:
        pyarrow.ArrowInvalid: it is no readable CSV.
        KeyError: it has no such column.
    """
    convert = csv.ConvertOptions(
        include_columns=list(names), column_types=dict.fromkeys(names, pa.string())
    )
    return csv.read_csv(pa.BufferReader(data), parse_options=_PARSE, convert_options=convert)
