"""Table rows to the bytes of one Parquet file, and back."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import SchemaMismatchError
from schemas.tables import Table

ROW_GROUP_ROWS = 65_536


def encode(contract: Table, rows: pa.Table, *, row_group_rows: int = ROW_GROUP_ROWS) -> bytes:
    """One Parquet file: zstd, the contract's metadata, one write call.

    Args:
        contract: what the table promises.
        rows: the rows, in the contract's order; their metadata are ignored.
        row_group_rows: rows a row group; 20,000 to 100,000, fewer where rows hold pictures.

    Returns:
        The file; the same bytes for equal rows, however they are chunked.

    Raises:
        SchemaMismatchError: names, order, types or nullability differ, or a column that allows no
            null has one.
    """
    _require_contract(contract, rows.schema)
    for promised, values in zip(contract.schema, rows.columns, strict=True):
        if not promised.nullable and values.null_count:
            raise SchemaMismatchError(
                f"{_name(contract)}: column {promised.name} has {values.null_count} nulls in "
                f"{len(rows)} rows and allows none; fill them or declare the column nullable"
            )
    # Page borders follow the chunks of a column, so one chunk a column makes the bytes repeat.
    table = pa.Table.from_arrays(rows.combine_chunks().columns, schema=contract.schema)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", row_group_size=row_group_rows)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def decode(data: bytes, contract: Table) -> pa.Table:
    """The rows of a file that `encode` made.

    Raises:
        SchemaMismatchError: the bytes are no Parquet file, or of another schema.
    """
    try:
        rows = pq.read_table(pa.BufferReader(data))
    except (pa.ArrowException, OSError) as error:
        raise SchemaMismatchError(
            f"{_name(contract)}: {len(data)} bytes are not a whole Parquet file ({error}); "
            "delete the file and run the job again"
        ) from error
    _require_contract(contract, rows.schema)
    return rows


def _require_contract(contract: Table, schema: pa.Schema) -> None:
    wanted, found = _outline(contract.schema), _outline(schema)
    if wanted != found:
        raise SchemaMismatchError(
            f"{_name(contract)}: the schema is not the one promised; build the table with "
            "schema=contract.schema\npromised:\n  "
            + "\n  ".join(wanted)
            + "\nfound:\n  "
            + "\n  ".join(found)
        )


def _outline(schema: pa.Schema) -> list[str]:
    """One line a column: name, type, nullability. What two schemas must share."""
    return [
        f"{field.name}: {field.type}{'' if field.nullable else ' not null'}" for field in schema
    ]


def _name(contract: Table) -> str:
    return f"{contract.job}/{contract.name}"
