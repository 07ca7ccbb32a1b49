"""Tables: rows to Parquet bytes and back, and the way in to those that a run has published.

Invariant: every table that is written has exactly the schema of its contract, equal rows give
equal bytes, and only files that a manifest lists are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import and_
from typing import TYPE_CHECKING, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.io import objects
from pipeline.store.layout import JobFolder
from pipeline.store.records import read_manifest
from pipeline.store.table_files import TableFiles
from schemas.errors import (
    LayerError,
    NotPublishedError,
    SchemaMismatchError,
    SpecError,
    nearest,
)
from schemas.manifest import Manifest
from schemas.tables import Table

if TYPE_CHECKING:  # half a second that a worker need not spend
    import pandas as pd

Filters: TypeAlias = (
    "pc.Expression | list[tuple[str, str, object]] | list[list[tuple[str, str, object]]]"
)
"""What `pyarrow.parquet.read_table` takes as ``filters``."""

ROW_GROUP_ROWS = 65_536


def encode(contract: Table, rows: pa.Table, *, row_group_rows: int = ROW_GROUP_ROWS) -> bytes:
    """One Parquet file: zstd, the contract's metadata, one write call.

    Args:
        contract: what the table promises.
        rows: the rows, in the contract's order; their metadata are ignored.
        row_group_rows: rows a row group; 20,000 to 100,000, fewer where rows hold pictures.

    Returns:
        The file; the same bytes for equal rows, however they are chunked.

    Raises:
        SchemaMismatchError: names, order, types or nullability differ, or a column that allows no
            null has one.
    """
    _require_contract(contract, rows.schema)
    for promised, values in zip(contract.schema, rows.columns, strict=True):
        if not promised.nullable and values.null_count:
            raise SchemaMismatchError(
                f"{_name(contract)}: column {promised.name} has {values.null_count} nulls in "
                f"{len(rows)} rows and allows none; fill them or declare the column nullable"
            )
    # Page borders follow the chunks of a column, so one chunk a column makes the bytes repeat.
    table = pa.Table.from_arrays(rows.combine_chunks().columns, schema=contract.schema)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", row_group_size=row_group_rows)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def decode(data: bytes, contract: Table) -> pa.Table:
    """The rows of a file that `encode` made.

    Raises:
        SchemaMismatchError: the bytes are no Parquet file, or of another schema.
    """
    try:
        rows = pq.read_table(pa.BufferReader(data))
    except (pa.ArrowException, OSError) as error:
        raise SchemaMismatchError(
            f"{_name(contract)}: {len(data)} bytes are not a whole Parquet file ({error}); "
            "delete the file and run the job again"
        ) from error
    _require_contract(contract, rows.schema)
    return rows


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


def _require_contract(contract: Table, schema: pa.Schema) -> None:
    wanted, found = _outline(contract.schema), _outline(schema)
    if wanted != found:
        raise SchemaMismatchError(
            f"{_name(contract)}: the schema is not the one promised; build the table with "
            "schema=contract.schema\npromised:\n  "
            + "\n  ".join(wanted)
            + "\nfound:\n  "
            + "\n  ".join(found)
        )


def _outline(schema: pa.Schema) -> list[str]:
    """One line a column: name, type, nullability. What two schemas must share."""
    return [
        f"{field.name}: {field.type}{'' if field.nullable else ' not null'}" for field in schema
    ]


def _name(contract: Table) -> str:
    return f"{contract.job}/{contract.name}"
