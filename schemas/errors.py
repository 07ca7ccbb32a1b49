"""The one exception tree. Every message says what happened, to which object, and what to do.

UnitscopeError
├── InputError                 the caller's words or files are wrong           (exit status 2)
│   ├── SpecError              a field, a flag or a YAML line
│   ├── ModelError             an architecture or weights that cannot be loaded
│   │   └── TraceError         a forward that cannot be traced into a graph
│   ├── LayerError             a layer or unit that the model does not have
│   ├── DatasetError           data that cannot be read, are empty, or are not those scanned
│   └── PlanMismatchError      the run folder belongs to another plan
└── JobError                   the work itself failed                          (exit status 3)
    ├── TooManyRejectsError    more images rejected than the spec allows
    ├── WorkerError            a worker cannot start, or a stage failed in it
    ├── NotPublishedError      a table is read before its job has published it
    └── StoreError             the run folder cannot be trusted or reached
        ├── StoreUnavailableError   no answer in the time for retries
        ├── WorkGoneError           the work under way was taken away: another run ended
        ├── UnsafeStoreError        the store ignores "put if absent"
        ├── ContentConflictError    two different contents claim one write-once name
        └── SchemaMismatchError     a table does not have the schema that it promises

ImageRejectedError stands apart: it never leaves the decoder's caller, who turns it into a row of
the rejects table.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UnitscopeError(Exception):
    """Base of every error that Unitscope raises on purpose."""

    exit_status = 3


class InputError(UnitscopeError):
    """The caller's words or files are wrong; nothing was done."""

    exit_status = 2


class SpecError(InputError):
    """A field of a spec, a flag or a YAML line is wrong."""


class ModelError(InputError):
    """An architecture or its weights cannot be loaded."""


class TraceError(ModelError):
    """The model's forward cannot be traced into a graph (it branches on values, say)."""


class LayerError(InputError):
    """A layer or a unit that the model, or the run, does not have."""


class DatasetError(InputError):
    """The data, or a selection of them, are not what was asked for, or not what was scanned."""


class PlanMismatchError(InputError):
    """The run folder was begun with another plan."""


class JobError(UnitscopeError):
    """The work itself failed; what was committed stays and a rerun resumes."""


class TooManyRejectsError(JobError):
    """More images were rejected than the spec's ``max_reject_fraction`` allows."""


class WorkerError(JobError):
    """A worker cannot start, or a stage failed in it."""


class NotPublishedError(JobError):
    """A table is read before its job has published it."""


class StoreError(JobError):
    """The run folder cannot be trusted or reached."""


class StoreUnavailableError(StoreError):
    """The store gave no answer in the time for retries."""


class WorkGoneError(StoreError):
    """An object of the work folder is gone: look at `JobStore.published`, another run ended."""


class UnsafeStoreError(StoreError):
    """The store ignores the condition of a "put if absent"."""


class ContentConflictError(StoreError):
    """Two different contents claim one write-once name."""


class SchemaMismatchError(StoreError):
    """A table does not have the schema that it promises."""


class ImageRejectedError(Exception):
    """One image cannot be used.

    Attributes:
        reason: a short stable code, one of `schemas.tables.REJECT_REASONS`.
        detail: one line for a person.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def nearest(word: str, choices: Iterable[str], count: int = 3) -> str:
    """A clause that lists the choices most like ``word``, to end an error message with.

    Returns:
        ``"nearest: a, b, c"``, or ``"choices: ..."`` where nothing is alike (at most ten).
    """
    known = list(choices)
    close = difflib.get_close_matches(word, known, n=count, cutoff=0.5)
    if close:
        return "nearest: " + ", ".join(close)
    shown = ", ".join(known[:10]) or "none"
    return "choices: " + (f"{shown}, ... ({len(known)} in all)" if len(known) > 10 else shown)
