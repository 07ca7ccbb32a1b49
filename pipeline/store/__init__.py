"""The run folder: every path, table and commit."""

from pipeline.store.commit import JobStore
from pipeline.store.conflicts import WorkGoneError
from pipeline.store.layout import JobFolder
from pipeline.store.tables import open_run

__all__ = ["JobFolder", "JobStore", "WorkGoneError", "open_run"]
