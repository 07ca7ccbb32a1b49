"""Fixtures for the tests of the store: a miniature job, and rows for any contract."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pytest

from schemas.tables import Table

MINI_JOB = Path(__file__).with_name("mini_job.py")


@pytest.fixture(scope="session")
def mini_job() -> ModuleType:
    """The module ``mini_job.py``; run it as a program by its ``__file__``."""
    specification = importlib.util.spec_from_file_location("mini_job", MINI_JOB)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def make_rows() -> Callable[[Table, int], pa.Table]:
    """Rows that meet a contract: counting numbers, and strings of them."""

    def values(kind: pa.DataType, count: int) -> list[object]:
        if pa.types.is_list(kind):
            return [values(kind.value_type, 3) for _ in range(count)]
        if pa.types.is_struct(kind):
            columns = [values(field.type, count) for field in kind]
            names = [field.name for field in kind]
            return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
        if pa.types.is_string(kind):
            return [f"text {i:03}" for i in range(count)]
        if pa.types.is_binary(kind):
            return [b"%d" % i for i in range(count)]
        return [kind.to_pandas_dtype()(i) for i in range(count)]

    def make(contract: Table, count: int = 4) -> pa.Table:
        columns = {field.name: values(field.type, count) for field in contract.schema}
        return pa.table(columns, schema=contract.schema)

    return make
