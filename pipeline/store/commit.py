"""A job's commits: plan, shards, tables, manifest, each put once and in this order.

Invariant: data are put before the record that names them, and the manifest last of all; nothing
of the work folder goes before the manifest stands. Any number of drivers and workers may do the
same job at once, and each may die at any instant.
"""

from __future__ import annotations

from collections.abc import Mapping
from uuid import uuid4

import pyarrow as pa

from pipeline.io import objects
from pipeline.io.failpoints import failpoint
from pipeline.store import conflicts, work_list
from pipeline.store.encode import ROW_GROUP_ROWS, decode, encode
from pipeline.store.layout import JobFolder, shard_of_marker
from pipeline.store.records import put_record, put_same, read_manifest, read_record, sha256
from schemas.errors import ContentConflictError, NotPublishedError, StoreError
from schemas.manifest import FileRecord, Manifest, Marker, Plan, Shard
from schemas.tables import Table


class JobStore:
    """Everything that a job commits to its folder. Small and picklable; safe in threads.

    Args:
        folder: the job's folder.
    """

    def __init__(self, folder: JobFolder) -> None:
        self.folder = folder
        self._work_lists: dict[str, work_list.WorkList] = {}
        self._probed = False

    def __reduce__(self) -> tuple[type[JobStore], tuple[JobFolder]]:
        """A copy opens the work list anew."""
        return JobStore, (self.folder,)

    def plan(self) -> Plan | None:
        """The plan of the work under way; None before it is begun and after it is published."""
        return read_record(self.folder.plan, Plan)

    def manifest(self) -> Manifest | None:
        """The manifest; None until the job is published.

        Raises:
            SchemaMismatchError: it is of a schema version that this release does not know.
        """
        return read_manifest(self.folder)

    def published(self) -> bool:
        """Whether the manifest stands."""
        return objects.exists(self.folder.manifest)

    def require_same_plan(self, plan: Plan) -> None:
        """Refuse a folder that was begun, or published, with another plan.

        Raises:
            PlanMismatchError: names the run, both fingerprints and the fields that differ.
        """
        # The manifest first: a plan beside it is what a late-comer left, and means nothing.
        standing = self.manifest() or self.plan()
        if standing is not None and standing.fingerprint != plan.fingerprint:
            raise conflicts.other_plan(self.folder, standing, plan)

    def open_plan(self, plan: Plan) -> Plan:
        """Begin the work, or join it where it was begun with the same fingerprint.

        Returns:
            The plan that stands: the shards of the first to begin count.

        Raises:
            PlanMismatchError: see `require_same_plan`.
            UnsafeStoreError: the store does not refuse a second put of a name.
        """
        standing = self.plan()
        if standing is None and not self.published():
            self._probe_once()
            standing = put_record(self.folder.plan, plan)
            failpoint("plan-put")
        # Another run may have published since, and taken its own plan away before ours was put.
        self.require_same_plan(plan)
        return standing or plan

    def put_work_list(self, contract: Table, rows: pa.Table) -> None:
        """Put the list of what is to be done, before the plan; `require_same_plan` comes first.

        Args:
            contract: the list's own: of images, units, classes or checkpoints.
            rows: in the contract's order.

        Raises:
            ContentConflictError: another list stands.
            SchemaMismatchError: the rows are not what the contract promises.
            UnsafeStoreError: the store does not refuse a second put of a name.
        """
        data = encode(contract, rows, row_group_rows=work_list.ROW_GROUP_ROWS)
        self._probe_once()
        put_same(self.folder.work_list(contract.name), data, self.folder)

    def work_rows(self, contract: Table, start: int, stop: int) -> pa.Table:
        """The rows [start, stop) of the work list; reads only the row groups around them.

        Args:
            contract: as it was put with.
            start: the first row, from 0.
            stop: the row after the last.

        Raises:
            WorkGoneError: the list is gone, or was never put.
            StoreError: the list has no such rows.
        """
        url = self.folder.work_list(contract.name)
        # One reader for all threads (setdefault is atomic): it keeps what they read last.
        rows = self._work_lists.setdefault(contract.name, work_list.WorkList(url))
        try:
            return rows.rows(start, stop)
        except FileNotFoundError as error:
            raise conflicts.work_gone(self.folder, url) from error

    def commit_shard(
        self,
        shard: Shard,
        tables: Mapping[str, pa.Table],
        contracts: Mapping[str, Table],
        counts: Mapping[str, int],
        seconds: float,
    ) -> Marker:
        """Put a shard's parts, then the marker that names them.

        Args:
            shard: the slice that was done.
            tables: its part tables by name.
            contracts: the contract of each.
            counts: what the stage counted.
            seconds: how long it took.

        Returns:
            The marker that stands: this one, or that of an earlier attempt with equal content.

        Raises:
            ContentConflictError: an earlier attempt gave other rows or counts.
            SchemaMismatchError: a table is not what its contract promises.
        """
        attempt = uuid4().hex
        content = {}
        for name in sorted(tables):
            url = self.folder.part(shard.index, attempt, name)
            content[name] = self._put_rows(url, contracts[name], tables[name])
            failpoint("part-put")
        marker = Marker(
            shard=shard.index, content=content, counts=dict(sorted(counts.items())), seconds=seconds
        )
        failpoint("marker-next")
        standing = put_record(self.folder.done(shard.index), marker)
        failpoint("marker-put")
        if standing == marker:
            return marker
        if not standing.same_content(marker):
            raise conflicts.other_shard(self.folder, standing, marker)
        for record in content.values():
            objects.delete(self.folder.at(record.path))
        return standing

    def marker(self, index: int) -> Marker | None:
        """The marker of a shard; None while it is not done."""
        return read_record(self.folder.done(index), Marker)

    def markers(self) -> dict[int, Marker]:
        """The markers of all shards done, by shard; asking for one that is absent is an error.

        Raises:
            WorkGoneError: one was listed and is gone.
        """
        names = objects.list_names(self.folder.done_folder)
        found = conflicts.Markers(self.folder)
        for index in (index for name in names if (index := shard_of_marker(name)) is not None):
            marker = self.marker(index)
            if marker is None:
                raise conflicts.work_gone(self.folder, self.folder.done(index))
            found[index] = marker
        return found

    def read_part(self, marker: Marker, name: str, contract: Table) -> pa.Table:
        """A part table that a marker names, its hash verified.

        Raises:
            WorkGoneError: the part is gone.
            ContentConflictError: its bytes are not the ones that were committed.
        """
        record = marker.content[name]
        url = self.folder.at(record.path)
        try:
            data = objects.read(url)
        except FileNotFoundError as error:
            raise conflicts.work_gone(self.folder, url) from error
        if sha256(data) != record.sha256:
            raise ContentConflictError(
                f"{url}: sha256 is {sha256(data)}, committed was {record.sha256}; the store "
                f"damaged it: delete {self.folder.done(marker.shard)} and run the job again"
            )
        return decode(data, contract)

    def put_table(
        self,
        contract: Table,
        filename: str,
        rows: pa.Table,
        *,
        row_group_rows: int = ROW_GROUP_ROWS,
    ) -> FileRecord:
        """Put one file of a table.

        Args:
            contract: the table.
            filename: ends in ``.parquet``.
            rows: in the contract's order.
            row_group_rows: as in `pipeline.store.encode.encode`.

        Raises:
            ContentConflictError: another content stands there.
            SchemaMismatchError: the rows are not what the contract promises.
        """
        url = self.folder.table_file(contract.name, filename)
        record = self._put_rows(url, contract, rows, row_group_rows=row_group_rows)
        failpoint("table-put")
        return record

    def publish(self, manifest: Manifest) -> Manifest:
        """Put the manifest, then clean up.

        Args:
            manifest: names every file of every table; each table has at least one.

        Returns:
            The manifest that stands: this one, or an equal run's.

        Raises:
            ContentConflictError: another manifest stands, or a table's folder holds other files.
            StoreError: a table has no file.
        """
        self._require_no_strangers(manifest)
        failpoint("manifest-next")
        standing = put_record(self.folder.manifest, manifest)
        failpoint("manifest-put")
        if (standing.fingerprint, standing.tables) != (manifest.fingerprint, manifest.tables):
            raise conflicts.other_manifest(self.folder, standing, manifest)
        self.finish()
        return standing

    def finish(self) -> None:
        """Remove the work folder and left temporary files of a published job; repeat at will.

        Raises:
            NotPublishedError: the manifest does not stand, so the work is still needed.
        """
        manifest = self.manifest()
        if manifest is None:
            raise NotPublishedError(
                f"{self.folder.url}: not published, so its work is kept; run the job to its end"
            )
        objects.delete_tree(self.folder.work)
        failpoint("clean-up")
        for folder in (self.folder.url, *map(self.folder.table, manifest.tables)):
            objects.sweep_temporary(folder)

    def _probe_once(self) -> None:
        if not self._probed:
            objects.probe(self.folder.work)
            self._probed = True

    def _require_no_strangers(self, manifest: Manifest) -> None:
        """A reader of a table's folder reads all that is in it, so nothing else may be there."""
        for table, records in manifest.tables.items():
            if not records:
                raise StoreError(
                    f"{self.folder.table(table)}: no file, so nobody could read the table; put a "
                    "file without rows"
                )
            known = {record.path for record in records}
            names = objects.list_names(self.folder.table(table))
            paths = {self.folder.relative(self.folder.table_file(table, name)) for name in names}
            if strangers := sorted(paths - known):
                raise ContentConflictError(
                    f"{self.folder.url}: {', '.join(strangers)} are in the way and not of this "
                    "run; delete them and run the job again"
                )

    def _put_rows(
        self, url: str, contract: Table, rows: pa.Table, *, row_group_rows: int = ROW_GROUP_ROWS
    ) -> FileRecord:
        data = encode(contract, rows, row_group_rows=row_group_rows)
        put_same(url, data, self.folder)
        return FileRecord(
            path=self.folder.relative(url), rows=len(rows), bytes=len(data), sha256=sha256(data)
        )
