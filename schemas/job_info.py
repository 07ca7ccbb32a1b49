"""What a job says of itself; command line, `submit` and `show` loop over it."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.specs import JobSpec, Spec
from schemas.tables import Table


@dataclass(frozen=True)
class JobInfo:
    """One job. Its code is the module ``jobs.<name>``, hyphens as underscores.

    Attributes:
        name: of the command and of the job's folder in a run.
        spec: what it reads from YAML and flags.
        help: the first paragraph of ``--help``.
        example: a command line.
        tables: what it publishes; empty for a job that publishes no tables.
        figures: what ``unitscope show`` draws of what it published, each by flags of its own.
        paper: the figure or table of ZF that ``show --figure`` composes of it; None: none.
    """

    name: str
    spec: type[JobSpec]
    help: str
    example: str
    tables: tuple[Table, ...] = ()
    figures: tuple[type[Spec], ...] = ()
    paper: str | None = None
