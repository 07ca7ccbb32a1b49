"""The image list of a data set: a folder, a manifest, Parquet files or tar shards.

The same data give the same rows in the same order. The kind of a data set is found by looking, and
what is ambiguous is an error, never a guess.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa

from pipeline.data.discover import absolute, expand
from pipeline.data.image_rows import PICTURE_EXTENSIONS, number_rows
from pipeline.data.sources.csv import csv_rows
from pipeline.data.sources.folder import folder_rows
from pipeline.data.sources.parquet import parquet_rows
from pipeline.data.sources.tar import tar_rows
from pipeline.io import objects
from pipeline.io.browse import Folder, find_files, kind_of
from schemas.errors import DatasetError, SpecError
from schemas.secrets import mask
from schemas.specs import DatasetSpec

_LOG = logging.getLogger(__name__)
_KINDS = {
    "pictures": PICTURE_EXTENSIONS,
    "Parquet files": frozenset({".parquet"}),
    "tar shards": frozenset({".tar"}),
}
_WAYS = (
    "give a folder of pictures, a .csv or .parquet manifest, a Parquet table of image bytes, or "
    ".tar shards (a file, a folder, a glob or {0000..0010})"
)
_DIGEST_COLUMNS = ("uri", "label", "class_name", "offset", "length")


def list_images(spec: DatasetSpec) -> pa.Table:
    """List the images of a data set.

    - A folder of pictures, at any depth: sorted by relative path. Where they stand in sub-folders,
      the first folder is the class and its place among the sorted classes the label.
    - A CSV or Parquet manifest with ``path`` and optionally ``label`` and ``class_name``: its rows
      in their order. A relative path is relative to the manifest's folder. A label is an integer
      from 0; empty, or -1, is no label. Without any label it is the class name's place among the
      sorted names.
    - Parquet with a column ``image`` (struct of ``bytes`` and ``path``, or binary) or ``bytes``:
      rows in order, files sorted; labels as in a manifest.
    - Tar shards, uncompressed: every member with a picture's extension, in order. Members whose
      names agree up to the first dot belong together: ``.cls`` (an integer is the label, other
      text the class name), ``.json`` (``label``, ``class_name``).

    Args:
        spec: ``uri`` and ``limit`` (the first rows only; labels are those of the whole list).

    Returns:
        A table with the schema of `schemas.tables.IMAGE_LIST`, at least one row. Local paths are
        absolute.

    Raises:
        DatasetError: nothing there, nothing usable there, or a row that cannot be right.
        StoreUnavailableError: no answer from the store.
    """
    uri = absolute(spec.uri)
    try:
        rows = _rows(uri, spec.limit)
    except SpecError as error:
        raise DatasetError(str(error)) from error
    except FileNotFoundError as error:
        raise DatasetError(f"{mask(uri)}: not found ({error}); check the path") from error
    except PermissionError as error:
        raise DatasetError(f"{mask(uri)}: may not be read ({error}); give access") from error
    if rows.num_rows == 0:
        raise DatasetError(f"{mask(uri)}: lists no image; {_WAYS}")
    return number_rows(rows if spec.limit is None else rows.slice(0, spec.limit))


def dataset_digest(rows: pa.Table) -> str:
    """What identifies an image list: uri, label, class_name, offset and length, in order.

    Args:
        rows: an image list, chunked in any way.

    Returns:
        sha256, 64 hex digits.
    """
    digest = hashlib.sha256()
    for name in _DIGEST_COLUMNS:
        valid, sizes, values = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()
        for chunk in rows.column(name).chunks:
            valid.update(chunk.is_valid().to_numpy(zero_copy_only=False).tobytes())
            if pa.types.is_string(chunk.type):
                data = [text.encode() for text in chunk.fill_null("").to_pylist()]
                sizes.update(np.array([len(each) for each in data], dtype="<i8").tobytes())
                values.update(b"".join(data))
            else:
                values.update(chunk.fill_null(0).to_numpy().astype("<i8").tobytes())
        for each in (valid, sizes, values):
            digest.update(each.digest())
    return digest.hexdigest()


def _rows(uri: str, limit: int | None) -> pa.Table:
    found = kind_of(uri)
    if found == "folder":
        return _folder(find_files(uri), limit)
    if found == "file":
        return _file(uri, limit)
    urls = expand(uri)
    if urls == [uri]:
        raise DatasetError(f"{mask(uri)}: not found; {_WAYS}")
    kinds = Counter(PurePosixPath(url).suffix.lower() for url in urls)
    if kinds.keys() == {".tar"}:
        return tar_rows(urls, limit)
    if kinds.keys() == {".parquet"}:
        return parquet_rows(urls)
    there = ", ".join(f"{count} {suffix or 'without one'}" for suffix, count in kinds.items())
    raise DatasetError(
        f"{mask(uri)}: matches {there or 'nothing'}; a glob or braces must match .tar files only, "
        "or .parquet files only"
    )


def _folder(folder: Folder, limit: int | None) -> pa.Table:
    if folder.links_outside:
        _LOG.warning(
            "%s: %d symbolic links that lead out of the folder were skipped",
            mask(folder.root),
            folder.links_outside,
        )
    suffixes = Counter(PurePosixPath(name).suffix.lower() for name in folder.names)
    there = [kind for kind, wanted in _KINDS.items() if wanted & suffixes.keys()]
    if len(there) != 1:
        raise _unclear(folder, suffixes, there)
    wanted = _KINDS[there[0]]
    names = [name for name in folder.names if PurePosixPath(name).suffix.lower() in wanted]
    if there == ["pictures"]:
        return folder_rows(folder.root, names)
    urls = [f"{folder.root}/{name}" for name in names]
    return tar_rows(urls, limit) if there == ["tar shards"] else parquet_rows(urls)


def _unclear(folder: Folder, suffixes: Counter[str], there: list[str]) -> DatasetError:
    root = mask(folder.root)
    if there:
        return DatasetError(
            f"{root}: holds {' and '.join(there)}; keep one kind there, or give a sub-folder, "
            f"{root}/*.tar or {root}/*.parquet"
        )
    looked_for = ", ".join(sorted(set().union(*_KINDS.values())))
    counts = ", ".join(f"{count} {name or 'without'}" for name, count in suffixes.most_common(8))
    links = f"; {folder.links_outside} links out of the folder skipped" * bool(folder.links_outside)
    tables = [name for name in folder.names if name.lower().endswith(".csv")]
    way = f"give {root}/{tables[0]} itself" if tables else _WAYS
    return DatasetError(
        f"{root}: no pictures there; looked for {looked_for}; there is: "
        f"{counts or 'no file'}{links}; {way}"
    )


def _file(uri: str, limit: int | None) -> pa.Table:
    name = uri.lower().partition("?")[0] if "://" in uri else uri.lower()
    if name.endswith(".tar"):
        return tar_rows([uri], limit)
    if name.endswith(".parquet"):
        return parquet_rows([uri])
    if name.endswith(".csv"):
        return csv_rows(uri)
    head = objects.read(uri, 0, 512) if objects.size(uri) else b""
    if head[257:262] == b"ustar":
        return tar_rows([uri], limit)
    if head[:4] == b"PAR1":
        return parquet_rows([uri])
    raise DatasetError(f"{mask(uri)}: neither .csv, .parquet nor .tar; {_WAYS}")
