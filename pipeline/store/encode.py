"""Table rows to the bytes of one Parquet file, and back."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.store.table_contract import full_name, require_schema, require_values
from schemas.errors import SchemaMismatchError
from schemas.tables import Table

ROW_GROUP_ROWS = 65_536


def encode(contract: Table, rows: pa.Table, *, row_group_rows: int = ROW_GROUP_ROWS) -> bytes:
    """One Parquet file: zstd, the contract's metadata, one write call.

    Args:
        contract: what the table promises.
        rows: the rows, in the contract's order; their metadata are ignored.
        row_group_rows: rows per row group; 20,000 to 100,000, fewer where rows hold pictures.

    Returns:
        The file; the same bytes for equal rows, however they are chunked.

    Raises:
        SchemaMismatchError: the schema is another one, a column that allows no null has one, a key
            stands twice, or the rows are not in the contract's order.
    """
    require_schema(contract, rows.schema)
    # Page borders follow the chunks of a column, so one chunk per column makes the bytes repeat.
    table = pa.Table.from_arrays(rows.combine_chunks().columns, schema=contract.schema)
    require_values(contract, table)
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
            f"{full_name(contract)}: {len(data)} bytes are not a whole Parquet file ({error}); "
            "delete the file and run the job again"
        ) from error
    require_schema(contract, rows.schema)
    return rows
