from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.store.encode import decode, encode
from schemas.errors import (
    SchemaMismatchError,
)
from schemas.jobs.scan import SCAN_LAYERS, SCAN_UNITS
from schemas.tables import Column, Table
from tests.contracts import CONTRACTS

Make = Callable[..., pa.Table]

every_table = pytest.mark.parametrize(
    "contract", CONTRACTS, ids=[f"{contract.job}-{contract.name}" for contract in CONTRACTS]
)


@every_table
def test_encode_then_decode_of_every_table_gives_equal_rows(contract: Table, make_rows: Make):
    rows = make_rows(contract)

    back = decode(encode(contract, rows), contract)

    assert back.to_pylist() == rows.to_pylist()
    assert back.schema.equals(contract.schema, check_metadata=True)


@every_table
def test_encode_of_a_wrong_table_is_refused_with_both_schemas(contract: Table, make_rows: Make):
    rows = make_rows(contract)
    first = rows.schema.field(0)
    other = pa.float16() if first.type != pa.float16() else pa.int8()
    wrong = {
        "missing": rows.drop_columns([first.name]),
        "additional": rows.append_column("more", pa.array(range(len(rows)))),
        "renamed": rows.rename_columns(["renamed", *rows.schema.names[1:]]),
        "reordered": rows.select([*rows.schema.names[1:], first.name]),
        "type": rows.set_column(0, pa.field(first.name, other), pa.nulls(len(rows), other)),
        "nullability": rows.set_column(0, first.with_nullable(not first.nullable), rows[0]),
    }
    if len(rows.schema) == 1:
        del wrong["reordered"]
    for table in wrong.values():
        with pytest.raises(SchemaMismatchError) as caught:
            encode(contract, table)
        message = str(caught.value)
        promised, found = message.split("promised:")[1].split("found:")
        assert promised != found
        assert [line.split(":")[0].strip() for line in promised.split("\n") if line.strip()] == (
            contract.schema.names
        )
        assert all(name in found for name in table.schema.names)


@every_table
def test_encode_of_a_null_where_none_is_allowed_is_refused(contract: Table, make_rows: Make):
    rows = make_rows(contract)
    for i, field in enumerate(contract.schema):
        # Not pa.nulls: of a picture that would make its bytes null too, which may not be.
        holed = rows.set_column(i, field, pa.array([None] * len(rows), field.type))
        if field.nullable:
            encode(contract, holed)
        else:
            with pytest.raises(SchemaMismatchError, match=f"column {field.name} has 4 nulls"):
                encode(contract, holed)


@every_table
def test_encode_of_equal_rows_gives_equal_bytes(contract: Table, make_rows: Make):
    rows = make_rows(contract, 50)
    halves = pa.concat_tables([rows.slice(0, 20), rows.slice(20)])
    inside = pa.concat_tables([rows, rows, rows]).combine_chunks().slice(50, 50)
    plain = rows.replace_schema_metadata({"other": "note"})

    data = encode(contract, rows)

    assert [encode(contract, same) == data for same in (rows, halves, inside, plain)] == [True] * 4


def test_encode_of_many_small_chunks_gives_the_bytes_of_one():
    contract = Table(
        job="any",
        name="pictures",
        columns=(Column("text", "string", "any"),),
        key=("text",),
        sort=("text",),
    )
    random = np.random.default_rng(0)
    # Several pages a row group: where one ends depends on the chunks that are written.
    pictures = sorted(random.bytes(100).hex() for _ in range(30_000))
    whole = pa.table({"text": pictures}, schema=contract.schema)
    chunked = pa.concat_tables([whole.slice(i, 777) for i in range(0, len(whole), 777)])

    assert encode(contract, chunked) == encode(contract, whole)


@every_table
def test_contracts_have_no_dictionary_columns(contract: Table):
    assert not any(pa.types.is_dictionary(field.type) for field in contract.schema)


def test_encode_writes_zstd_row_groups_with_statistics_and_the_version(make_rows: Make):
    contract = SCAN_UNITS
    data = encode(contract, make_rows(contract, 100), row_group_rows=40)

    footer = pq.read_metadata(pa.BufferReader(data))
    group = footer.row_group(1)
    column = group.column(1)
    assert [footer.row_group(i).num_rows for i in range(3)] == [40, 40, 20]
    assert column.compression == "ZSTD"
    assert (column.statistics.min, column.statistics.max) == (40, 79)
    assert json.loads(footer.metadata[b"unitscope"]) == {"schema_version": 1}


def test_decode_of_damaged_bytes_is_refused(make_rows: Make):
    data = encode(SCAN_UNITS, make_rows(SCAN_UNITS))

    for wrong in (b"", b"not parquet", data[:-20], data[: len(data) // 2]):
        with pytest.raises(SchemaMismatchError, match=r"scan/units: .* not a whole Parquet file"):
            decode(wrong, SCAN_UNITS)


def test_decode_of_another_table_is_refused(make_rows: Make):
    with pytest.raises(SchemaMismatchError, match="scan/layers: the schema is not"):
        decode(encode(SCAN_UNITS, make_rows(SCAN_UNITS)), SCAN_LAYERS)
