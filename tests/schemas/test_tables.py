"""Every table's contract holds together: meanings, keys, sort orders, types for every reader."""

from __future__ import annotations

import io
import json
import math
import re
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas import tables
from schemas.jobs import JOBS
from schemas.tables import HISTOGRAM_EDGES, REJECT_REASONS, SCAN_UNITS, Table

TABLES = [table for table in vars(tables).values() if isinstance(table, Table)]
EVERY = pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)

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
    names = [(table.job, table.name) for table in TABLES]

    assert len(TABLES) >= 9
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
    table = next(table for table in TABLES if (table.job, table.name) == place)
    wanted = [re.fullmatch(r"(\w+) (.*?)(\??)", text) for text in re.split(r", (?!path)", columns)]

    found = {field.name: (str(field.type), field.nullable) for field in table.schema}

    assert {m[1]: found.get(m[1]) for m in wanted} == {m[1]: (m[2], bool(m[3])) for m in wanted}
    assert [name for name in table.schema.names if name in {m[1] for m in wanted}] == [
        m[1] for m in wanted
    ]


def test_histogram_edges_are_half_octaves_around_zero():
    positive = [edge for edge in HISTOGRAM_EDGES if edge > 0]

    assert (positive[0], positive[-1]) == (2.0**-10, 2.0**10)
    assert all(math.isclose(b / a, math.sqrt(2), rel_tol=1e-12) for a, b in pairwise(positive))
    assert list(HISTOGRAM_EDGES) == [*(-edge for edge in reversed(positive)), 0.0, *positive]


def test_histogram_has_the_bins_that_its_text_counts():
    bins = len(HISTOGRAM_EDGES) + 1

    assert bins == 84
    assert HISTOGRAM_EDGES.index(0.0) == len(HISTOGRAM_EDGES) // 2
    assert "84 bins in all" in " ".join(_text_after("HISTOGRAM_EDGES").split())


def test_histogram_column_carries_its_edges():
    metadata = SCAN_UNITS.schema.field("histogram").metadata

    assert tuple(json.loads(metadata[b"edges"])) == HISTOGRAM_EDGES


def test_reject_reasons_are_short_codes_that_the_column_lists():
    told = tables.SCAN_REJECTS.schema.field("reason").metadata[b"description"].decode()

    assert told.removeprefix("a short code: ").split(", ") == list(REJECT_REASONS)
    assert all(re.fullmatch(r"[a-z_]{1,15}", code) for code in REJECT_REASONS)
    assert all(REJECT_REASONS.values())


def _text_after(name: str) -> str:
    source = tables.__loader__.get_source("schemas.tables")
    return source.split(f"{name}: ")[1].split('"""')[1]
