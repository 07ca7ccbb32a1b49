"""The committed parts of a job's tables: read for the merge, put as the final tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import pyarrow as pa

from pipeline.store.commit import JobStore
from pipeline.store.encode import ROW_GROUP_ROWS
from pipeline.store.layout import numbered_file, only_file
from schemas.manifest import FileRecord, Plan
from schemas.tables import Table

_ROWS_A_FILE = 1_000_000


class Parts:
    """The parts of a job whose every shard is done.

    Args:
        store: of the job's folder.
        plan: that stands.
        contracts: the stage's part tables by name.
        counts: over all shards.

    Raises:
        WorkGoneError: another run has published, and taken the work away.
    """

    def __init__(
        self,
        store: JobStore,
        plan: Plan,
        contracts: Mapping[str, Table],
        counts: Mapping[str, int],
    ) -> None:
        self.contracts = contracts
        self.counts = counts
        self._store = store
        markers = store.markers()
        self._markers = [markers[shard.index] for shard in plan.shards]

    def read(self, name: str) -> Iterator[pa.Table]:
        """The parts of one table, shard after shard, one in memory at a time."""
        contract = self.contracts[name]
        return (self._store.read_part(marker, name, contract) for marker in self._markers)

    def put(
        self,
        contract: Table,
        rows: pa.Table,
        filename: str | None = None,
        *,
        row_group_rows: int = ROW_GROUP_ROWS,
    ) -> FileRecord:
        """Put one file of a table, its only one where ``filename`` is left out."""
        name = filename or only_file(contract.name)
        return self._store.put_table(contract, name, rows, row_group_rows=row_group_rows)

    def put_by_rows(self, contract: Table, parts: Iterable[pa.Table]) -> tuple[FileRecord, ...]:
        """Put parts one after another: files of about a million rows, at least one.

        Args:
            contract: the table.
            parts: by shard, in their order; a file ends where a part does.
        """
        records: list[FileRecord] = []
        waiting: list[pa.Table] = []

        def put() -> None:
            filename = numbered_file(contract.name, len(records))
            records.append(self.put(contract, pa.concat_tables(waiting), filename))
            waiting.clear()

        for part in parts:
            waiting.append(part)
            if sum(table.num_rows for table in waiting) >= _ROWS_A_FILE:
                put()
        if waiting:
            put()
        return tuple(records)
