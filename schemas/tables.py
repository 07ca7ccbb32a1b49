"""What a table promises: its Arrow schema, key, sort order and the meaning of every column.

A reader finds the meanings in the Arrow fields' metadata (``description``), and
``schema_version`` under the one key ``unitscope`` of the schema's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from schemas.manifest import SCHEMA_VERSION

if TYPE_CHECKING:
    import pyarrow as pa

REJECT_REASONS = {
    "missing": "the file or member does not exist",
    "no_permission": "the store refuses to read it",
    "empty": "zero bytes",
    "not_an_image": "the bytes are of no known picture format",
    "unsupported": "a picture format, or a variant of one, that no decoder here reads",
    "truncated": "the data end early",
    "corrupt": "the decoder found an error in the data",
    "too_large": "more pixels or bytes than the spec allows",
    "kills_worker": "it ended its worker process when run alone",
}
"""The codes of the rejects tables' ``reason`` Column, and what each says."""


Kind = Literal[
    "bool", "int8", "int32", "int64", "float32", "float64", "string", "counts", "picture"
]
"""Arrow's types by name; ``counts`` is a list of int64, ``picture`` the struct of bytes and path by
which Hugging Face datasets keep a picture, so that it shows there."""


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: of the column.
        kind: its type.
        description: its meaning and unit; stands in the Arrow field's metadata.
        nullable: whether a row may have none.
        extra: more metadata, key and value.
    """

    name: str
    kind: Kind
    description: str
    nullable: bool = False
    extra: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Table:
    """A table's contract.

    Attributes:
        job: the job that writes it (a folder of the run).
        name: the table's folder.
        columns: in their order.
        key: the columns that identify a row; no two rows of a file agree in all of them.
        sort: the columns that the rows of a file are sorted by, ascending, or descending after a
            "-"; the rows of one "layer" stand together, layers in the order of the network.
    """

    job: str
    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    sort: tuple[str, ...]

    @cached_property
    def schema(self) -> pa.Schema:
        """The exact Arrow schema, with the columns' meanings and the version that readers check."""
        import pyarrow as pa  # noqa: PLC0415 (a third of a second that ``--help`` need not spend)

        # Parquet calls a list's items "element", and so does what is read back.
        kinds = {
            "counts": pa.list_(pa.field("element", pa.int64(), nullable=False)),
            "picture": pa.struct(
                [pa.field("bytes", pa.binary(), nullable=False), pa.field("path", pa.string())]
            ),
        }
        fields = [
            pa.field(
                column.name,
                kinds.get(column.kind) or pa.type_for_alias(column.kind),
                nullable=column.nullable,
                metadata={"description": column.description, **dict(column.extra)},
            )
            for column in self.columns
        ]
        note = json.dumps({"schema_version": SCHEMA_VERSION}, sort_keys=True)
        return pa.schema(fields, metadata={"unitscope": note})


# The columns that tables share.
IMAGE_ID = Column("image_id", "int64", "row of the image list, from 0")
URI = Column("uri", "string", "where the image was read")
LAYER = Column("layer", "string", "node of the model's graph, torchvision's name")
UNIT = Column("unit", "int32", "channel of the layer, from 0")
LABEL = Column("label", "int32", "class index that the data set gives", nullable=True)
CLASS_NAME = Column("class_name", "string", "class name that the data set gives", nullable=True)
BOX = tuple(
    Column(
        f"box_{edge}",
        "int32",
        "receptive field in input-frame pixels, half-open, unclipped: may lie outside the frame",
    )
    for edge in ("y0", "x0", "y1", "x1")
)

IMAGE_LIST = Table(
    job="scan",
    name="image_list",
    columns=(
        IMAGE_ID,
        URI,
        LABEL,
        CLASS_NAME,
        Column("container", "string", "file that holds the bytes, if not one", nullable=True),
        Column("offset", "int64", "first byte (tar) or row (Parquet) in it", nullable=True),
        Column("length", "int64", "bytes (tar) in it", nullable=True),
    ),
    key=("image_id",),
    sort=("image_id",),
)
