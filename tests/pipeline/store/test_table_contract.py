"""Rows that break a contract are named: the table, the columns and the first wrong row."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from pipeline.store.encode import encode
from pipeline.store.table_contract import full_name, require_schema, require_values
from schemas.errors import SchemaMismatchError
from schemas.tables import Column, Kind, Table
from tests.contracts import CONTRACTS

Make = Callable[..., pa.Table]

every_table = pytest.mark.parametrize("contract", CONTRACTS, ids=map(full_name, CONTRACTS))


def keyed(*names: str, sort: tuple[str, ...] | None = None, **kinds: Kind) -> Table:
    """A contract of key columns alone."""
    columns = tuple(Column(name, kinds[name], "any") for name in names)
    return Table(
        job="any", name="t", columns=columns, key=names, sort=names if sort is None else sort
    )


LAYERED = keyed("layer", "unit", layer="string", unit="int32")
SLOTTED = keyed("slot", "image_id", sort=("slot", "-image_id"), slot="int32", image_id="int64")


def check(contract: Table, **columns: list[object]) -> None:
    require_values(contract, pa.table(columns, schema=contract.schema))


@every_table
def test_rows_out_of_order_in_any_table_are_refused(contract: Table, make_rows: Make):
    rows = make_rows(contract)
    if contract.sort[0] == "layer":
        one = pa.array(["text 0"] * len(rows))
        rows = rows.set_column(0, contract.schema.field("layer"), one)

    with pytest.raises(SchemaMismatchError, match=rf"^{full_name(contract)}: row \d \(from 0\)"):
        encode(contract, pa.concat_tables([rows.slice(2), rows.slice(0, 2)]))


@every_table
def test_rows_with_a_key_that_stands_twice_in_any_table_are_refused(
    contract: Table, make_rows: Make
):
    rows = make_rows(contract)
    doubled = pa.concat_tables([rows.slice(0, 2), rows.slice(1)])

    with pytest.raises(SchemaMismatchError) as caught:
        encode(contract, doubled)
    assert f"{full_name(contract)}: row 2 (from 0), {contract.key[0]} " in str(caught.value)
    assert f"{', '.join(contract.key)} must be unique" in str(caught.value)


@every_table
def test_rows_of_none_and_of_one_meet_any_contract(contract: Table, make_rows: Make):
    for count in (0, 1):
        require_values(contract, make_rows(contract, count))


def test_layers_in_any_order_whose_rows_stand_together_pass():
    check(LAYERED, layer=["b", "b", "a", "a", "c"], unit=[0, 1, 0, 5, 0])


def test_layer_whose_rows_are_apart_is_refused():
    with pytest.raises(SchemaMismatchError) as caught:
        check(LAYERED, layer=["b", "a", "a", "b"], unit=[0, 0, 1, 1])

    assert "any/t: row 3 (from 0), layer 'b', unit 1, may not come after layer 'a', unit 1" in (
        str(caught.value)
    )


def test_unit_that_descends_within_a_layer_is_refused():
    with pytest.raises(SchemaMismatchError, match=r"row 2 \(from 0\), layer 'a', unit 3, may not"):
        check(LAYERED, layer=["b", "a", "a"], unit=[9, 4, 3])


def test_a_column_marked_as_descending_descends():
    check(SLOTTED, slot=[0, 0, 1], image_id=[5, 3, 9])
    with pytest.raises(SchemaMismatchError, match=re.escape("sort the rows by slot, -image_id")):
        check(SLOTTED, slot=[0, 0, 1], image_id=[3, 5, 9])


def test_texts_are_sorted_by_code_point():
    names = keyed("name", name="string")
    check(names, name=["B", "a", "é"])
    with pytest.raises(SchemaMismatchError, match="name 'B', may not come after name 'a'"):
        check(names, name=["a", "B"])


def test_equal_rows_far_apart_are_found_where_the_order_is_not_the_key_s():
    contract = keyed("slot", "image_id", sort=("slot",), slot="int32", image_id="int64")

    with pytest.raises(SchemaMismatchError, match=r"row 3 \(from 0\), slot 1, image_id 7, has the"):
        check(contract, slot=[0, 1, 1, 1], image_id=[7, 7, 8, 7])


def test_keys_as_wide_as_their_types_are_told_apart():
    low, high = -(2**63), 2**63 - 1
    wide = keyed("a", "b", "c", a="int64", b="int64", c="int64")
    check(wide, a=[low, low, high, high], b=[0, high, low, low], c=[1, 1, low, high])
    with pytest.raises(SchemaMismatchError, match=r"row 3 .* must be unique"):
        check(wide, a=[low, low, high, high], b=[0, high, low, low], c=[1, 1, high, high])


def test_random_keys_are_unique_exactly_where_no_two_rows_are_equal():
    random = np.random.default_rng(0)
    contract = keyed("a", "b", sort=(), a="int32", b="int64")
    refused = 0
    for _ in range(50):
        rows = random.integers(0, 8, (8, 2)) * [1, 2**56]
        unique = len({*map(tuple, rows.tolist())}) == len(rows)
        try:
            check(contract, a=rows[:, 0].tolist(), b=rows[:, 1].tolist())
            assert unique
        except SchemaMismatchError:
            assert not unique
            refused += 1

    assert 0 < refused < 50


def test_schema_with_other_metadata_is_the_same():
    require_schema(LAYERED, LAYERED.schema.with_metadata({"other": "note"}))
