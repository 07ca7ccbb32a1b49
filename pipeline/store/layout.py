"""The names of all files and folders that jobs keep in a run; no other module makes one up.

That is tables, records and work; the pages in a gallery's folder are named by the report.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.io.objects import join

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_LAYER_FILE = re.compile(r"^\d{3,}-(?P<layer>.+)\.parquet$")
_DONE = re.compile(r"^(?P<shard>\d{5,})\.json$")
_LONGEST_NAME = 120


@dataclass(frozen=True)
class JobFolder:
    """The paths of one job's folder of a run.

    Attributes:
        run: the run's folder, a path or URL.
        job: the job's name.
    """

    run: str
    job: str

    @property
    def url(self) -> str:
        """The job's folder."""
        return join(self.run, self.job)

    @property
    def manifest(self) -> str:
        """What publishes the job's tables."""
        return join(self.url, "manifest.json")

    @property
    def work(self) -> str:
        """The folder of everything that goes once the manifest stands."""
        return join(self.url, "_work")

    @property
    def plan(self) -> str:
        """The plan of the work under way."""
        return join(self.work, "plan.json")

    def work_list(self, table: str) -> str:
        """The work list, a table of this name, that the plan's shards are slices of."""
        return join(self.work, only_file(table))

    @property
    def done_folder(self) -> str:
        """The folder of the shards' markers."""
        return join(self.work, "done")

    def done(self, shard_index: int) -> str:
        """The marker of a shard."""
        return join(self.done_folder, f"{shard_index:05d}.json")

    def part(self, shard_index: int, attempt: str, table: str) -> str:
        """The part of a table that one attempt at a shard wrote."""
        return join(self.work, "parts", f"{shard_index:05d}-{attempt}-{table}.parquet")

    def table(self, name: str) -> str:
        """The folder of a table."""
        return join(self.url, name)

    def table_file(self, table: str, filename: str) -> str:
        """One file of a table."""
        return join(self.table(table), filename)

    def relative(self, url: str) -> str:
        """``url`` as a `FileRecord` names it: below the job's folder."""
        return url.removeprefix(self.url + "/")

    def at(self, path: str) -> str:
        """The URL of a `FileRecord`'s path."""
        return join(self.url, path)


def checkpoint_run(run: str, checkpoint: str) -> str:
    """The run's folder of a checkpoint of the run's network: ``RUN/checkpoints/epoch08``."""
    return join(run, "checkpoints", checkpoint)


def only_file(table: str) -> str:
    """The file of a table that has one: ``units.parquet``."""
    return f"{table}.parquet"


def numbered_file(table: str, number: int) -> str:
    """One file of a table that is cut by rows, from 0: ``images-00000.parquet``."""
    return f"{table}-{number:05d}.parquet"


def layer_file(position: int, layer: str) -> str:
    """The file of one layer in a table that has one per layer: ``007-features.7.parquet``."""
    return f"{layer_stem(position, layer)}.parquet"


def layer_stem(position: int, layer: str) -> str:
    """A layer's name as a file's, without an ending: ``007-features.7``.

    Args:
        position: the layer's order in the network, from 0; keeps names unique and sorted.
        layer: the node's name; what a file system or a URL could misread becomes ``_``.
    """
    return f"{position:03d}-{_safe(layer)}"


def may_hold_layer(filename: str, layer: str) -> bool:
    """Whether a table's file, by its name, may have rows of ``layer``; True where in doubt."""
    match = _LAYER_FILE.match(filename)
    return match is None or match["layer"] == _safe(layer)


def shard_of_marker(filename: str) -> int | None:
    """The shard whose marker has this file name; None for any other file."""
    match = _DONE.match(filename)
    return int(match["shard"]) if match else None


def _safe(layer: str) -> str:
    return _UNSAFE.sub("_", layer)[:_LONGEST_NAME]
