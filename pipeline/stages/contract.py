"""What a stage is: the same names in each, so that any runtime can run any stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import pyarrow as pa

from schemas.manifest import Shard
from schemas.specs import Resources
from schemas.tables import Table


@dataclass(frozen=True)
class StageOutput:
    """What one shard gave.

    Attributes:
        tables: the shard's part tables by name, each by its contract in `Stage.parts`.
        counts: what was counted (``images``, ``rejects`` ...); the runtime sums them.
    """

    tables: dict[str, pa.Table]
    counts: dict[str, int] = field(default_factory=dict)


class Stage(Protocol):
    """The work on one shard.

    A stage is picklable and small before `setup` (a worker process receives it), and safe to
    repeat: the same shard gives the same tables, bit for bit, whatever ran before it.
    """

    @property
    def name(self) -> str:
        """The job's name."""

    @property
    def parts(self) -> Mapping[str, Table]:
        """The contracts of the tables that a shard gives, by name."""

    @property
    def resources(self) -> Resources:
        """Where it runs."""

    @property
    def items(self) -> str:
        """What a row of its work list is, in the plural; the name of their count."""

    @property
    def can_exclude(self) -> bool:
        """Whether it leaves out the rows of `Shard.excluded` and counts them as rejects.

        An image that kills its worker may be missing; where a row may not, its death is an error.
        """

    def setup(self, device: str) -> None:
        """Load what the work needs, once per worker; ``device`` is ``cpu`` or ``cuda:N``."""

    def process(self, shard: Shard, upcoming: Shard | None = None) -> StageOutput:
        """Do one shard.

        Args:
            shard: the slice of the work list.
            upcoming: the slice that this worker will probably get next; a hint to read ahead,
                never part of the result.
        """
