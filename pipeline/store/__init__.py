"""The run folder: every path, table and commit."""

from pipeline.store.commit import JobStore
from pipeline.store.layout import JobFolder
from pipeline.store.run import open_run, within_units

__all__ = ["JobFolder", "JobStore", "open_run", "within_units"]
