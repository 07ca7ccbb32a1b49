"""What a stage is: the same four names in each, so that any runtime can run any stage."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import pyarrow as pa

from schemas.manifest import Shard
from schemas.specs import Resources


@dataclass(frozen=True)
class StageOutput:
    """What one shard gave.

    Attributes:
        tables: the shard's part tables by name, each with its schema of `schemas.tables`.
        counts: what was counted (``images``, ``rejects`` ...); the runtime sums them.
    """

    tables: dict[str, pa.Table]
    counts: dict[str, int] = field(default_factory=dict)


class Stage(Protocol):
    """The work on one shard.

    A stage is picklable and small before `setup` (a worker process receives it), and safe to
    repeat: the same shard gives the same tables, bit for bit, whatever ran before it.
    """

    name: str
    resources: Resources

    def setup(self, device: str) -> None:
        """Load what the work needs, once a worker; ``device`` is ``cpu`` or ``cuda:N``."""

    def process(self, shard: Shard, upcoming: Shard | None = None) -> StageOutput:
        """Do one shard.

        Args:
            shard: the slice to work on.
            upcoming: the slice that this worker will probably get next; a hint to read ahead,
                never part of the result.
        """
