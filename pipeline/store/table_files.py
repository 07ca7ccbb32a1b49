"""The files of one published table.

Invariant: a file is read by ranges, and only where its name and statistics say that it can hold
the rows asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.io.range_file import RangeFile
from pipeline.store.layout import JobFolder, may_hold_layer
from schemas.errors import SpecError, StoreError, nearest
from schemas.manifest import FileRecord


@dataclass(frozen=True)
class TableFiles:
    """A published table.

    Attributes:
        folder: the job that published it.
        name: the table.
        records: its files as the manifest lists them, at least one.
    """

    folder: JobFolder
    name: str
    records: tuple[FileRecord, ...]

    def require_columns(self, columns: Sequence[str]) -> None:
        """Refuse a column that the table does not have.

        Raises:
            SpecError: names the nearest columns.
        """
        known = self._schema().names
        for column in columns:
            if column not in known:
                raise SpecError(
                    f"{self.folder.url}: table {self.name} has no column {column}; "
                    f"{nearest(column, known)}"
                )

    def read(
        self,
        columns: Sequence[str] | None = None,
        condition: pc.Expression | None = None,
        *,
        layer: str | None = None,
    ) -> pa.Table:
        """The rows that meet the condition.

        Args:
            columns: None: all.
            condition: on any columns; row groups that cannot meet it are not fetched.
            layer: the one layer that the condition asks for, where it does.

        Raises:
            StoreError: a file cannot be read.
        """
        chosen = [
            record
            for record in self.records
            if layer is None or may_hold_layer(record.path.rpartition("/")[2], layer)
        ]
        # Where no file fits, the first gives an empty answer its columns.
        return pa.concat_tables(
            [
                self._reading(
                    record,
                    lambda file: pq.read_table(file, columns=columns, filters=condition),
                )
                for record in chosen or self.records[:1]
            ]
        )

    def units_by_layer(self) -> dict[str, int]:
        """The layers in the rows, each with 1 + the highest unit (0 without a column for it)."""
        names = [name for name in ("layer", "unit") if name in self._schema().names]
        units: dict[str, int] = {}
        for row in self.read(names).group_by(names).aggregate([]).to_pylist():
            if row.get("layer") is not None:
                units[row["layer"]] = max(units.get(row["layer"], 0), row.get("unit", -1) + 1)
        return units

    def _schema(self) -> pa.Schema:
        return self._reading(self.records[0], pq.read_schema)

    def _reading(self, record: FileRecord, action: Callable[[RangeFile], pa.Table]) -> pa.Table:
        url = self.folder.at(record.path)
        try:
            return action(RangeFile(url, record.bytes))
        except FileNotFoundError as error:
            raise StoreError(
                f"{url}: the manifest lists this file, but it is gone; put it back, or delete "
                f"{self.folder.url} and run the job again"
            ) from error
        except (pa.ArrowException, OSError) as error:
            raise StoreError(
                f"{url}: cannot be read ({error}); check the filters, and that the file still has "
                f"the manifest's sha256 {record.sha256}"
            ) from error
