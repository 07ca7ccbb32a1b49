"""Reading a run: the tables that its jobs have published.

Only files that a manifest lists are read, by ranges, and only where a file's name and statistics
say that it can hold the rows asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import and_
from typing import TYPE_CHECKING, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.io import objects
from pipeline.io.range_file import RangeFile
from pipeline.store.layout import JobFolder, may_hold_layer
from pipeline.store.records import read_manifest
from schemas.errors import LayerError, NotPublishedError, SpecError, StoreError, nearest
from schemas.manifest import FileRecord, Manifest
from schemas.values import bounds

if TYPE_CHECKING:  # half a second that a worker need not spend
    import pandas as pd

Filters: TypeAlias = (
    "pc.Expression | list[tuple[str, str, object]] | list[list[tuple[str, str, object]]]"
)
"""What `pyarrow.parquet.read_table` takes as ``filters``."""


def within_units(units: str | None, top: int | None = None) -> Filters | None:
    """Rows of these units and ranks, as a filter of `Run.table`; None: there is nothing to filter.

    Args:
        units: a `schemas.values.UnitRange`; None: all.
        top: only ranks up to this, from 1; None: all.
    """
    chosen: list[tuple[str, str, object]] = []
    if units is not None:
        first, last = bounds(units)
        chosen += [("unit", ">=", first), ("unit", "<=", last)]
    if top is not None:
        chosen.append(("rank", "<=", top))
    return chosen or None


def open_run(url: str) -> Run:
    """A run's published tables; nothing is read yet.

    Args:
        url: the run's folder, a path or URL.
    """
    return Run(url)


@dataclass(frozen=True)
class Run:
    """The published tables of a run.

    Attributes:
        url: the run's folder, a path or URL.
    """

    url: str
    _manifests: dict[str, Manifest] = field(default_factory=dict, repr=False, compare=False)

    def manifest(self, job: str) -> Manifest:
        """What a job published.

        Raises:
            NotPublishedError: it has published nothing here.
            SchemaMismatchError: it is of a schema version that this release does not know.
        """
        if job not in self._manifests:
            found = read_manifest(JobFolder(self.url, job))
            if found is None:
                raise NotPublishedError(
                    f"{self.url}: job {job} has published nothing here (no {job}/manifest.json); "
                    f"let `unitscope {job}` end, or look with `unitscope status {self.url}`"
                )
            self._manifests[job] = found
        return self._manifests[job]

    def table(
        self,
        name: str,
        *,
        job: str | None = None,
        layer: str | None = None,
        unit: int | None = None,
        columns: Sequence[str] | None = None,
        filters: Filters | None = None,
    ) -> pd.DataFrame:
        """Rows of a table, in the table's order.

        Args:
            name: the table, for instance ``top_patches``.
            job: the job that wrote it; needed only where two jobs have a table of this name.
            layer: only rows of this layer.
            unit: only rows of this unit.
            columns: only these columns.
            filters: only rows that pass, as in `pyarrow.parquet.read_table`.

        Returns:
            The rows; none where the layer and unit exist but have none in this table.

        Raises:
            NotPublishedError: no job with a manifest has such a table.
            LayerError: the run has no such layer, or the layer no such unit.
            SpecError: the table has no such column, or two jobs have such a table.
            SchemaMismatchError: it is of a schema version that this release does not know.
            StoreError: a file that the manifest lists cannot be read.
        """
        manifest = self._holder(name, job)
        source = TableFiles(JobFolder(self.url, manifest.job), name, manifest.tables[name])
        keys = {"layer": layer, "unit": unit}
        asked = {column: value for column, value in keys.items() if value is not None}
        source.require_columns([*(columns or ()), *asked])
        conditions = [pc.field(column) == value for column, value in asked.items()]
        if filters is not None:
            conditions.append(pq.filters_to_expression(filters))
        condition = reduce(and_, conditions) if conditions else None
        rows = source.read(list(columns) if columns else None, condition, layer=layer)
        if not len(rows) and asked:
            self._require_unit(source, layer, unit)
        frame: pd.DataFrame = rows.to_pandas()
        return frame

    def _holder(self, name: str, job: str | None) -> Manifest:
        """The manifest of the job that has published table ``name``."""
        jobs = [job] if job is not None else self._published_jobs()
        manifests = [self.manifest(each) for each in jobs]
        holders = [manifest for manifest in manifests if name in manifest.tables]
        if len(holders) == 1:
            return holders[0]
        if holders:
            raise SpecError(
                f"{self.url}: jobs {', '.join(holder.job for holder in holders)} all have a table "
                f"{name}; say which by job="
            )
        if not manifests:
            raise NotPublishedError(
                f"{self.url}: no job has published anything here (no manifest.json); check the "
                f"path, or look with `unitscope status {self.url}`"
            )
        known = sorted({table for manifest in manifests for table in manifest.tables})
        raise NotPublishedError(
            f"{self.url}: no published table {name} in {', '.join(jobs)}; "
            f"{nearest(name, known)}; a table appears when its job has ended"
        )

    def _published_jobs(self) -> list[str]:
        folders = objects.list_folders(self.url)
        return [job for job in folders if objects.exists(JobFolder(self.url, job).manifest)]

    def _require_unit(self, source: TableFiles, layer: str | None, unit: int | None) -> None:
        """Refuse a layer or unit that does not exist; one without rows is no error."""
        known = self._scanned_units() or source.units_by_layer()
        if layer is not None and layer not in known:
            raise LayerError(
                f"{self.url}: no layer {layer} in {source.name}; {nearest(layer, known)}"
            )
        units = known[layer] if layer is not None else max(known.values(), default=0)
        if unit is not None and not 0 <= unit < units:
            raise LayerError(
                f"{self.url}: no unit {unit} in {layer or 'any layer'} of {source.name}; "
                f"choices: 0 to {units - 1}"
            )

    def _scanned_units(self) -> dict[str, int]:
        """Units by layer as the scan of this run lists them; empty where it is not published."""
        try:
            layers = self.table("layers", job="scan", columns=["layer", "units"])
        except NotPublishedError:
            return {}
        return dict(zip(layers["layer"].tolist(), layers["units"].tolist(), strict=True))


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
