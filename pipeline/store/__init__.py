"""The run folder: every path, table and commit."""

from pipeline.store.commit import JobStore
from pipeline.store.encode import open_run
from pipeline.store.layout import JobFolder

__all__ = ["JobFolder", "JobStore", "open_run"]
