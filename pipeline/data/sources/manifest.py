"""The columns of a manifest, whatever file it stands in: path, label and class name.

A value that cannot be right is an error that names file, row, column and value; no row is dropped,
reordered or mended.
"""

from __future__ import annotations

import difflib

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.data.discover import join_relative
from pipeline.data.image_rows import list_rows
from schemas.errors import DatasetError
from schemas.secrets import WAY_OUT, holds_credentials, mask

COLUMNS = ("path", "label", "class_name")

_LARGEST_LABEL = 2**31 - 1
_NO_PATH = frozenset({"", "na", "n/a", "nan", "null", "none"})


def check_columns(names: list[str], url: str) -> None:
    """Make sure that a manifest has the column ``path``, and ``label`` and ``class_name`` spelt so.

    Raises:
        DatasetError: ``path`` is missing or there twice, or a column's name is almost one of these.
    """
    there = ", ".join(names)
    if names.count("path") != 1:
        raise DatasetError(
            f"{mask(url)}: a manifest has one column 'path' (and optionally label, class_name); "
            f"the columns there are: {there}"
        )
    for wanted in COLUMNS[1:]:
        others = {name.lower(): name for name in names if name not in COLUMNS}
        close = difflib.get_close_matches(wanted, others, n=1, cutoff=0.8)
        if wanted not in names and close:
            raise DatasetError(
                f"{mask(url)}: the column {others[close[0]]!r} is not read, but looks like "
                f"{wanted!r}; rename or drop it; the columns there are: {there}"
            )


def manifest_rows(table: pa.Table, url: str) -> pa.Table:
    """The rows of a manifest's table, in order, not numbered and not yet labelled by class.

    Args:
        table: with ``path``, and ``label`` and ``class_name`` where the manifest has them.
        url: the manifest's file.

    Raises:
        DatasetError: a path that is empty, no text or holds credentials, or a label that is no
            class index.
    """
    # The query of a web address is no part of its folder.
    address = url.partition("?")[0] if url.startswith(("http://", "https://")) else url
    folder = address.rpartition("/")[0]
    paths = _as_text(table, "path", url).to_pylist()
    uris = []
    for row, path in enumerate(paths, start=1):
        if path is None or path.strip().lower() in _NO_PATH:
            raise _wrong(url, row, "path", path, "is empty; give a path, or drop the row")
        if where := holds_credentials(path):
            raise _wrong(url, row, "path", mask(path), f"{where}; {WAY_OUT}")
        uris.append(join_relative(folder, path))
    return list_rows(uris, label=read_labels(table, url), class_name=read_class_names(table, url))


def read_class_names(table: pa.Table, url: str) -> pa.ChunkedArray:
    """The column ``class_name`` as string; null where it is empty, or not there at all.

    Raises:
        DatasetError: the column holds something that is no text.
    """
    if "class_name" not in table.column_names:
        return pa.chunked_array([pa.nulls(table.num_rows, pa.string())])
    names = _as_text(table, "class_name", url)
    return pc.if_else(pc.equal(names, ""), pa.scalar(None, pa.string()), names)


def _as_text(table: pa.Table, name: str, url: str) -> pa.ChunkedArray:
    column = table.column(name)
    try:
        return column.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DatasetError(
            f"{mask(url)}: the column {name} is {column.type}; it must be text"
        ) from error


def read_labels(table: pa.Table, url: str) -> pa.ChunkedArray:
    """The column ``label`` as int32; null where it is empty, -1 or NaN, or not there at all.

    Raises:
        DatasetError: a value is no integer from 0 to 2^31 - 1.
    """
    if "label" not in table.column_names:
        return pa.chunked_array([pa.nulls(table.num_rows, pa.int32())])
    column = table.column("label")
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        numbers = _parsed(column, url)
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind):
        numbers = column.cast(pa.float64(), safe=False)
        numbers = pc.if_else(pc.is_nan(numbers), pa.scalar(None, pa.float64()), numbers)
    else:
        raise DatasetError(f"{mask(url)}: the column label is {kind}; it must hold integers")
    wrong = pc.or_(
        pc.not_equal(numbers, pc.floor(numbers)),
        pc.or_(pc.less(numbers, -1), pc.greater(numbers, _LARGEST_LABEL)),
    )
    _refuse_first(wrong, column, url)
    numbers = pc.if_else(pc.equal(numbers, -1), pa.scalar(None, pa.float64()), numbers)
    return numbers.cast(pa.int32())


def _parsed(column: pa.ChunkedArray, url: str) -> pa.ChunkedArray:
    """Text to float64; ``3.0`` is 3, as pandas writes integers beside an empty cell."""
    text = pc.utf8_trim_whitespace(column.cast(pa.string()))
    text = pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
    _refuse_first(
        pc.invert(pc.match_substring_regex(text, r"^[+-]?[0-9]{1,15}(\.0*)?$")), column, url
    )
    return pc.replace_substring_regex(text, r"^\+", "").cast(pa.float64())


def _refuse_first(wrong: pa.ChunkedArray, column: pa.ChunkedArray, url: str) -> None:
    row = pc.index(wrong, value=True).as_py()
    if row >= 0:
        raise _wrong(
            url, row + 1, "label", column[row].as_py(), "is no class index; write an integer "
            "from 0, or leave it empty",
        )  # fmt: skip


def _wrong(url: str, row: int, column: str, value: object, problem: str) -> DatasetError:
    return DatasetError(f"{mask(url)}: row {row} (from 1), column {column}: {value!r} {problem}")
