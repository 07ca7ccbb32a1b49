"""Every table's contract, wherever it stands."""

from __future__ import annotations

from importlib import import_module

from schemas import tables
from schemas.jobs import JOBS
from schemas.tables import Table

_MODULES = [tables, *(import_module(f"schemas.jobs.{job.replace('-', '_')}") for job in JOBS)]
_FOUND = {
    (value.job, value.name): value
    for module in _MODULES
    for value in vars(module).values()
    if isinstance(value, Table)
}
CONTRACTS = list(_FOUND.values())
