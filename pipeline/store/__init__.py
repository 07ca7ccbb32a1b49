"""The run folder: every path, table and commit."""

from pipeline.store.commit import JobStore
from pipeline.store.conflicts import WorkGoneError
from pipeline.store.encode import open_run, within_units
from pipeline.store.layout import JobFolder

__all__ = ["JobFolder", "JobStore", "WorkGoneError", "open_run", "within_units"]
