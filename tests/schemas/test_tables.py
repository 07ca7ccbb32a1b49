"""Every table's contract holds together: meanings, keys, sort orders, types for every reader."""

from __future__ import annotations

import io
import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.jobs import JOBS
from schemas.tables import Table
from tests.contracts import CONTRACTS

EVERY = pytest.mark.parametrize("table", CONTRACTS, ids=lambda table: table.name)

# The columns that the design promises: a table may get more, none may be renamed or retyped.
PROMISED = {
    ("scan", "images"): "image_id int64, uri string, label int32?, class_name string?, width int32,"
    " height int32, predicted int32, p_predicted float, p_label float?",
    ("scan", "top_patches"): "layer string, unit int32, rank int8, image_id int64, uri string,"
    " value float, y int32, x int32, box_y0 int32, box_x0 int32, box_y1 int32, box_x1 int32",
    ("scan", "units"): "layer string, unit int32, images int64, active int64, nonfinite int64,"
    " max float?, mean double?, std double?, histogram list<element: int64 not null>",
    ("scan", "layers"): "layer string, position int32, kind string, units int32, map_height int32,"
    " map_width int32, stride_y int32, stride_x int32, field_height int32, field_width int32",
    ("scan", "rejects"): "image_id int64, uri string, reason string, detail string",
    ("project", "projections"): "layer string, unit int32, rank int8, image_id int64, box_y0 int32,"
    " box_x0 int32, box_y1 int32, box_x1 int32,"
    " patch struct<bytes: binary not null, path: string>,"
    " projection struct<bytes: binary not null, path: string>, scale float, reproduced float",
}  # fmt: skip


def test_tables_have_names_of_their_own():
    names = [(table.job, table.name) for table in CONTRACTS]

    assert len(CONTRACTS) >= 9
    assert len(set(names)) == len(names)
    assert {job for job, _ in names} <= JOBS.keys()


@EVERY
def test_table_describes_every_column(table: Table):
    texts = {field.name: field.metadata[b"description"].decode() for field in table.schema}

    assert [name for name, text in texts.items() if len(text) < 5] == []


@EVERY
def test_table_carries_the_schema_version(table: Table):
    assert set(table.schema.metadata) == {b"unitscope"}
    assert json.loads(table.schema.metadata[b"unitscope"]) == {"schema_version": 1}


@EVERY
def test_table_key_and_sort_are_columns_that_are_never_null(table: Table):
    assert table.key
    for name in {*table.key, *(entry.removeprefix("-") for entry in table.sort)}:
        assert not table.schema.field(name).nullable


@EVERY
def test_table_names_each_column_once(table: Table):
    assert len(set(table.schema.names)) == len(table.schema.names)


@EVERY
def test_table_holds_plain_types_that_every_reader_prunes(table: Table):
    for field in table.schema:
        assert not pa.types.is_dictionary(field.type)
        assert not isinstance(field.type, pa.BaseExtensionType)
        assert not pa.types.is_large_string(field.type)


@EVERY
def test_table_through_parquet_keeps_its_schema(table: Table):
    file = io.BytesIO()

    pq.write_table(table.schema.empty_table(), file)

    assert pq.read_schema(file).equals(table.schema, check_metadata=True)


@pytest.mark.parametrize(("place", "columns"), PROMISED.items(), ids=lambda value: str(value)[:28])
def test_table_keeps_the_columns_of_the_design(place: tuple[str, str], columns: str):
    table = next(table for table in CONTRACTS if (table.job, table.name) == place)
    wanted = [re.fullmatch(r"(\w+) (.*?)(\??)", text) for text in re.split(r", (?!path)", columns)]

    found = {field.name: (str(field.type), field.nullable) for field in table.schema}

    assert {m[1]: found.get(m[1]) for m in wanted} == {m[1]: (m[2], bool(m[3])) for m in wanted}
    assert [name for name in table.schema.names if name in {m[1] for m in wanted}] == [
        m[1] for m in wanted
    ]
